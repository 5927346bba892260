//! Who a container would run as, where that is forbidden or nobody.

use crate::facts::ImageFacts;
use crate::finding::{Draft, Severity};
use crate::subject::{Member, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    subject.members().iter().filter_map(|member| of(subject, member)).collect()
}

fn of(subject: &Subject<'_>, member: &Member<'_>) -> Option<Draft> {
    let own = &member.container.security_context;
    let shared = &subject.pod.spec.security_context;
    let non_root = own.run_as_non_root.or(shared.run_as_non_root).unwrap_or(false);
    // What is written at the container itself comes first, also where it is pointed at.
    let path = |field: &str, is_own: bool| {
        if is_own {
            member.field(&format!("securityContext.{field}"))
        } else {
            format!("spec.securityContext.{field}")
        }
    };
    let error = |rule, path, message: String| Some(Draft::new(Severity::Error, rule, path, message));
    if let Some(user) = own.run_as_user.or(shared.run_as_user) {
        if non_root && user == 0 {
            let message = format!("container `{}` has runAsNonRoot, and runAsUser 0 is root", member.name());
            let hint = "set runAsUser to a number other than 0";
            return error("runs-as-root", path("runAsUser", own.run_as_user.is_some()), message)
                .map(|draft| draft.hint(hint));
        }
        return None;
    }
    let image = subject.image(member.container)?;
    if let Some(why) = image.unknown_user.as_ref() {
        let message = format!("container `{}` cannot be started: {why}", member.name());
        return error("no-such-user", member.field("image"), message);
    }
    let why = non_root.then(|| of_image(image)).flatten()?;
    let message = format!("container `{}` has runAsNonRoot, and {why}", member.name());
    error("runs-as-root", path("runAsNonRoot", own.run_as_non_root.is_some()), message).map(|draft| {
        draft.hint("set runAsUser to a number other than 0, or take an image with a numeric USER")
    })
}

/// Why an image's user does not do for `runAsNonRoot`.
fn of_image(image: &ImageFacts) -> Option<String> {
    match image.user.split(':').next().unwrap_or_default() {
        "" => Some("its image names no user, so it runs as root".to_owned()),
        user if user.bytes().all(|byte| byte.is_ascii_digit()) => {
            (user.trim_start_matches('0').is_empty()).then(|| "its image runs as root".to_owned())
        }
        user => Some(format!("its image's user {user:?} is a name, which cannot be verified to be non-root")),
    }
}
