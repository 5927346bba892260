//! ServiceAccount tokens for Pods of this node, from the TokenRequest API.

use std::time::Duration;

use client::{Client, kinds};
use engine::{Token, TokenError, TokenRequest};
use serde_json::{Value, json};

/// Asks for a token that ends with the Pod.
pub(crate) async fn fetch(client: &Client, request: TokenRequest) -> Result<Token, TokenError> {
    let (namespace, account) = (request.namespace.as_str(), request.service_account.as_str());
    let asked = asked(&request);
    let answer =
        client.create_below(&kinds::SERVICE_ACCOUNTS, Some(namespace), account, "token", &asked).await;
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| TokenError::Failed {
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        source,
    };
    let answer = answer.map_err(|error| failed(error.into()))?;
    read(&answer).ok_or_else(|| failed("the answer holds no token, or no time at which it ends".into()))
}

fn asked(request: &TokenRequest) -> Value {
    // No audience at all asks for that of the API server.
    let audiences: Vec<&String> = request.audience.iter().collect();
    json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": request.expiration_seconds,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": request.pod_name,
                "uid": request.pod_uid,
            },
        },
    })
}

/// The server may give another life than was asked for, and says which.
fn read(answer: &Value) -> Option<Token> {
    let token = answer["status"]["token"].as_str().filter(|token| !token.is_empty())?;
    let lifetime = Duration::from_secs(answer["spec"]["expirationSeconds"].as_u64()?);
    let expires_at: jiff::Timestamp = answer["status"]["expirationTimestamp"].as_str()?.parse().ok()?;
    let expires_at_wall_nanos = i64::try_from(expires_at.as_nanosecond()).ok()?;
    Some(Token { token: token.to_owned(), lifetime, expires_at_wall_nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bound_to_its_pod() {
        let request = TokenRequest {
            namespace: "shop".into(),
            service_account: "default".into(),
            audience: Some("vault".into()),
            expiration_seconds: 3607,
            pod_name: "web".into(),
            pod_uid: "u-1".into(),
        };
        let spec = &asked(&request)["spec"];
        assert_eq!(spec["audiences"], json!(["vault"]));
        assert_eq!(spec["expirationSeconds"], 3607);
        assert_eq!(
            spec["boundObjectRef"],
            json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u-1"})
        );
        assert_eq!(asked(&TokenRequest { audience: None, ..request })["spec"]["audiences"], json!([]));
    }

    #[test]
    fn the_server_says_when_a_token_ends() {
        let answer = json!({
            "spec": {"expirationSeconds": 3600},
            "status": {"token": "t", "expirationTimestamp": "1970-01-01T01:00:00Z"},
        });
        let token = read(&answer).unwrap();
        assert_eq!((token.token.as_str(), token.lifetime), ("t", Duration::from_secs(3600)));
        assert_eq!(token.expires_at_wall_nanos, 3_600_000_000_000);
        assert_eq!(read(&json!({"status": {"token": "t"}})), None);
    }
}
