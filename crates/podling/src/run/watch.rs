//! The foreground: takes what the engine reports and what containers print, tells it, and stops the Pods when
//! it is time. One task owns all of it; nothing here decides about a Pod's life.

use std::sync::Arc;
use std::time::Duration;

use engine::control_plane::{Report, ReportKind};
use lifecycle::status::{Phase, Status};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cast::Cast;
use super::logs::Logs;
use super::manifest_plane::ManifestPlane;
use super::requests::Request;
use super::{hopeless, story};
use crate::clock::Clock;
use crate::console::{Console, Line, Told};
use crate::exit::{self, Ending};
use crate::typed::Until;

/// The grace of a Pod that never came up and never will: it has nothing to lose, and its manifest's grace may be
/// minutes.
const GIVING_UP_GRACE_SECONDS: u64 = 2;

/// How long a Pod may be short of what was asked before the cause is told.
const PATIENCE: Duration = Duration::from_millis(1500);

/// One Pod that is watched.
struct WatchedPod {
    uid: String,
    /// `namespace/name`, as reports carry it.
    full_name: String,
    status: Option<Status>,
    /// The cause why it is not what was asked, and since when.
    cause: Option<(String, Instant)>,
    is_cause_told: bool,
    is_gone: bool,
}

/// Everything the foreground works with.
pub(super) struct Watch {
    pub(super) clock: Clock,
    pub(super) console: Console,
    pub(super) cast: Arc<Cast>,
    pub(super) plane: Arc<ManifestPlane>,
    pub(super) until: Option<Until>,
    logs: Logs,
    pods: Vec<WatchedPod>,
    ending: Option<Ending>,
}

/// How the run ended.
pub(super) struct Outcome {
    pub(super) ending: Ending,
    pub(super) statuses: Vec<Status>,
    pub(super) console: Console,
}

impl Watch {
    /// `pods` are UID and `namespace/name`, in the order of the manifest.
    pub(super) fn new(
        clock: Clock,
        console: Console,
        cast: Arc<Cast>,
        plane: Arc<ManifestPlane>,
        until: Option<Until>,
        pods: &[(String, String)],
    ) -> std::io::Result<Watch> {
        let watched = |(uid, full_name): &(String, String)| WatchedPod {
            uid: uid.clone(),
            full_name: full_name.clone(),
            status: None,
            cause: None,
            is_cause_told: false,
            is_gone: false,
        };
        let pods = pods.iter().map(watched).collect();
        Ok(Watch { clock, console, cast, plane, until, logs: Logs::new()?, pods, ending: None })
    }

    /// Watches until every Pod is gone.
    pub(super) async fn perform(
        mut self,
        mut reports: mpsc::UnboundedReceiver<Report>,
        mut requests: mpsc::UnboundedReceiver<Request>,
    ) -> Outcome {
        loop {
            let is_behind = self.read_logs().await;
            if self.pods.iter().all(|pod| pod.is_gone) {
                break;
            }
            let next_cause_at = self.next_cause_at();
            tokio::select! {
                biased;
                Some(request) = requests.recv() => self.stop(request.ending, request.at_once).await,
                report = reports.recv() => match report {
                    Some(report) => self.take(report).await,
                    None => break,
                },
                () = std::future::ready(()), if is_behind => {}
                result = self.logs.changed(), if !is_behind => if let Err(error) = result {
                    self.output_failed(&error).await;
                },
                () = at(next_cause_at), if next_cause_at.is_some() => self.tell_causes().await,
            }
        }
        Outcome {
            ending: self.ending.unwrap_or(Ending::PodsEnded),
            statuses: self.pods.into_iter().filter_map(|pod| pod.status).collect(),
            console: self.console,
        }
    }

    async fn take(&mut self, report: Report) {
        let Some(index) = self.pods.iter().position(|pod| pod.uid == report.uid) else { return };
        let at = self.clock.at(report.boot_nanos);
        let (uid, full_name) = (self.pods[index].uid.clone(), self.pods[index].full_name.clone());
        let pod = full_name.as_str();
        match report.kind {
            ReportKind::Status(status) => self.take_status(index, at, *status).await,
            ReportKind::Event { warning, reason, message, container } => {
                let container = container.as_deref();
                let (reason, message) = (reason.as_str(), message.as_str());
                self.tell(at, &Told::KubernetesEvent { pod, container, warning, reason, message }).await;
                if let Some(why) = hopeless::event(warning, reason, message) {
                    self.end(Ending::GaveUp(why)).await;
                }
            }
            ReportKind::Log { container, attempt, path } => {
                let Some(member) = self.cast.find(&uid, &container) else { return };
                if let Err(error) = self.logs.follow(pod, member, attempt, &path) {
                    let message = format!("cannot follow the log {}: {error}", path.display());
                    self.tell(at, &Told::Trouble { message }).await;
                }
            }
            ReportKind::Step { what, duration } => {
                let ms = duration.as_secs_f64() * 1e3;
                self.tell(at, &Told::Step { pod, what: &what, ms }).await;
            }
            ReportKind::Progress { what, done_bytes, total_bytes } => {
                self.tell(at, &Told::Progress { pod, what: &what, done_bytes, total_bytes }).await;
            }
            ReportKind::Blocked(blocked) => {
                let whose = blocked.container.map(|name| format!("{name}: ")).unwrap_or_default();
                self.end(Ending::GaveUp(format!("{whose}{}", blocked.message))).await;
            }
            // It has come to its own end, and all that is left to do is to forget it.
            ReportKind::Finished(_) => self.plane.delete(&uid, None).await,
            ReportKind::Gone => {
                self.finish_logs(&uid, None).await;
                self.pods[index].is_gone = true;
                self.tell(at, &Told::Gone { pod }).await;
            }
        }
    }

    /// Tells what changed; a container's last lines before its end.
    async fn take_status(&mut self, index: usize, at: Duration, new: Status) {
        let pod = &mut self.pods[index];
        let (uid, full_name) = (pod.uid.clone(), pod.full_name.clone());
        let old = pod.status.replace(new.clone());
        let is_stopping = self.ending.is_some();
        pod.take_cause(&new, is_stopping);
        self.tell(
            at,
            &Told::Status {
                pod: &full_name,
                phase: phase(&new),
                ready: new.is_ready(),
                pod_ips: &new.pod_ips,
                cause: new.cause.as_deref(),
            },
        )
        .await;
        let hopeless = hopeless::status(&new);
        let cast = Arc::clone(&self.cast);
        for transition in lifecycle::transitions(old.as_ref(), &new) {
            if let Some(container) = story::ended_container(&transition) {
                self.finish_logs(&uid, Some(container)).await;
            }
            let Some(told) = story::tell(&transition, &cast, &uid, &full_name, &new, is_stopping) else {
                continue;
            };
            match told {
                // What waits or is not ready because podling stops it, or gives it up, is told by that.
                Told::NotReady { .. } | Told::Waiting { .. } if is_stopping || hopeless.is_some() => continue,
                // The same in other words.
                Told::Waiting { .. } | Told::NotReady { cause: Some(_), .. } => {
                    self.pods[index].is_cause_told = true;
                }
                _ => {}
            }
            self.tell(at, &told).await;
        }
        if let Some(why) = hopeless {
            self.end(Ending::GaveUp(why)).await;
        }
        self.end_if_reached().await;
    }

    /// Ends the run when every Pod is what `--until` asks for, or one of them never will be.
    async fn end_if_reached(&mut self) {
        if self.until != Some(Until::Ready) {
            return;
        }
        let phase_is = |pod: &WatchedPod, phase| pod.status.as_ref().is_some_and(|s| s.phase == phase);
        // A Pod whose work is done before anybody looked has been all it will ever be.
        let is_reached = |pod: &WatchedPod| {
            pod.status.as_ref().is_some_and(Status::is_ready) || phase_is(pod, Phase::Succeeded)
        };
        let failed: Vec<_> = self.pods.iter().filter(|pod| phase_is(pod, Phase::Failed)).collect();
        if !failed.is_empty() {
            // Now, because those that still run will be stopped, and fail by that.
            let code = exit::code(&Ending::PodsEnded, failed.iter().filter_map(|pod| pod.status.as_ref()));
            self.end(Ending::PodFailed(code)).await;
        } else if self.pods.iter().all(is_reached) {
            self.end(Ending::Reached).await;
        }
    }

    /// Ends the run gracefully for a reason that is found here; the first reason counts.
    async fn end(&mut self, ending: Ending) {
        if self.ending.is_some() {
            return;
        }
        let gives_up = matches!(ending, Ending::GaveUp(_));
        self.stop(ending, false).await;
        for pod in &self.pods {
            let was_up = pod.status.as_ref().is_some_and(Status::is_ready);
            let grace_seconds = (gives_up && !was_up).then_some(GIVING_UP_GRACE_SECONDS);
            self.plane.delete(&pod.uid, grace_seconds).await;
        }
    }

    /// Tells and remembers why the Pods are being stopped.
    async fn stop(&mut self, ending: Ending, at_once: bool) {
        let at = self.clock.elapsed();
        let why = match &ending {
            Ending::GaveUp(why) => {
                self.tell(at, &Told::Trouble { message: why.clone() }).await;
                "nothing will change by waiting".to_owned()
            }
            Ending::PodsEnded => "every Pod has ended".to_owned(),
            Ending::PodFailed(_) => "a Pod has failed, and will not become ready".to_owned(),
            Ending::Reached => "ready, as --until asked for".to_owned(),
            Ending::TimedOut => "--timeout is over".to_owned(),
            Ending::Signal(signal) if at_once => format!("{} again", story::signal_name(*signal)),
            Ending::Signal(signal) => {
                format!("{}; once more stops at once", story::signal_name(*signal))
            }
        };
        self.ending.get_or_insert(ending);
        self.tell(at, &Told::Stopping { why, at_once }).await;
    }

    async fn tell(&mut self, at: Duration, told: &Told<'_>) {
        if let Err(error) = self.console.tell(at, told) {
            self.output_failed(&error).await;
        }
    }

    /// Prints what containers have printed, a bounded amount; returns whether there is more.
    async fn read_logs(&mut self) -> bool {
        let (console, at) = (&mut self.console, self.clock.elapsed());
        let result = self.logs.read(|line: &Line<'_>| console.line(at, line));
        match result.and_then(|is_more| self.console.flush().map(|()| is_more)) {
            Ok(is_more) => is_more,
            Err(error) => {
                self.output_failed(&error).await;
                false
            }
        }
    }

    async fn finish_logs(&mut self, uid: &str, container: Option<&str>) {
        let (console, at) = (&mut self.console, self.clock.elapsed());
        if let Err(error) = self.logs.finish(uid, container, |line: &Line<'_>| console.line(at, line)) {
            self.output_failed(&error).await;
        }
    }

    /// Nobody reads any more (`podling run ... | head`), or a disk is full: the Pods are stopped, in silence.
    async fn output_failed(&mut self, error: &std::io::Error) {
        if !self.console.is_silent() {
            self.console.silence();
            crate::console::print_warning(&format!("cannot write to standard output any more: {error}"));
            Box::pin(self.end(Ending::GaveUp("nobody reads the output".to_owned()))).await;
        }
    }

    /// When the next cause has lasted long enough to be told.
    fn next_cause_at(&self) -> Option<Instant> {
        let untold = self.pods.iter().filter(|pod| !pod.is_cause_told);
        untold.filter_map(|pod| pod.cause.as_ref().map(|(_, since)| *since + PATIENCE)).min()
    }

    async fn tell_causes(&mut self) {
        let now = Instant::now();
        for index in 0..self.pods.len() {
            let pod = &mut self.pods[index];
            let Some((cause, since)) = pod.cause.clone() else { continue };
            if !pod.is_cause_told && since + PATIENCE <= now {
                pod.is_cause_told = true;
                let name = pod.full_name.clone();
                self.tell(self.clock.elapsed(), &Told::Stuck { pod: &name, cause: &cause }).await;
            }
        }
    }
}

impl WatchedPod {
    fn take_cause(&mut self, status: &Status, is_stopping: bool) {
        let cause = status.cause.as_ref().filter(|_| !is_stopping && !status.phase.is_terminal());
        if cause != self.cause.as_ref().map(|(cause, _)| cause) {
            self.cause = cause.map(|cause| (cause.clone(), Instant::now()));
            self.is_cause_told = false;
        }
    }
}

/// The phase as Kubernetes writes it.
fn phase(status: &Status) -> &'static str {
    story::phase_name(status.phase)
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
