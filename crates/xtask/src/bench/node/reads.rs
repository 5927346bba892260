//! Reading much: a list of many Pods, and one change that many watchers are told.

use std::time::Instant;

use rustix::event::epoll;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::connection::Connection;
use super::server::Server;
use super::{LIST, LISTED_PODS, TABLE, WATCHERS, WATCHING};
use crate::bench::statistics::Samples;
use crate::failure::{Attempt, Failure, Result};

const NAMESPACES: &str = "/api/v1/namespaces";
const LISTED: &str = "/api/v1/namespaces/listed/pods";
const WATCHED: &str = "/api/v1/namespaces/default/configmaps";
/// How many clients make what is listed.
const CLIENTS: usize = 8;

/// Makes Pods of a node that does not exist, so that nothing runs them; they are Running by their status, as those in a
/// list usually are.
pub(crate) fn make_list(server: &Server) -> Result {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "listed"}});
    server.connect()?.ask("POST", NAMESPACES, Some(&namespace))?;
    std::thread::scope(|scope| {
        let making: Vec<_> = (0..CLIENTS)
            .map(|first| {
                scope.spawn(move || {
                    let mut client = server.connect()?;
                    (first..LISTED_PODS).step_by(CLIENTS).try_for_each(|number| make(&mut client, number))
                })
            })
            .collect();
        making.into_iter().try_for_each(|made| match made.join() {
            Ok(result) => result,
            Err(_) => Err(Failure::new("a client panicked")),
        })
    })
}

fn make(client: &mut Connection, number: usize) -> Result {
    let name = format!("listed-{number}");
    let container =
        |name: &str| json!({"name": name, "image": "podling/toolbox", "command": ["trap", "TERM"]});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "listed"}},
        "spec": {"nodeName": "nowhere", "containers": [container("one"), container("two")]},
    });
    client.ask("POST", LISTED, Some(&pod))?;
    let state = |name: &str| {
        json!({
            "name": name, "image": "podling/toolbox", "imageID": "", "ready": true, "restartCount": 0, "started": true,
            "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        })
    };
    let status = json!({"status": {
        "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "containerStatuses": [state("one"), state("two")],
    }});
    client.ask("PATCH", &format!("{LISTED}/{name}/status"), Some(&status)).map(drop)
}

/// Lists them: as JSON, in one answer; and as `kubectl get` does, page by page as a table.
pub(crate) fn measure_list(client: &mut Connection, samples: &mut Samples) -> Result {
    let start = Instant::now();
    let whole = client.ask("GET", LISTED, None)?;
    samples.add_ms(LIST.name, LIST.limit, start.elapsed().as_secs_f64() * 1e3);
    let list: Value = serde_json::from_slice(&whole).attempt("reading the list")?;
    let count = list["items"].as_array().map_or(0, Vec::len);
    if count != LISTED_PODS {
        return Err(Failure::new(format!("the list has {count} Pods instead of {LISTED_PODS}")));
    }
    let start = Instant::now();
    let mut next = String::new();
    loop {
        let path = format!("{LISTED}?limit=500&continue={next}");
        client.send("GET", &path, "Accept: application/json;as=Table;g=meta.k8s.io;v=v1\r\n", "")?;
        let page = client.body()?;
        next = continued(&page);
        if next.is_empty() {
            break;
        }
    }
    samples.add_ms(TABLE.name, TABLE.limit, start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// The token of the next page, found without reading all of it: that would be measured too.
fn continued(page: &[u8]) -> String {
    const KEY: &[u8] = b"\"continue\":\"";
    let Some(start) = page.windows(KEY.len()).position(|window| window == KEY) else { return String::new() };
    let rest = &page[start + KEY.len()..];
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or_default();
    String::from_utf8_lossy(&rest[..end]).into_owned()
}

/// Watchers that wait, each with a connection of its own.
pub(crate) struct Watchers {
    connections: Vec<Connection>,
    client: Connection,
    readable: rustix::fd::OwnedFd,
    changes: usize,
}

impl Watchers {
    /// Begins all of them.
    pub(crate) fn begin(server: &Server) -> Result<Watchers> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .attempt("raising the limit of open files")?;
        let mut client = server.connect()?;
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}, "data": {"n": ""}});
        let made = client.json("POST", WATCHED, Some(&object))?;
        let version = made["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let readable = epoll::create(epoll::CreateFlags::CLOEXEC).attempt("creating an epoll")?;
        // As an informer does.
        let path = format!("{WATCHED}?watch=true&allowWatchBookmarks=true&resourceVersion={version}");
        let mut connections = Vec::with_capacity(WATCHERS);
        for number in 0..WATCHERS {
            let mut connection = server.connect()?;
            connection.watch(&path)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&readable, connection.socket(), data, epoll::EventFlags::IN | epoll::EventFlags::ET)
                .attempt("waiting for a socket")?;
            connections.push(connection);
        }
        let mut watchers = Watchers { connections, client, readable, changes: 0 };
        // Adding a socket may report what is readable already: nothing.
        watchers.change(&mut Samples::default())?;
        Ok(watchers)
    }

    /// Changes the object, and waits until the bytes have arrived at each watcher's socket; what they say is read after the
    /// clock has stopped, so that the client's part of the work is not measured on the same processors.
    pub(crate) fn change(&mut self, samples: &mut Samples) -> Result {
        self.changes += 1;
        let text = self.changes.to_string();
        let mut told = vec![false; self.connections.len()];
        let mut left = told.len();
        let mut events = Vec::with_capacity(256);
        let start = Instant::now();
        let change = json!({"data": {"n": text}});
        self.client.ask("PATCH", &format!("{WATCHED}/watched"), Some(&change))?;
        while left > 0 {
            events.clear();
            epoll::wait(&self.readable, rustix::buffer::spare_capacity(&mut events), None)
                .attempt("waiting for watchers")?;
            for event in &events {
                let event: &epoll::Event = event;
                let number = event.data.u64() as usize;
                left -= usize::from(!std::mem::replace(&mut told[number], true));
            }
        }
        samples.add_ms(WATCHING.name, WATCHING.limit, start.elapsed().as_secs_f64() * 1e3);
        for connection in &mut self.connections {
            let event = connection.next_event()?;
            if event["object"]["data"]["n"] != text {
                return Err(Failure::new(format!("a watcher was told {event} instead of {text}")));
            }
        }
        Ok(())
    }
}
