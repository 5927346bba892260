//! Power cuts: what a load and a removal ask of the kernel, in order, must be such that whatever of it has reached the disk, a
//! name leads to a whole image.
//!
//! strace(1) tells what was asked; the rules here say what must be on the disk before what. No seam in the store: a call that
//! is forgotten there is missing here.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{LayerForm, Silent};
use support::{Layer, TestImage, noise, store, tar_of};

const CHILD: &str = "PODLING_TEST_STORE";
const FORM: &str = "PODLING_TEST_FORM";
const NAME: &str = "power:1";

/// What a call did, as far as it matters after a power cut.
#[derive(Debug)]
enum Call {
    Write(PathBuf),
    /// The contents of a file or the names of a directory are on the disk.
    Sync(PathBuf),
    /// Everything is.
    SyncAll,
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

impl Call {
    /// A finished call as strace prints it with `-y`, which adds the path to each descriptor.
    fn parse(line: &str) -> Option<Self> {
        let (call, result) = line.rsplit_once(" = ")?;
        if result.starts_with('-') {
            return None;
        }
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        let of_descriptor = || Some(PathBuf::from(arguments.split_once('<')?.1.split_once('>')?.0));
        let quoted: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
        Some(match name {
            "write" | "pwrite64" | "writev" | "ftruncate" => Self::Write(of_descriptor()?),
            "fsync" | "fdatasync" => Self::Sync(of_descriptor()?),
            "syncfs" => Self::SyncAll,
            "rename" => Self::Rename(quoted.first()?.into(), quoted.get(1)?.into()),
            "unlink" => Self::Unlink(quoted.first()?.into()),
            _ => return None,
        })
    }
}

/// The calls in the order in which they ended. A call that another thread interrupts stands on two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(first) = text.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, first);
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let first = begun.remove(pid).unwrap_or_default();
            let rest = rest.split_once("resumed>").map_or("", |(_, rest)| rest);
            calls.extend(Call::parse(&format!("{first}{rest}")));
        } else {
            calls.extend(Call::parse(text));
        }
    }
    calls
}

/// What has been asked for and is not known to be on the disk.
#[derive(Default)]
struct Pending {
    contents: HashSet<PathBuf>,
    /// Directories with names that came or went.
    names: HashSet<PathBuf>,
}

impl Pending {
    fn apply(&mut self, call: &Call) {
        match call {
            Call::Write(path) => {
                self.contents.insert(path.clone());
            }
            Call::Sync(path) => {
                self.contents.remove(path);
                self.names.remove(path);
            }
            Call::SyncAll => *self = Self::default(),
            Call::Rename(from, to) => {
                for path in [from, to] {
                    self.names.insert(path.parent().unwrap().to_owned());
                }
            }
            Call::Unlink(path) => {
                self.names.insert(path.parent().unwrap().to_owned());
            }
        }
    }

    fn assert_named(&self, root: &Path, directories: &[&str], before: &Path) {
        for directory in directories {
            assert!(
                !self.names.contains(&root.join(directory)),
                "the names in {directory} are not on the disk when {} is named or goes",
                before.display()
            );
        }
    }
}

/// Checks every step, and tells how many names of each kind were given.
fn check(root: &Path, calls: &[Call]) -> HashMap<String, usize> {
    let kind = |path: &Path| {
        let inside = path.strip_prefix(root).ok()?;
        Some(inside.components().next()?.as_os_str().to_string_lossy().into_owned())
    };
    let (mut pending, mut given) = (Pending::default(), HashMap::new());
    for call in calls {
        if let Call::Rename(from, to) = call
            && let Some(kind) = kind(to)
        {
            let is_named = kind != "staging";
            if is_named {
                let unwritten = pending.contents.iter().find(|path| path.starts_with(from));
                assert!(unwritten.is_none(), "{} is named before {unwritten:?} is on the disk", to.display());
                *given.entry(kind.clone()).or_default() += 1;
            }
            match kind.as_str() {
                "images" => pending.assert_named(root, &["blobs", "l", "layers"], to),
                "refs" => pending.assert_named(root, &["images"], to),
                "staging" if from.starts_with(root.join("l")) || from.starts_with(root.join("blobs")) => {
                    pending.assert_named(root, &["refs", "images", "layers"], from);
                }
                _ => {}
            }
        }
        if let Call::Unlink(path) = call
            && kind(path).is_some_and(|kind| kind == "layers")
        {
            pending.assert_named(root, &["refs", "images"], path);
        }
        pending.apply(call);
    }
    pending.assert_named(root, &["refs", "images"], Path::new("the end"));
    given
}

/// Runs the ignored test `name` of this program under strace.
fn traced(name: &str, folder: &Path, form: LayerForm) -> Vec<Call> {
    let trace = folder.join("trace");
    let calls_of_interest = "trace=write,pwrite64,writev,ftruncate,fsync,fdatasync,syncfs,/^rename,/^unlink";
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-e", calls_of_interest, "-o"]).arg(&trace);
    strace.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--ignored"]);
    strace.env(CHILD, folder).env(FORM, format!("{form:?}"));
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    calls(&fs::read_to_string(trace).unwrap())
}

fn child() -> (PathBuf, image::Images) {
    let folder = PathBuf::from(std::env::var_os(CHILD).expect("only its parent runs this test"));
    let form = match std::env::var(FORM).unwrap().as_str() {
        "Erofs" => LayerForm::Erofs,
        _ => LayerForm::Directory,
    };
    let store = store(&folder).with_layers(form);
    (folder, store)
}

#[test]
#[ignore = "run by the tests of power loss"]
fn load_child() {
    let (folder, store) = child();
    store.load(&folder.join("archive"), &Silent).unwrap();
}

#[test]
#[ignore = "run by the tests of power loss"]
fn remove_child() {
    child().1.remove(NAME).unwrap();
}

#[test]
fn whatever_reached_the_disk_a_name_leads_to_a_whole_image() {
    for form in support::FORMS {
        let folder = tempfile::tempdir().unwrap();
        let layer = |seed: u8| Layer::new().file("seed", &[seed]).file("noise", &noise(6 << 20)).finish();
        let image = TestImage::new(NAME, vec![layer(1), layer(2)]);
        fs::write(folder.path().join("archive"), tar_of(&image.docker_files())).unwrap();
        let root = store(folder.path()).root().to_owned();
        let given = check(&root, &traced("load_child", folder.path(), form));
        let count = |kind: &str| given.get(kind).copied().unwrap_or_default();
        assert_eq!((count("l"), count("layers"), count("images"), count("refs")), (2, 2, 1, 1), "{given:?}");
        let removal = traced("remove_child", folder.path(), form);
        assert!(removal.iter().any(|call| matches!(call, Call::Unlink(path) if path.starts_with(&root))));
        check(&root, &removal);
    }
}

#[test]
fn a_store_that_forgets_to_wait_for_the_disk_is_found_out() {
    let root = Path::new("/s");
    let name = "1 rename(\"/s/staging/0\", \"/s/images/a\") = 0\n";
    let whole = "1 write(3</s/staging/0>, \"x\", 1) = 1\n1 fdatasync(3</s/staging/0>) = 0\n";
    let end = "1 fsync(3</s/images>) = 0\n";
    check(root, &calls(&[whole, name, end].concat()));
    let later = "2 fdatasync(3</s/staging/0> <unfinished ...>\n1 write(3</s/staging/0>, \"x\", 1) = 1\n";
    for wrong in [
        ["1 write(3</s/staging/0>, \"x\", 1) = 1\n", name, end],
        [whole, name, ""],
        ["1 rename(\"/s/staging/1\", \"/s/l/b\") = 0\n", name, end],
        [later, name, end],
    ] {
        let calls = calls(&wrong.concat());
        assert!(std::panic::catch_unwind(|| check(root, &calls)).is_err(), "{wrong:?}");
    }
}
