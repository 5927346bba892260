//! How the timeline calls things. Pure.

use std::time::Duration;

use lifecycle::{Action, Done, Exit, Fact, Failure, Now, Reason};

use crate::console::human;

/// What an action is called, and the container that it is about.
pub(super) fn action(action: &Action) -> String {
    let restart = |attempt: u32| match attempt {
        0 => String::new(),
        restarts => format!(" (restart {restarts})"),
    };
    match action {
        Action::PrepareVolumes { .. } => "prepare volumes".to_owned(),
        Action::CreateSandbox { attempt: 0 } => "create sandbox".to_owned(),
        Action::CreateSandbox { attempt } => format!("create sandbox {attempt}"),
        Action::Pull { .. } => "pull".to_owned(),
        Action::Start { attempt, .. } => format!("start{}", restart(*attempt)),
        Action::PostStart { .. } => "postStart hook".to_owned(),
        Action::Probe { kind, .. } => format!("{} probe", kind.to_string().to_lowercase()),
        Action::AllocateResources { .. } => "allocate resources".to_owned(),
        Action::ResizePod { .. } => "resize Pod".to_owned(),
        Action::ResizeContainer { .. } => "resize".to_owned(),
        Action::PreStop { .. } => "preStop hook".to_owned(),
        Action::Signal { .. } => "stop signal".to_owned(),
        Action::Kill { .. } => "KILL".to_owned(),
        Action::RemoveSandbox { .. } => "remove sandbox".to_owned(),
        Action::RemoveVolumes => "remove volumes".to_owned(),
    }
}

/// What an action came to.
pub(super) fn outcome(action: &Action, result: &Result<Done, Failure>) -> String {
    match result {
        Ok(Done::Pulled { size_bytes, .. }) => format!("pulled {}", human::size(*size_bytes)),
        Ok(Done::Performed) if matches!(action, Action::Pull { .. }) => "here already".to_owned(),
        Ok(Done::Performed) if matches!(action, Action::Start { .. }) => "runs".to_owned(),
        Ok(Done::Performed) => "done".to_owned(),
        Ok(Done::Healthy) => "passed".to_owned(),
        Ok(Done::Unhealthy { message }) => format!("failed: {message}"),
        Err(Failure { reason: Reason::Canceled, .. }) => "given up".to_owned(),
        Err(failure) => format!("{}: {}", failure.reason, failure.message),
    }
}

/// A request or a change from outside.
pub(super) fn request(fact: &Fact) -> (String, String) {
    let (what, outcome) = match fact {
        Fact::Observed(_) | Fact::Completed { .. } => ("note", String::new()),
        Fact::StopRequested { grace_seconds: None } => ("stop requested", String::new()),
        Fact::StopRequested { grace_seconds: Some(0) } => ("stop requested", "at once".to_owned()),
        Fact::StopRequested { grace_seconds: Some(seconds) } => {
            ("stop requested", format!("with a grace of {}", human::duration(Duration::from_secs(*seconds))))
        }
        Fact::Evicted { message, .. } => ("evicted", message.clone()),
        Fact::RestartRequested { container: None } => ("restart requested", "of all containers".to_owned()),
        Fact::RestartRequested { container: Some(name) } => ("restart requested", format!("of {name}")),
        Fact::DependencyChanged => ("retry", "something that was missing may be there now".to_owned()),
        Fact::PodChanged => ("edited", "the Pod is asked for otherwise now".to_owned()),
        Fact::PolicyChanged(_) => ("policy", "the node's delays are others now".to_owned()),
    };
    (what.to_owned(), outcome)
}

/// How a container ended.
pub(super) fn exit(exit: &Exit, ran: Duration) -> String {
    let how = match (exit.oom_killed, exit.signal) {
        (true, _) => "out of memory (OOMKilled)".to_owned(),
        (false, Some(signal)) => format!("signal {signal}, code {}", exit.code),
        (false, None) => format!("code {}", exit.code),
    };
    let why = match exit.message.as_deref().map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!(": {message}"),
        None => String::new(),
    };
    format!("{how} after {}{why}", human::duration(ran))
}

/// Time from `since` to `now`; over a reboot, as the wall clock has it.
pub(super) fn between(since: &Now, now: &Now) -> Duration {
    let nanos = if since.boot_id == now.boot_id {
        now.boot_nanos.saturating_sub(since.boot_nanos)
    } else {
        u64::try_from(now.wall_nanos.saturating_sub(since.wall_nanos)).unwrap_or(0)
    };
    Duration::from_nanos(nanos)
}

/// `+0.0 ms`, `+12.3 ms`, `+1.25 s`, `+3 min 20 s`.
pub(super) fn when(since_start: Duration) -> String {
    let seconds = since_start.as_secs_f64();
    match since_start.as_millis() {
        0..1000 => format!("+{:.1} ms", seconds * 1e3),
        1000..100_000 => format!("+{seconds:.2} s"),
        _ => format!("+{}", human::duration(since_start)),
    }
}

/// One line, whatever a container or a hostile journal put into it: control characters could move the cursor.
pub(super) fn one_line(text: &str) -> String {
    text.trim().chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_told_as_exactly_as_one_wants_them() {
        for (micros, expected) in [
            (0, "+0.0 ms"),
            (12_340, "+12.3 ms"),
            (1_254_000, "+1.25 s"),
            (61_500_000, "+61.50 s"),
            (200_000_000, "+3 min 20 s"),
        ] {
            assert_eq!(when(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\nb\x1b[31mc\n"), "a b [31mc");
    }

    #[test]
    fn a_reboot_is_bridged_by_the_wall_clock() {
        let then = Now { boot_nanos: 900, boot_id: 1, wall_nanos: 1_000 };
        let now = Now { boot_nanos: 5, boot_id: 2, wall_nanos: 4_000 };
        assert_eq!(between(&then, &now), Duration::from_nanos(3_000));
        assert_eq!(between(&now, &then), Duration::ZERO, "a clock that was set back");
    }
}
