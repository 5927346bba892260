//! For people: log lines with their container's name on standard output, what happens on standard error.
//!
//! Every line stands behind a name of equal width, `podling` being one of them. Standard error of a
//! container goes to standard output too: the order of a container's lines is worth more than the split,
//! and JSON output keeps the stream.

use std::io::{self, BufWriter, Stderr, Stdout, Write};
use std::time::Duration;

use super::bars::Bars;
use super::human;
use super::palette::Palette;
use super::told::{Line, Role, Told};

/// podling's own name before its lines.
const OWN_NAME: &str = "podling";
/// Names longer than this are not padded to: one long name should not push everything aside.
const WIDEST_NAME: usize = 30;

pub(crate) struct Text<O: Write = BufWriter<Stdout>, E: Write = Stderr> {
    out: O,
    err: E,
    out_palette: Palette,
    err_palette: Palette,
    width: usize,
    bars: Bars,
}

impl Text {
    pub(super) fn new() -> Text {
        Text {
            out: BufWriter::with_capacity(64 * 1024, io::stdout()),
            err: io::stderr(),
            out_palette: Palette::of_stdout(),
            err_palette: Palette::of_stderr(),
            width: OWN_NAME.len(),
            bars: Bars::new(),
        }
    }
}

impl<O: Write, E: Write> Text<O, E> {
    pub(super) fn expect_names(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.width = self.width.max(name.len().min(WIDEST_NAME));
        }
    }

    pub(super) fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let style = self.out_palette.container(line.index);
        let width = self.width;
        let is_colourful = self.out_palette.is_colourful();
        let out = &mut self.out;
        self.bars.aside(|| {
            write!(out, "{style}{:>width$} |{style:#} ", line.label)?;
            out.write_all(line.text)?;
            // A colour that the program forgot to end must not run into the next line.
            let reset = if is_colourful && line.text.contains(&0x1b) { "\x1b[0m\n" } else { "\n" };
            out.write_all(reset.as_bytes())
        })
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    pub(super) fn tell(&mut self, told: &Told<'_>) -> io::Result<()> {
        if let Told::Progress { what, done_bytes, total_bytes, .. } = told {
            self.bars.update(what, *done_bytes, *total_bytes);
            return Ok(());
        }
        // The end of a pull, also of one whose size was never known. Others show themselves again as they go on.
        if matches!(told, Told::Result { .. } | Told::KubernetesEvent { reason: "Pulled" | "Failed", .. }) {
            self.bars.clear();
        }
        let Some(sentence) = sentence(told, self.err_palette) else { return Ok(()) };
        // What was printed before must be seen before.
        self.out.flush()?;
        let own_name = self.err_palette.strong(format_args!("{OWN_NAME:>width$} |", width = self.width));
        let err = &mut self.err;
        self.bars.aside(|| {
            for line in sentence.lines() {
                // A closed standard error is nobody's loss; a closed standard output ends the run.
                let _ = writeln!(err, "{own_name} {line}");
            }
        });
        Ok(())
    }
}

/// What is said to people; nothing for what only machines want to know.
fn sentence(told: &Told<'_>, palette: Palette) -> Option<String> {
    Some(match told {
        Told::Manifest { .. } | Told::Step { .. } | Told::Status { .. } | Told::Progress { .. } => {
            return None;
        }
        Told::Problem(problem) => problem.to_string(),
        Told::Warning { message } => format!("{} {message}", palette.warning("warning:")),
        Told::Trouble { message } => format!("{} {message}", palette.failure("error:")),
        Told::KubernetesEvent { container, warning, reason, message, .. } => {
            return kubernetes_event(*container, *warning, reason, message, palette);
        }
        // An init container is told when it is done; one that takes long is told by `Stuck`.
        Told::Started { role: Role::Init, attempt: 0, .. } => return None,
        Told::Started { label, role: Role::Sidecar, attempt: 0, .. } => format!("{label} started (sidecar)"),
        Told::Started { label, attempt: 0, .. } => format!("{label} started"),
        Told::Started { label, attempt, .. } => format!("{label} started again (restart {attempt})"),
        Told::Exited { .. } => exited(told, palette),
        Told::Waiting { label, restart_delay: Some(delay), last_code, .. } => {
            let why = last_code.map(|code| format!(" because it ended with code {code}")).unwrap_or_default();
            format!("{label}: restarting in {delay}{why}")
        }
        Told::Waiting { label, reason, message, .. } => format!("{label} waits: {reason}: {message}"),
        Told::Ready { pod, pod_ips } => match pod_ips.first() {
            Some(ip) => palette.success(format_args!("{} is ready at {ip}", short(pod))),
            None => palette.success(format_args!("{} is ready", short(pod))),
        },
        // The container whose end made it so has been told.
        Told::NotReady { cause: None, .. } => return None,
        Told::NotReady { pod, cause: Some(cause) } => {
            palette.warning(format_args!("{} is not ready any more: {cause}", short(pod)))
        }
        Told::Stuck { cause, .. } => format!("waiting: {cause}"),
        Told::Finished { pod, is_stopped: true, .. } => format!("{} stopped", short(pod)),
        Told::Finished { pod, phase, reason, message, .. } => {
            let why = [*reason, *message].into_iter().flatten().collect::<Vec<_>>().join(": ");
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            match *phase {
                "Succeeded" => palette.success(format_args!("{} succeeded{why}", short(pod))),
                _ => palette.failure(format_args!("{} failed{why}", short(pod))),
            }
        }
        Told::Stopping { why, at_once: false } => format!("stopping: {why}"),
        Told::Stopping { why, at_once: true } => format!("stopping at once: {why}"),
        Told::Gone { .. } => return None,
        Told::Result { exit_code: 0, .. } => return None,
        Told::Result { exit_code, .. } => palette.faint(format_args!("exit code {exit_code}")),
    })
}

/// Kubernetes' events are many and most are told in better words; those that warn are told as they are.
fn kubernetes_event(
    container: Option<&str>,
    warning: bool,
    reason: &str,
    message: &str,
    palette: Palette,
) -> Option<String> {
    let whose = container.map(|name| format!("{name}: ")).unwrap_or_default();
    match reason {
        // The wait or the end that follows says the same.
        "BackOff" | "Failed" | "FailedMount" | "FailedCreatePodSandBox" => None,
        // What every Pod without a dnsPolicy would be told.
        "DNSConfigForming" => None,
        _ if warning => Some(format!("{} {whose}{message}", palette.warning(format_args!("{reason}:")))),
        "SandboxChanged" => Some(message.to_owned()),
        _ => None,
    }
}

/// The Pod's name, with its namespace only when that is not the default one.
fn short(pod: &str) -> &str {
    pod.strip_prefix("default/").unwrap_or(pod)
}

fn exited(told: &Told<'_>, palette: Palette) -> String {
    let Told::Exited { label, role, init, code, signal, reason, message, ran_ms, is_stopped, .. } = told
    else {
        return String::new();
    };
    let ran = ran_ms.map(|ms| human::duration(Duration::from_secs_f64(ms / 1e3)));
    if let (Role::Init, Some((index, total)), 0) = (role, init, code) {
        let after = ran.map(|ran| format!(" in {ran}")).unwrap_or_default();
        return format!("init {index}/{total} {label} done{after}");
    }
    let after = ran.map(|ran| format!(" after {ran}")).unwrap_or_default();
    if *is_stopped && *reason != "OOMKilled" {
        return match (code, signal) {
            // It was given the time to end, and did not take it.
            (_, Some(9)) => format!("{label} did not stop in time and was killed{after}"),
            (0, _) => format!("{label} stopped{after}"),
            (code, _) => format!("{label} stopped with code {code}{after}"),
        };
    }
    let how = match (*reason, signal) {
        ("OOMKilled", _) => "was killed: out of memory (OOMKilled)".to_owned(),
        ("StartError", _) => "could not be started".to_owned(),
        (_, Some(signal)) => format!("was ended by signal {signal} (code {code})"),
        (_, None) => format!("ended with code {code}"),
    };
    let why = message.map(|message| format!(": {}", message.trim_end())).unwrap_or_default();
    let sentence = format!("{label} {how}{after}{why}");
    if *code == 0 { sentence } else { palette.failure(sentence) }
}

#[cfg(test)]
mod tests;
