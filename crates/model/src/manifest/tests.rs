//! Manifests right and wrong, from bytes to objects and messages.

mod accepted;
mod hostile;
mod projected;
mod refused;
mod resources;
mod stored;

use super::{Manifest, Problems, parse};

/// A Pod whose spec is the given lines.
fn pod(spec: &str) -> String {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n{indented}")
}

/// A Pod with one container, whose fields besides name and image are the given lines.
fn container(fields: &str) -> String {
    let indented: String = fields.lines().map(|line| format!("  {line}\n")).collect();
    pod(&format!("containers:\n- name: main\n  image: busybox:1\n{indented}"))
}

fn accepted(text: &str) -> Manifest {
    parse("pod.yaml", text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn refused(text: &str) -> Problems {
    match parse("pod.yaml", text.as_bytes()) {
        Ok(_) => panic!("this should be refused:\n{text}"),
        Err(problems) => problems,
    }
}

/// Every problem as `line:column summary`, one a line.
fn summaries(problems: &Problems) -> String {
    problems
        .iter()
        .map(|problem| {
            let hint = problem.hint.as_deref().map(|hint| format!("  [{}]", hint.replace('\n', " / ")));
            let summary = problem.summary();
            format!("{}:{} {summary}{}\n", problem.line, problem.column, hint.unwrap_or_default())
        })
        .collect()
}
