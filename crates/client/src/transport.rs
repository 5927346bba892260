//! How a request reaches an API server.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

use crate::Error;

/// What a body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer: whole, or a stream that goes on.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;
/// A future that a trait object gives.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries requests to an API server, as one certain user.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request, whose URI is a path with its query, and gives the answer when its head is there.
    fn call(&self, request: Request<Bytes>) -> Pending<'_, Result<Response<Body>, Error>>;

    /// Whether a connection may break: then watches ask for bookmarks, from which they go on. Without, nothing would wake up
    /// for a watch of what does not change.
    fn may_break(&self) -> bool {
        true
    }
}

/// A body that is there as a whole.
pub fn body_of(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
