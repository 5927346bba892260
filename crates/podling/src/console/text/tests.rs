//! What people read.

use super::*;

fn text(palette: Palette) -> Text<Vec<u8>, Vec<u8>> {
    Text {
        out: Vec::new(),
        err: Vec::new(),
        out_palette: palette,
        err_palette: palette,
        width: OWN_NAME.len(),
        bars: Bars::new(),
    }
}

fn line<'a>(label: &'a str, text: &'a [u8]) -> Line<'a> {
    Line { pod: "p", label, index: 0, container: label, attempt: 0, stream: "stdout", time: "", text }
}

fn printed(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn lines_stand_behind_names_of_equal_width() {
    let mut console = text(Palette::plain());
    console.expect_names(["web".to_owned(), "log-follower".to_owned()]);
    console.line(&line("web", b"hello")).unwrap();
    console.line(&line("log-follower", b"there \xff")).unwrap();
    let cause = Some("container `web` is being started");
    console.tell(&Told::NotReady { pod: "default/web", cause }).unwrap();
    console.tell(&Told::NotReady { pod: "default/web", cause: None }).unwrap();
    assert_eq!(console.out, b"         web | hello\nlog-follower | there \xff\n");
    assert_eq!(
        printed(&console.err),
        "     podling | web is not ready any more: container `web` is being started\n"
    );
}

#[test]
fn colours_are_ended_before_the_text_and_after_a_text_that_has_its_own() {
    let mut console = text(Palette::colourful());
    console.line(&line("web", b"plain")).unwrap();
    console.line(&line("web", b"\x1b[31mred")).unwrap();
    let expected = "\x1b[36m    web |\x1b[0m plain\n\x1b[36m    web |\x1b[0m \x1b[31mred\x1b[0m\n";
    assert_eq!(printed(&console.out), expected);
}

#[test]
fn ends_are_told_in_one_sentence() {
    let exited = |role, init, code, signal, reason, message| Told::Exited {
        pod: "p",
        container: "c",
        label: "c",
        role,
        init,
        code,
        signal,
        reason,
        message,
        ran_ms: Some(40.0),
        is_stopped: false,
    };
    let cases = [
        (exited(Role::Init, Some((1, 3)), 0, None, "Completed", None), "init 1/3 c done in 40 ms"),
        (
            exited(Role::Init, Some((1, 3)), 2, None, "Error", Some("no\n")),
            "c ended with code 2 after 40 ms: no",
        ),
        (exited(Role::Main, None, 0, None, "Completed", None), "c ended with code 0 after 40 ms"),
        (
            exited(Role::Main, None, 137, Some(9), "Error", None),
            "c was ended by signal 9 (code 137) after 40 ms",
        ),
        (
            exited(Role::Main, None, 137, Some(9), "OOMKilled", None),
            "c was killed: out of memory (OOMKilled) after 40 ms",
        ),
    ];
    for (told, expected) in cases {
        assert_eq!(sentence(&told, Palette::plain()).unwrap(), expected);
    }
}

#[test]
fn only_events_that_warn_and_are_not_told_otherwise_are_told() {
    let event = |warning, reason| Told::KubernetesEvent {
        pod: "p",
        container: Some("c"),
        warning,
        reason,
        message: "what happened",
    };
    assert_eq!(sentence(&event(false, "Created"), Palette::plain()), None);
    assert_eq!(sentence(&event(true, "BackOff"), Palette::plain()), None);
    assert_eq!(sentence(&event(false, "Pulling"), Palette::plain()), None);
    assert_eq!(sentence(&event(true, "Unhealthy"), Palette::plain()).unwrap(), "Unhealthy: c: what happened");
}
