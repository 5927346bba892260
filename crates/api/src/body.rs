//! Bodies of requests: read within limits, and decoded.

use std::time::Duration;

use apimachinery::status::Status;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Body as _;

use crate::respond::{Body, BodyError, Failure};

/// What kube-apiserver takes: the largest request of etcd, twice.
pub(crate) const MOST_BYTES: usize = 3 << 20;

/// How much more is taken of a body that is too large, for nothing.
const MOST_DRAINED_BYTES: usize = 16 << 20;

/// Reads a body, which has so long to come.
pub(crate) async fn read(mut body: Body, timeout: Duration) -> Result<Bytes, Failure> {
    // What says itself that it is too large is not waited for.
    if body.size_hint().lower() > MOST_BYTES as u64 {
        drain(body, timeout);
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    match tokio::time::timeout(timeout, collect(&mut body, &mut bytes)).await {
        Ok(Ok(true)) => Ok(bytes.into()),
        Ok(Ok(false)) => {
            drain(body, timeout);
            Err(too_large())
        }
        Ok(Err(error)) => {
            Err(Status::bad_request(format!("cannot read the body of the request: {error}")).into())
        }
        Err(_) => Err(Status::timeout("the body of the request did not come in time", 0).into()),
    }
}

/// Reads on until the end, or until it is too much: false then.
async fn collect(body: &mut Body, bytes: &mut Vec<u8>) -> Result<bool, BodyError> {
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > MOST_BYTES {
            return Ok(false);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(true)
}

/// Takes what still comes while the answer is on its way: a connection that is closed with bytes unread is reset, and the
/// client may never see why (RFC 9112, section 9.6).
fn drain(mut body: Body, timeout: Duration) {
    let rest = async move {
        let mut left = MOST_DRAINED_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    tokio::spawn(async move { tokio::time::timeout(timeout, rest).await.ok() });
}

fn too_large() -> Failure {
    Status::request_entity_too_large(format_args!("limit is {MOST_BYTES}")).into()
}

/// The media type of a body, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
