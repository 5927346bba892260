//! Credential helpers: `docker-credential-NAME get` with the server on its input, a JSON object on its output
//! (github.com/docker/docker-credential-helpers). What a helper says that is not an error is never repeated.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::answer::printable;
use super::credentials::{Credential, CredentialsError};

/// Helpers ask keyrings and cloud services; one that asks a person waits for ever.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What helpers say when they have nothing; the text is part of their protocol.
const NOT_FOUND: &str = "credentials not found";
/// The user that stands for "the secret is an identity token".
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// Asks the helper `name` for what it has for `server`.
pub(super) async fn ask(
    name: &str,
    server: &str,
    path: Option<&OsStr>,
) -> Result<Option<Credential>, CredentialsError> {
    let program = format!("docker-credential-{name}");
    let failed = |problem: String| CredentialsError { place: format!("{program} for {server}"), problem };
    if name.contains('/') {
        return Err(failed("the name of a helper has no slash".to_owned()));
    }
    let asking = async {
        let mut command = Command::new(&program);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child = command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A helper that does not read its input says in its exit code what it thinks of that.
            let _ = input.write_all(format!("{server}\n").as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(TIMEOUT, asking).await {
        Ok(output) => output.map_err(|error| failed(format!("it cannot be run: {error}")))?,
        Err(_) => return Err(failed(format!("it did not answer within {} s", TIMEOUT.as_secs()))),
    };
    if !output.status.success() {
        let words = printable(&String::from_utf8_lossy(&output.stdout));
        let is_absent = words.to_lowercase().contains(NOT_FOUND);
        return if is_absent {
            Ok(None)
        } else {
            Err(failed(format!("it failed ({}): {words}", output.status)))
        };
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("its answer is not the JSON that it should be".to_owned()))?;
    Ok(match (answer.username.as_str(), answer.secret) {
        (_, secret) if secret.is_empty() => None,
        (TOKEN_USER, token) => Some(Credential::Identity(token)),
        (user, password) => Some(Credential::Password { user: user.to_owned(), password }),
    })
}
