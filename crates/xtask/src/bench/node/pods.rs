//! Pods as a client sees them: from the POST until a watch says that all their containers run.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::connection::Connection;
use super::server::{PODS, Server};
use super::{INIT_GAP, MANY, MANY_PODS, POSTED, UP};
use crate::bench::memory;
use crate::bench::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};

/// How many clients create the many Pods.
const CLIENTS: usize = 4;

/// A Pod of two containers that run until they are told to end, after as many init containers of the same program.
fn pod(name: &str, inits: usize) -> Value {
    let container = |name: String| json!({"name": name, "image": "podling/toolbox", "imagePullPolicy": "IfNotPresent", "command": ["trap", "TERM"]});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "initContainers": (0..inits).map(|number| container(format!("init-{number}"))).collect::<Vec<_>>(),
            "containers": [container("one".to_owned()), container("two".to_owned())],
        },
    })
}

/// A client that watches Pods and one that changes them.
pub(crate) struct Pods<'a> {
    server: &'a Server,
    client: Connection,
    watch: Connection,
}

impl<'a> Pods<'a> {
    /// Begins to watch. There must be no Pod yet.
    pub(crate) fn new(server: &'a Server) -> Result<Pods<'a>> {
        let mut pods = Pods { server, client: server.connect()?, watch: server.connect()? };
        pods.watch.watch(&format!("{PODS}?watch=true"))?;
        // The first Pod also unpacks the built-in image, which no later one does.
        pods.run("first", 0, |_, _| {})?;
        Ok(pods)
    }

    /// The server closes connections that are idle for long; a watch is not.
    pub(crate) fn connect_again(&mut self) -> Result {
        self.client = self.server.connect()?;
        Ok(())
    }

    /// One Pod, from its POST until both containers run.
    pub(crate) fn measure_up(&mut self, samples: &mut Samples) -> Result {
        self.run("up", 0, |posted_ms, up_ms| {
            samples.add_ms(POSTED.name, POSTED.limit, posted_ms);
            samples.add_ms(UP.name, UP.limit, up_ms);
        })
    }

    fn run(&mut self, name: &str, inits: usize, measured: impl FnOnce(f64, f64)) -> Result {
        let start = Instant::now();
        self.client.ask("POST", PODS, Some(&pod(name, inits)))?;
        let posted_ms = start.elapsed().as_secs_f64() * 1e3;
        self.wait(|_, pod| (running(pod) == 2).then_some(()))?;
        measured(posted_ms, start.elapsed().as_secs_f64() * 1e3);
        self.delete(&BTreeSet::from([name.to_owned()]))
    }

    /// From an init container's end until the watch says that the container after it runs, for each of a Pod's
    /// init containers. The end is the signal that causes it, so the figure is rather too large.
    pub(crate) fn measure_init_gap(&mut self, samples: &mut Samples) -> Result {
        const INITS: usize = 2;
        self.client.ask("POST", PODS, Some(&pod("gap", INITS)))?;
        self.wait(|_, pod| is_running(&pod["status"]["initContainerStatuses"][0]).then_some(()))?;
        for number in 0..INITS {
            let process = self.only_container()?;
            while !listens(process)? {}
            let start = Instant::now();
            kill_process(process, Signal::TERM).attempt("ending an init container")?;
            self.wait(|_, pod| {
                let next = &pod["status"]["initContainerStatuses"][number + 1];
                (is_running(next) || running(pod) > 0).then_some(())
            })?;
            samples.add_ms(INIT_GAP.name, INIT_GAP.limit, start.elapsed().as_secs_f64() * 1e3);
        }
        self.delete(&BTreeSet::from(["gap".to_owned()]))
    }

    /// The first process of the only container that runs.
    fn only_container(&self) -> Result<Pid> {
        let shims = memory::children(self.server.pid(), "podling-shim")?;
        let container = shims.iter().find_map(|shim| memory::child(*shim, "trap").ok());
        let pid = container.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.ok_or_else(|| Failure::new("no init container runs"))
    }

    /// Many Pods at once, until all run. They stay.
    pub(crate) fn measure_many(&mut self, samples: &mut Samples) -> Result<BTreeSet<String>> {
        let names: BTreeSet<String> = (0..MANY_PODS).map(|number| format!("many-{number}")).collect();
        let mut clients = (0..CLIENTS).map(|_| self.server.connect()).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        std::thread::scope(|scope| {
            let posting: Vec<_> = clients
                .iter_mut()
                .enumerate()
                .map(|(first, client)| {
                    let mut mine = names.iter().skip(first).step_by(CLIENTS);
                    scope.spawn(move || -> Result {
                        mine.try_for_each(|name| client.ask("POST", PODS, Some(&pod(name, 0))).map(drop))
                    })
                })
                .collect();
            let mut waiting = names.clone();
            self.wait(|_, pod| {
                if running(pod) == 2 {
                    waiting.remove(pod["metadata"]["name"].as_str().unwrap_or_default());
                }
                waiting.is_empty().then_some(())
            })?;
            posting.into_iter().try_for_each(|posted| match posted.join() {
                Ok(result) => result,
                Err(_) => Err(Failure::new("a client panicked")),
            })
        })?;
        samples.add_ms(MANY.name, MANY.limit, start.elapsed().as_secs_f64() * 1e3);
        Ok(names)
    }

    /// Deletes Pods and waits until they are gone.
    pub(crate) fn delete(&mut self, names: &BTreeSet<String>) -> Result {
        for name in names {
            self.client.ask("DELETE", &format!("{PODS}/{name}"), None)?;
        }
        let mut left = names.clone();
        self.wait(|event, pod| {
            if event == "DELETED" {
                left.remove(pod["metadata"]["name"].as_str().unwrap_or_default());
            }
            left.is_empty().then_some(())
        })
    }

    fn wait<T>(&mut self, mut is_it: impl FnMut(&str, &Value) -> Option<T>) -> Result<T> {
        loop {
            let event = self.watch.next_event()?;
            if let Some(it) = is_it(event["type"].as_str().unwrap_or_default(), &event["object"]) {
                return Ok(it);
            }
        }
    }
}

/// Whether SIGTERM is blocked to be read; before that the kernel would drop it, as the process is the first one of its PID
/// namespace (pid_namespaces(7)).
fn listens(process: Pid) -> Result<bool> {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let status = fs::read_to_string(&path).attempt(format!("reading {path}"))?;
    let blocked =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigBlk:")?.trim(), 16).ok());
    Ok(blocked.is_some_and(|blocked| blocked & 1 << (Signal::TERM.as_raw() - 1) != 0))
}

/// How many main containers run.
fn running(pod: &Value) -> usize {
    let statuses = pod["status"]["containerStatuses"].as_array();
    statuses.into_iter().flatten().filter(|status| is_running(status)).count()
}

fn is_running(status: &Value) -> bool {
    status["state"]["running"].is_object()
}
