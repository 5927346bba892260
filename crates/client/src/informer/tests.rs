//! An informer against a server that is made of prepared answers.

use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::json;

use super::*;
use crate::request::kinds;
use crate::transport::{Body, Pending, Transport, body_of};

/// Gives its answers in order, and keeps what it was asked.
#[derive(Default)]
struct Prepared {
    answers: Mutex<Vec<(u16, String)>>,
    asked: Mutex<Vec<String>>,
}

impl Transport for Prepared {
    fn call(&self, request: Request<Bytes>) -> Pending<'_, Result<Response<Body>, Error>> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        let mut answers = self.answers.lock().unwrap();
        let next = if answers.is_empty() { None } else { Some(answers.remove(0)) };
        Box::pin(async move {
            let Some((code, text)) = next else { return std::future::pending().await };
            Ok(Response::builder().status(code).body(body_of(text)).unwrap())
        })
    }
}

fn pod(name: &str, uid: &str, revision: u64) -> Value {
    json!({"metadata": {"namespace": "d", "name": name, "uid": uid, "resourceVersion": revision.to_string()}})
}

fn list(revision: u64, items: &[Value]) -> (u16, String) {
    (200, json!({"metadata": {"resourceVersion": revision.to_string()}, "items": items}).to_string())
}

fn watch(events: &[(&str, Value)]) -> (u16, String) {
    let lines =
        events.iter().map(|(kind, object)| json!({"type": kind, "object": object}).to_string() + "\n");
    (200, lines.collect())
}

fn start(answers: Vec<(u16, String)>) -> (Arc<Prepared>, Informer) {
    let server = Arc::new(Prepared { answers: Mutex::new(answers), asked: Mutex::default() });
    let client = Client::new(Arc::clone(&server) as Arc<dyn Transport>, "test");
    (server, client.inform(&kinds::PODS, None, Query::none()))
}

async fn told(informer: &mut Informer, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        told.push(match informer.next().await.unwrap() {
            Change::Applied(object) => format!("+{} {}", key(&object), uid(&object).unwrap()),
            Change::Deleted(object) => format!("-{} {}", key(&object), uid(&object).unwrap()),
            Change::Synced => "synced".to_owned(),
        });
    }
    told
}

#[tokio::test]
async fn a_watch_goes_on_where_it_ended() {
    let (server, mut informer) = start(vec![
        list(5, &[pod("a", "1", 4)]),
        watch(&[("ADDED", pod("b", "2", 6)), ("BOOKMARK", pod("", "", 9))]),
        watch(&[("DELETED", pod("a", "1", 10))]),
    ]);
    assert_eq!(told(&mut informer, 4).await, ["+d/a 1", "synced", "+d/b 2", "-d/a 1"]);
    let asked = server.asked.lock().unwrap().clone();
    assert!(asked[1].contains("resourceVersion=5"), "{asked:?}");
    assert!(asked[2].contains("resourceVersion=9"), "{asked:?}");
}

#[tokio::test]
async fn after_compaction_the_difference_is_told() {
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"});
    let (_, mut informer) = start(vec![
        list(5, &[pod("a", "1", 4), pod("b", "2", 5), pod("c", "3", 5)]),
        watch(&[("ERROR", gone)]),
        // `a` is the same, `b` is another one of that name, `c` is gone.
        list(20, &[pod("a", "1", 4), pod("b", "9", 15)]),
    ]);
    assert_eq!(told(&mut informer, 4).await, ["+d/a 1", "+d/b 2", "+d/c 3", "synced"]);
    assert_eq!(told(&mut informer, 4).await, ["-d/b 2", "+d/b 9", "-d/c 3", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_again() {
    let (_, mut informer) = start(vec![
        (503, json!({"kind": "Status", "code": 503, "message": "starting"}).to_string()),
        list(1, &[]),
    ]);
    assert_eq!(told(&mut informer, 1).await, ["synced"]);
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let first =
        json!({"metadata": {"resourceVersion": "3", "continue": "next/1"}, "items": [pod("a", "1", 1)]});
    let (server, mut informer) = start(vec![(200, first.to_string()), list(3, &[pod("b", "2", 2)])]);
    assert_eq!(told(&mut informer, 3).await, ["+d/a 1", "+d/b 2", "synced"]);
    assert!(server.asked.lock().unwrap()[1].contains("continue=next%2F1"));
}
