//! The seeds' text, and how it is completed: image names become those of images that can be made here, with a
//! command where the seed's own program is somebody's secret. All else stays as it was written.

use std::path::PathBuf;

/// A seed manifest as it stands in the folder seeds/.
pub(crate) fn seed(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where a seed manifest is.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../seeds").join(name)
}

/// An image that `cargo xtask images` makes, and never asks a registry for.
pub(crate) fn local(image: &str) -> Vec<String> {
    vec![format!("image: {image}"), "imagePullPolicy: IfNotPresent".into()]
}

/// Such an image with a shell script as its command.
pub(crate) fn script(image: &str, script: &str) -> Vec<String> {
    let mut lines = local(image);
    lines.extend(["command:".into(), "- sh".into(), "- -c".into(), "- |".into()]);
    lines.extend(script.lines().map(|line| format!("  {line}")));
    lines
}

/// The built-in image with these arguments.
pub(crate) fn toolbox(arguments: &[&str]) -> Vec<String> {
    vec!["image: podling/toolbox".into(), format!("args: {arguments:?}")]
}

/// Text in which one container's image has become these lines.
pub(crate) trait Complete {
    /// The line `image: NAME` (with whatever stands behind it) becomes `lines`, in the same column.
    fn image(&self, name: &str, lines: &[String]) -> String;

    /// Behind the line `- name: NAME` of a container come `lines`, in the column of `name`.
    fn container(&self, name: &str, lines: &[String]) -> String;
}

impl Complete for str {
    fn image(&self, name: &str, lines: &[String]) -> String {
        let wanted = format!("image: {name}");
        let is_wanted = |line: &str| {
            line.trim_start()
                .strip_prefix(&wanted)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let old =
            self.lines().find(|line| is_wanted(line)).unwrap_or_else(|| panic!("no {wanted} in:\n{self}"));
        let column = old.len() - old.trim_start().len();
        self.replacen(old, indented(lines, column).trim_end_matches('\n'), 1)
    }

    fn container(&self, name: &str, lines: &[String]) -> String {
        let wanted = format!("- name: {name}");
        let old = self.lines().find(|line| line.trim() == wanted);
        let old = old.unwrap_or_else(|| panic!("no {wanted} in:\n{self}"));
        let column = old.len() - old.trim_start().len() + 2;
        self.replacen(old, &format!("{old}\n{}", indented(lines, column).trim_end_matches('\n')), 1)
    }
}

fn indented(lines: &[String], column: usize) -> String {
    lines.iter().map(|line| format!("{:column$}{line}\n", "")).collect()
}

/// A fragment that begins with `spec:` gets the head that it lacks.
pub(crate) fn with_head(fragment: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: completed\n{fragment}")
}
