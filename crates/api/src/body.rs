//! Bodies of requests: read within limits, and decoded.

use std::time::Duration;

use apimachinery::status::Status;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;

use crate::respond::{Body, Failure};

/// What kube-apiserver takes: the largest request of etcd, twice.
pub(crate) const MOST_BYTES: usize = 3 << 20;

/// Reads a body, which has so long to come.
pub(crate) async fn read(body: Body, timeout: Duration) -> Result<Bytes, Failure> {
    // What says itself that it is too large is not waited for.
    if body.size_hint().lower() > MOST_BYTES as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(timeout, Limited::new(body, MOST_BYTES).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            Err(Status::bad_request(format!("cannot read the body of the request: {error}")).into())
        }
        Err(_) => Err(Status::timeout("the body of the request did not come in time", 0).into()),
    }
}

fn too_large() -> Failure {
    Status::request_entity_too_large(format_args!("limit is {MOST_BYTES}")).into()
}

/// The media type of a body, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}
