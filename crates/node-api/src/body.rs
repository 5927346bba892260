//! Bodies of answers: whole ones, and logs as they are written.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use engine::streams::StreamError;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Frame;
use tokio::sync::mpsc;

/// The body of an answer. An error in it cuts the connection: the client then knows that something is missing.
pub type Body = BoxBody<Bytes, StreamError>;

/// A body that is known.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// None.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body that comes piece by piece. Dropping it tells the sender.
pub(crate) fn streamed(pieces: mpsc::Receiver<Result<Bytes, StreamError>>) -> Body {
    Streamed(pieces).boxed()
}

struct Streamed(mpsc::Receiver<Result<Bytes, StreamError>>);

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
