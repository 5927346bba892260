//! With whose credentials a Pod's images are pulled: its own `imagePullSecrets`, then this machine's.

use image::{Credentials, PullOptions};
use lifecycle::Event;
use model::pod::{KeyedObject, ObjectKind};

use crate::pod::PodContext;

/// The options for a pull of `container`'s image, and what to tell of Secrets that are missing or unreadable. They are
/// passed over, as in Kubernetes: the image may be public.
pub(super) fn options(context: &PodContext, container: &str) -> (PullOptions, Option<Event>) {
    let pod = context.pod();
    let mut missing = Vec::new();
    let mut pull_secrets = Vec::new();
    for name in &pod.spec.image_pull_secrets {
        match context.node.control_plane.object(ObjectKind::Secret, &pod.meta.namespace, name) {
            None => missing.push(name.clone()),
            Some(secret) => match credentials(&secret) {
                Ok(credentials) => pull_secrets.push(held_by(&secret, credentials)),
                Err(problem) => missing.push(format!("{name}: {problem}")),
            },
        }
    }
    let warning = (!missing.is_empty()).then(|| Event {
        warning: true,
        reason: "FailedToRetrieveImagePullSecret",
        message: format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        ),
        container: Some(container.to_owned()),
    });
    (PullOptions { pull_secrets, ..PullOptions::of_this_machine() }, warning)
}

/// Newer credentials of the same Secret may use what older ones pulled. One in a manifest has no UID: it is known by what it
/// holds alone.
fn held_by(secret: &KeyedObject, credentials: Credentials) -> Credentials {
    let meta = &secret.meta;
    match meta.uid.as_str() {
        "" => credentials,
        uid => credentials.held_by(&format!("{}/{}/{uid}", meta.namespace, meta.name)),
    }
}

/// What a Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg holds. Its key tells which it is.
/// Helpers that it names are not run: a manifest does not choose programs of the machine.
fn credentials(secret: &KeyedObject) -> Result<Credentials, String> {
    let place = format!("Secret {}/{}", secret.meta.namespace, secret.meta.name);
    if let Some(bytes) = secret.data.get(".dockerconfigjson") {
        let credentials = Credentials::parse(&place, bytes).map_err(|error| error.to_string())?;
        return Ok(credentials.without_helpers());
    }
    match secret.data.get(".dockercfg") {
        Some(bytes) => Credentials::parse_legacy(&place, bytes).map_err(|error| error.to_string()),
        None => Err("it has neither .dockerconfigjson nor .dockercfg".to_owned()),
    }
}
