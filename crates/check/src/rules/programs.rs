//! Programs that the image does not have: of the container, of its exec probes and of its hooks.

use model::pod::{Handler, Probe, VolumeSource};

use crate::facts::{Found, ImageFacts};
use crate::finding::{Draft, Severity};
use crate::process::{self, Variables};
use crate::subject::{Member, Subject};

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = Vec::new();
    for member in subject.members() {
        let Some(image) = subject.image(member.container) else { continue };
        let look = Look { subject, member: &member, image, variables: process::variables(subject, &member) };
        found.extend(look.main());
        found.extend(look.handlers());
    }
    found
}

struct Look<'a> {
    subject: &'a Subject<'a>,
    member: &'a Member<'a>,
    image: &'a ImageFacts,
    variables: Variables,
}

/// Why a program cannot be executed.
enum Refusal {
    /// Nothing of that name is there.
    Missing(String),
    /// An empty volume stands where the program would be.
    Hidden { path: String, volume: String },
}

impl Look<'_> {
    fn main(&self) -> Option<Draft> {
        let name = self.member.name();
        let line = process::line(self.member, Some(self.image)).unwrap_or_default();
        let Some(program) = line.first() else {
            let message = format!(
                "container `{name}` has nothing to run: image {} has neither ENTRYPOINT nor CMD",
                self.member.container.image
            );
            let draft = Draft::new(Severity::Error, "no-such-program", self.member.field("image"), message);
            return Some(draft.hint("set `command`"));
        };
        let refusal = self.refusal(program)?;
        let message = format!("container `{name}` cannot be started: {}", self.why(&refusal));
        let draft = Draft::new(Severity::Error, "no-such-program", self.member.words_path(), message);
        Some(match (&refusal, program.contains(' ')) {
            (Refusal::Missing(_), true) => draft.hint(
                "the first word is the program; a whole line needs a shell: command: [sh, -c, \"...\"]",
            ),
            _ => draft,
        })
    }

    /// Probes and hooks. Of a probe that cannot be carried out podling says nothing either way: what it is waited for
    /// never comes.
    fn handlers(&self) -> Vec<Draft> {
        let container = self.member.container;
        let of_probe = |probe: &'static str| {
            let probe: &Option<Probe> = match probe {
                "startupProbe" => &container.startup_probe,
                "readinessProbe" => &container.readiness_probe,
                _ => &container.liveness_probe,
            };
            probe.as_ref().map(|probe| &probe.handler)
        };
        let handlers = [
            ("startupProbe", Severity::Error, "can never pass", of_probe("startupProbe")),
            ("readinessProbe", Severity::Error, "can never pass", of_probe("readinessProbe")),
            ("livenessProbe", Severity::Advice, "cannot be carried out", of_probe("livenessProbe")),
            (
                "lifecycle.postStart",
                Severity::Error,
                "always fails, and the container is killed",
                container.post_start.as_ref(),
            ),
            ("lifecycle.preStop", Severity::Advice, "always fails", container.pre_stop.as_ref()),
        ];
        let mut found = Vec::new();
        for (field, severity, effect, handler) in handlers {
            let Some(Handler::Exec(command)) = handler else { continue };
            let Some(refusal) = command.first().and_then(|program| self.refusal(program)) else { continue };
            let what = field.rsplit('.').next().unwrap_or(field);
            let message =
                format!("{what} of container `{}` {effect}: {}", self.member.name(), self.why(&refusal));
            let path = self.member.field(&format!("{field}.exec.command"));
            found.push(Draft::new(severity, "no-such-program", path, message));
        }
        found
    }

    fn why(&self, refusal: &Refusal) -> String {
        let image = &self.member.container.image;
        match refusal {
            Refusal::Missing(what) => format!("image {image} has no {what}"),
            Refusal::Hidden { path, volume } => {
                format!("{path} of image {image} is hidden by the empty volume `{volume}`")
            }
        }
    }

    /// Why the kernel would not find the program; `None` when it would, or when nobody can tell.
    fn refusal(&self, program: &str) -> Option<Refusal> {
        let program = process::expanded(program, &self.variables)?;
        if program.is_empty() {
            return None;
        }
        let working_dir = self.member.container.working_dir.as_deref().unwrap_or(&self.image.working_dir);
        if program.contains('/') {
            return self.at(&process::plain_path(&program, working_dir));
        }
        let search = process::search_path(&self.variables, self.image)?;
        let mut hidden = None;
        for directory in search.split(':') {
            let directory = process::plain_path(directory, working_dir);
            match self.at(&process::plain_path(&program, &directory))? {
                Refusal::Missing(_) => {}
                refusal => drop(hidden.get_or_insert(refusal)),
            }
        }
        Some(hidden.unwrap_or_else(|| Refusal::Missing(format!("`{program}` in its PATH ({search})"))))
    }

    fn at(&self, path: &str) -> Option<Refusal> {
        let found = (self.image.find)(path);
        match self.volume_over(path) {
            // Whoever else mounts it may put the program there.
            Some(volume) if !self.is_own_empty(volume) => None,
            Some(volume) if found == Found::File => {
                Some(Refusal::Hidden { path: path.to_owned(), volume: volume.to_owned() })
            }
            _ => (found == Found::Nothing).then(|| Refusal::Missing(path.to_owned())),
        }
    }

    /// The volume that is mounted over a path.
    fn volume_over(&self, path: &str) -> Option<&str> {
        let mounts = self.member.container.volume_mounts.iter();
        // What is mounted at the root itself hides nothing of what is looked up from there.
        let is_over =
            |at: &str| path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
        mounts
            .filter(|mount| is_over(&process::plain_path(&mount.mount_path, "/")))
            .max_by_key(|mount| mount.mount_path.len())
            .map(|mount| mount.name.as_str())
    }

    /// Whether a volume begins empty and no other container mounts it.
    fn is_own_empty(&self, name: &str) -> bool {
        let spec = &self.subject.pod.spec;
        let is_empty_dir = spec
            .volumes
            .iter()
            .any(|volume| volume.name == name && matches!(volume.source, VolumeSource::EmptyDir { .. }));
        let mounts = |container: &model::pod::Container| {
            container.volume_mounts.iter().any(|mount| mount.name == name)
        };
        let mounted_by = spec.all_containers().filter(|container| mounts(container)).count();
        is_empty_dir && mounted_by == 1
    }
}
