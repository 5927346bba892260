//! What is there before the first request: the namespaces that Kubernetes has by itself.

use std::sync::Arc;

use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::api::Api;
use crate::respond::{Response, whole};
use crate::user::User;

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A thing that must be there cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {what}: the API answered {code}")]
pub struct BootstrapError {
    /// What.
    what: String,
    /// The HTTP status code.
    code: u16,
}

impl Api {
    /// Makes what must be there and is not. Done before the first client is let in.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn bootstrap(self: &Arc<Api>) -> Result<(), BootstrapError> {
        for name in NAMESPACES {
            if self.store.get(&format!("namespaces/{name}")).is_none() {
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                self.ensure("/api/v1/namespaces", &object).await?;
            }
        }
        Ok(())
    }

    /// Creates an object as the server itself; one that exists is left as it is.
    async fn ensure(self: &Arc<Api>, path: &str, object: &Value) -> Result<(), BootstrapError> {
        let what = || format!("{} {}", object["kind"], object["metadata"]["name"]);
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/json")
            .body(whole(object.to_string()))
            .map_err(|_| BootstrapError { what: what(), code: 400 })?;
        let user = User::new("system:apiserver", &[User::MASTERS]);
        let response: Response = self.handle_as(request, user).await;
        match response.status().as_u16() {
            200..=299 | 409 => Ok(()),
            code => Err(BootstrapError { what: what(), code }),
        }
    }
}
