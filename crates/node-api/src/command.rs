//! Exec, attach and run: the streams of a process, on the streams of a client. Knows neither SPDY nor WebSocket.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use engine::streams::{Ended, ExecRequest, Reader, Session, StreamError, Streams, TerminalSize, Writer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::pipe::{Closed, Incoming, Outgoing, PIECE_BYTES};
use crate::query::Query;
use crate::status::{Refusal, chain};

/// How long output may still come when the process has ended and nothing has come. A background process may hold the
/// other end of its pipe open for ever.
const QUIET_TIMEOUT: Duration = Duration::from_secs(1);
/// A new size of a terminal is some thirty bytes.
const RESIZE_BYTES: usize = 4096;

/// Which streams a request wants: in the kubelet's words (`input=1`) or in those of the API (`stdin=true`).
pub(crate) fn streams(query: &Query) -> Result<Streams, Refusal> {
    let tty = query.flag("tty");
    let wanted = Streams {
        stdin: query.flag("stdin") || query.flag("input"),
        stdout: query.flag("stdout") || query.flag("output"),
        // A terminal has one output only (`NewOptions` in the kubelet's remotecommand).
        stderr: (query.flag("stderr") || query.flag("error")) && !tty,
        tty,
    };
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        return Err(Refusal::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

/// What an exec asks for.
pub(crate) fn exec_request(query: &Query) -> Result<ExecRequest, Refusal> {
    let streams = streams(query)?;
    let command: Vec<String> = query.all("command").map(Into::into).collect();
    if command.is_empty() {
        return Err(Refusal::bad_request("you must specify at least one command for the container"));
    }
    Ok(ExecRequest { command, streams })
}

/// How the end is told on the error stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusStyle {
    /// As a `Status` object, since version 4.
    Object,
    /// As text, and nothing when all is well.
    Text,
}

/// What is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Talk {
    /// A command: its exit code is told.
    Exec(Vec<String>),
    /// The container's own process: its exit code is the container's, and not told here (as of the kubelet).
    Attach,
}

/// The client's streams.
pub(crate) struct Ends {
    /// To standard input.
    pub(crate) stdin: Option<Incoming>,
    /// From standard output or the terminal.
    pub(crate) stdout: Option<Outgoing>,
    /// From standard error.
    pub(crate) stderr: Option<Outgoing>,
    /// Tells the end.
    pub(crate) error: Outgoing,
    /// New sizes of the terminal.
    pub(crate) resize: Option<Incoming>,
    /// How the end is told.
    pub(crate) style: StatusStyle,
}

/// Carries a process's streams until it has ended, then tells how. A command that could not be started is told likewise.
pub(crate) async fn converse(started: Result<Session, StreamError>, talk: &Talk, ends: Ends) {
    let Ends { stdin, stdout, stderr, error, resize, style } = ends;
    let status = match started {
        Ok(session) => {
            let Session { stdin: to_stdin, stdout: from_stdout, stderr: from_stderr, resize: sizes, ended } =
                session;
            let input = async {
                tokio::join!(feed(stdin, to_stdin), resizes(resize, sizes));
                // The end of the input is not the end of the process.
                std::future::pending::<()>().await;
            };
            let output = async {
                let (over, told) = tokio::sync::watch::channel(false);
                let ended = async {
                    let ended = ended.await;
                    over.send_replace(true);
                    ended
                };
                let quiet = told.clone();
                let both =
                    tokio::join!(carry(from_stdout, stdout, told), carry(from_stderr, stderr, quiet), ended);
                both.2
            };
            tokio::select! {
                () = input => return,
                ended = output => ended_status(talk, ended),
            }
        }
        Err(failed) => failed_status(talk, &failed),
    };
    let told = match style {
        StatusStyle::Object => Some(status.to_string()),
        StatusStyle::Text if status["status"] == "Success" => None,
        StatusStyle::Text => status["message"].as_str().map(Into::into),
    };
    if let Some(told) = told {
        let _ = error.send(told.into()).await;
    }
    error.end().await;
}

/// From the client to standard input. When the process takes no more, the rest is forgotten, so that it blocks nothing.
async fn feed(from: Option<Incoming>, to: Option<Writer>) {
    let Some(mut from) = from else { return };
    let mut to = to;
    while let Some(piece) = from.next().await {
        let Some(writer) = to.as_mut() else { continue };
        let written = async {
            writer.write_all(&piece.bytes).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            to = None;
        }
    }
    if let Some(mut writer) = to {
        let _ = writer.shutdown().await;
    }
}

/// New sizes from the client: JSON objects one behind the other.
async fn resizes(from: Option<Incoming>, to: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut text = Vec::new();
    while let Some(piece) = from.next().await {
        text.extend_from_slice(&piece.bytes);
        let Ok(sizes) = take_sizes(&mut text) else { return };
        for size in sizes {
            if to.send(size).await.is_err() {
                return;
            }
        }
    }
}

/// Takes the whole objects at the beginning of `text`. What is no size ends the listening, as in the kubelet.
fn take_sizes(text: &mut Vec<u8>) -> Result<Vec<TerminalSize>, ()> {
    let mut sizes = Vec::new();
    let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let mut taken = 0;
    loop {
        match objects.next() {
            Some(Ok(object)) => {
                taken = objects.byte_offset();
                sizes.push(terminal_size(&object).ok_or(())?);
            }
            Some(Err(error)) if error.is_eof() && text.len() - taken <= RESIZE_BYTES => break,
            Some(Err(_)) => return Err(()),
            None => {
                taken = text.len();
                break;
            }
        }
    }
    text.drain(..taken);
    Ok(sizes)
}

fn terminal_size(object: &Value) -> Option<TerminalSize> {
    // Go's decoder reads names of fields in any case.
    let field = |name: &str| {
        let mut fields = object.as_object()?.iter();
        fields.find(|(found, _)| found.eq_ignore_ascii_case(name))?.1.as_u64()?.try_into().ok()
    };
    Some(TerminalSize { width: field("width")?, height: field("height")? })
}

/// From the process to the client, until either has no more.
async fn carry(
    from: Option<Reader>,
    to: Option<Outgoing>,
    mut process_ended: tokio::sync::watch::Receiver<bool>,
) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE_BYTES);
        let quiet = async {
            if process_ended.wait_for(|ended| *ended).await.is_ok() {
                tokio::time::sleep(QUIET_TIMEOUT).await;
            }
        };
        let read = tokio::select! {
            biased;
            read = from.read_buf(&mut buffer) => read,
            () = quiet => break,
        };
        // A terminal whose other end is closed gives EIO: that is its end of file.
        if !matches!(read, Ok(1..)) {
            break;
        }
        if to.send(buffer.split().freeze()).await == Err(Closed) {
            return;
        }
    }
    to.end().await;
}

fn ended_status(talk: &Talk, ended: Result<Ended, StreamError>) -> Value {
    match (talk, ended) {
        (_, Err(failed)) => failed_status(talk, &failed),
        (Talk::Exec(command), Ok(Ended { code })) if code != 0 => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!(
                "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
                command.join(" ")
            ),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        _ => json!({ "metadata": {}, "status": "Success" }),
    }
}

fn failed_status(talk: &Talk, failed: &StreamError) -> Value {
    let doing = match talk {
        Talk::Exec(_) => "executing command in container",
        Talk::Attach => "attaching to container",
    };
    Refusal::internal(&format!("error {doing}: {}", chain(failed))).to_status()
}

/// A command's whole output, for `/run`.
pub(crate) async fn output(session: Session, limit_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let (queue, mut pieces) = mpsc::channel(8);
    let (over, told) = tokio::sync::watch::channel(false);
    let quiet = told.clone();
    let (stdout, stderr) = (Outgoing::new(1, queue.clone()), Outgoing::new(2, queue));
    let carrying = async {
        tokio::join!(
            carry(session.stdout, Some(stdout), told),
            carry(session.stderr, Some(stderr), quiet),
            async {
                let ended = session.ended.await;
                over.send_replace(true);
                ended
            }
        )
        .2
    };
    let collecting = async {
        let mut collected = Vec::new();
        while let Some(piece) = pieces.recv().await {
            if let crate::pipe::Outbound::Data(_, bytes) = piece {
                let room = limit_bytes.saturating_sub(collected.len());
                collected.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
        collected
    };
    let (ended, collected) = tokio::join!(carrying, collecting);
    match ended {
        Ok(Ended { code: 0 }) => Ok(collected),
        Ok(Ended { code }) => {
            let text = String::from_utf8_lossy(&collected).into_owned();
            Err(Refusal::internal(&format!("command exited with {code}: {text}")))
        }
        Err(failed) => Err(Refusal::of_stream(&failed)),
    }
}

/// The message that tells a WebSocket's client that the connection stands, on the lowest channel written to.
pub(crate) async fn greet(ends: &Ends) {
    let lowest = ends.stdout.as_ref().or(ends.stderr.as_ref()).unwrap_or(&ends.error);
    let _ = lowest.send(Bytes::new()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_streams() {
        let api = streams(&Query::parse(Some("stdin=true&stdout=true&tty=false"))).unwrap();
        assert_eq!(api, Streams { stdin: true, stdout: true, stderr: false, tty: false });
        let kubelet = streams(&Query::parse(Some("input=1&output=1&error=1&tty=1"))).unwrap();
        assert_eq!(kubelet, Streams { stdin: true, stdout: true, stderr: false, tty: true });
        let none = streams(&Query::parse(Some("stdin=false&tty=1"))).unwrap_err();
        assert_eq!(none.message(), "you must specify at least 1 of stdin, stdout, stderr");
        let no_command = exec_request(&Query::parse(Some("stdout=1"))).unwrap_err();
        assert_eq!(no_command.message(), "you must specify at least one command for the container");
    }

    #[test]
    fn sizes_come_in_any_pieces() {
        let mut text = b"{\"Width\":80,\"Height\":24}\n{\"width\":1".to_vec();
        let first = take_sizes(&mut text).unwrap();
        assert_eq!(first, [TerminalSize { width: 80, height: 24 }]);
        text.extend_from_slice(b"00,\"height\":30}");
        assert_eq!(take_sizes(&mut text).unwrap(), [TerminalSize { width: 100, height: 30 }]);
        assert!(text.is_empty());
    }

    #[test]
    fn what_is_no_size_ends_the_listening() {
        assert_eq!(take_sizes(&mut b"{\"Width\":80}".to_vec()), Err(()));
        assert_eq!(take_sizes(&mut b"{\"Width\":99999,\"Height\":1}".to_vec()), Err(()));
        assert_eq!(take_sizes(&mut b"]".to_vec()), Err(()));
        assert_eq!(take_sizes(&mut vec![b'['; RESIZE_BYTES + 1]), Err(()), "nothing grows for ever");
    }

    #[test]
    fn an_exit_code_is_told_as_kubectl_reads_it() {
        let talk = Talk::Exec(vec!["sh".into(), "-c".into(), "exit 3".into()]);
        let status = ended_status(&talk, Ok(Ended { code: 3 }));
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "3" }));
        assert_eq!(ended_status(&talk, Ok(Ended { code: 0 }))["status"], "Success");
        assert_eq!(ended_status(&Talk::Attach, Ok(Ended { code: 3 }))["status"], "Success");
    }

    #[test]
    fn a_command_that_is_absent_is_told_as_in_kubernetes() {
        let failed = StreamError::CannotExecute { message: "exec: \"nope\": not found in $PATH".into() };
        assert_eq!(
            failed_status(&Talk::Exec(vec![]), &failed)["message"],
            "Internal error occurred: error executing command in container: exec: \"nope\": not found in $PATH"
        );
    }
}
