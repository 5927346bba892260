//! Who a container runs as: the manifest's numbers over the image's USER, checked against runAsNonRoot.

use image::Image;
use model::pod::{Container, Pod, SupplementalGroupsPolicy};

use crate::spec::Identity;

/// Why nobody can be chosen; Kubernetes calls it CreateContainerConfigError, and the words are the kubelet's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// runAsNonRoot, and the user is root.
    #[error(
        "container has runAsNonRoot and {whose} will run as root (container {container}): set runAsUser to a \
         number other than 0"
    )]
    Root {
        /// `image` or `the manifest's runAsUser`.
        whose: &'static str,
        /// The container.
        container: String,
    },
    /// runAsNonRoot, and the image's user is a name, which may mean any number.
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root \
         (container {container}): set runAsUser to its number"
    )]
    Name {
        /// The image's USER.
        user: String,
        /// The container.
        container: String,
    },
    /// The user or group is not in the image.
    #[error("the user of container {container} cannot be found in its image")]
    Lookup {
        /// The container.
        container: String,
        /// Why.
        #[source]
        source: image::user::UserError,
    },
}

/// A process's identity, and its home directory for `HOME`.
pub(crate) struct Resolved {
    pub(crate) identity: Identity,
    pub(crate) home: String,
}

/// Chooses user, group and supplementary groups.
pub(crate) fn resolve(pod: &Pod, container: &Container, image: &Image) -> Result<Resolved, IdentityError> {
    let own = &container.security_context;
    let shared = &pod.spec.security_context;
    let run_as_user = own.run_as_user.or(shared.run_as_user);
    let run_as_group = own.run_as_group.or(shared.run_as_group);
    let image_user =
        image.config.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let non_root = own.run_as_non_root.or(shared.run_as_non_root).unwrap_or(false);
    if non_root {
        check_non_root(&container.name, run_as_user, &image_user)?;
    }
    let named = run_as_user.map_or(image_user, |uid| uid.to_string());
    let user = image::user::resolve(&image.layers, &named)
        .map_err(|source| IdentityError::Lookup { container: container.name.clone(), source })?;
    let mut groups = match shared.supplemental_groups_policy {
        SupplementalGroupsPolicy::Merge => user.additional_gids,
        SupplementalGroupsPolicy::Strict => Vec::new(),
    };
    groups.extend(&shared.supplemental_groups);
    groups.extend(shared.fs_group);
    groups.sort_unstable();
    groups.dedup();
    let gid = run_as_group.unwrap_or(user.gid);
    Ok(Resolved { identity: Identity { uid: user.uid, gid, groups }, home: user.home })
}

fn check_non_root(container: &str, run_as_user: Option<u32>, image_user: &str) -> Result<(), IdentityError> {
    let root = |whose| Err(IdentityError::Root { whose, container: container.to_owned() });
    match run_as_user {
        Some(0) => root("the manifest's runAsUser"),
        Some(_) => Ok(()),
        None => match image_user.split(':').next().unwrap_or_default() {
            "" | "0" => root("image"),
            user if user.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
            user => Err(IdentityError::Name { user: user.to_owned(), container: container.to_owned() }),
        },
    }
}
