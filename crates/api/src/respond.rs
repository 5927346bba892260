//! Answers: bodies, JSON, and a `metav1.Status` for all that goes wrong.

use std::pin::Pin;
use std::task::{Context, Poll};

use apimachinery::status::Status;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, SizeHint};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::negotiate::Encoding;

/// What goes wrong below a body.
#[derive(Debug, thiserror::Error)]
#[error("the body ended early")]
pub struct BodyError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl BodyError {
    /// An error of whatever carries the body.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BodyError {
        BodyError(cause.into())
    }
}

/// The body of a request or an answer.
pub type Body = http_body_util::combinators::BoxBody<Bytes, BodyError>;
/// An answer.
pub type Response = http::Response<Body>;

/// Why a request is not answered as it was meant: always a `metav1.Status`.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Status>);

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        Failure(Box::new(status))
    }
}

impl Failure {
    /// The server's own fault: told in the log with its cause, and to the client without.
    pub(crate) fn internal(attempted: &str, cause: &dyn std::fmt::Display) -> Failure {
        tracing::error!(%cause, "cannot {attempted}");
        Status::internal_error(format_args!("cannot {attempted}: {cause}")).into()
    }

    /// The answer that tells it.
    pub(crate) fn response(&self, encoding: Encoding) -> Response {
        let code = StatusCode::from_u16(self.0.http_code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = object(code, &self.0.to_json(), encoding);
        let seconds = self.0.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        if seconds > 0 {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A body that is there as a whole.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer of bytes.
pub(crate) fn bytes(code: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(whole(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An object as it was asked for.
pub(crate) fn object(code: StatusCode, object: &Value, encoding: Encoding) -> Response {
    let text = match encoding {
        Encoding::Json => serde_json::to_vec(object).unwrap_or_default(),
        Encoding::Yaml => crate::yaml::write(object).into_bytes(),
    };
    bytes(code, encoding.content_type(), text)
}

/// Text for people.
pub(crate) fn text(code: StatusCode, text: impl Into<String>) -> Response {
    bytes(code, "text/plain; charset=utf-8", text.into())
}

/// A body that is sent piece by piece, and the end it is written to. The sender sees when nobody listens any more.
pub(crate) fn stream(buffer: usize) -> (mpsc::Sender<Bytes>, Body) {
    let (sender, pieces) = mpsc::channel(buffer);
    (sender, Pieces { pieces }.boxed())
}

struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Keeps something until the body has been sent or given up.
pub(crate) fn holding<T: Send + Sync + Unpin + 'static>(response: Response, held: T) -> Response {
    response.map(|body| Holding { body, _held: held }.boxed())
}

struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> hyper::body::Body for Holding<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
