//! The API server of this process as a client sees one: no socket, no TLS, and a user that is known already.

use std::sync::Arc;

use api::{Api, User};
use bytes::Bytes;
use client::{Body, Error, Pending, Transport};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

/// Speaks to an API of this process as one certain user.
pub(super) struct InProcess {
    api: Arc<Api>,
    user: User,
}

impl InProcess {
    pub(super) fn new(api: Arc<Api>, user: User) -> InProcess {
        InProcess { api, user }
    }
}

impl Transport for InProcess {
    fn call(&self, request: Request<Bytes>) -> Pending<'_, Result<Response<Body>, Error>> {
        Box::pin(async move {
            let request = request.map(|body| Full::new(body).map_err(|never| match never {}).boxed());
            let response = self.api.handle_as(request, self.user.clone()).await;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }

    fn may_break(&self) -> bool {
        false
    }
}
