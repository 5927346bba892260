//! Talking to a shim of an older podling.

use std::os::unix::net::UnixListener;

use shim::frame::{Incoming, Outgoing};
use shim::protocol::{Call, Message, StartError, Step};

use super::*;

/// Answers as a shim of version 1 does, until its daemon goes away.
fn answer_as_version_1(listener: &UnixListener) {
    let (socket, _) = listener.accept().unwrap();
    let (mut incoming, mut outgoing) = (Incoming::default(), Outgoing::default());
    while incoming.fill(&socket).unwrap() {
        while let Some(frame) = incoming.next_frame().unwrap() {
            let Call { id, request } = frame.parse().unwrap();
            let outcome = match request {
                Request::Hello { version: 1 } => {
                    Ok(Reply::Welcome { version: 1, pid: 1, cgroup: "/p".into() })
                }
                Request::Hello { version } => Err(StartError {
                    step: Step::Stage,
                    errno: None,
                    message: format!("the shim speaks version 1 of its protocol, not {version}"),
                    kind: StartErrorKind::Conflict,
                }),
                Request::State => Ok(Reply::State(State::default())),
                other => panic!("version 1 has no {other:?}"),
            };
            outgoing.push(&Message::Reply { id, outcome }, Vec::new()).unwrap();
            outgoing.flush(&socket).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_shim_is_spoken_to_and_not_asked_to_attach() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("shim.sock")).unwrap();
    let answering = std::thread::spawn(move || answer_as_version_1(&listener));
    let (shim, _events) = Shim::connect(directory.path()).await.unwrap();
    assert_eq!(shim.state().await.unwrap(), ShimState::default());
    let request = AttachRequest {
        container: "web/0".into(),
        key: "attach".into(),
        stdin: false,
        stdout: true,
        stderr: true,
        hand_over_stdin: false,
    };
    let error = shim.attach(request).await.unwrap_err();
    assert!(matches!(error, Error::TooOld { has: 1, needed: 2, .. }), "{error:?}");
    drop(shim);
    answering.join().unwrap();
}
