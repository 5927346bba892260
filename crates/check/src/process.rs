//! What a container executes: the manifest's words over the image's, as Kubernetes combines them.

use std::collections::BTreeMap;

use model::expand::expand;
use model::pod::EnvValue;

use crate::facts::ImageFacts;
use crate::subject::{Member, Subject};

/// The search path when nobody gives one, as every container has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables that the manifest gives; `None` for one whose value is not known before the Pod runs.
pub(crate) type Variables = BTreeMap<String, Option<String>>;

/// The environment of a container as far as the manifests tell it.
pub(crate) fn variables(subject: &Subject<'_>, member: &Member<'_>) -> Variables {
    let mut variables = Variables::new();
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    for from in &member.container.env_from {
        for (key, value) in subject.object(from.source, &from.name).iter().flat_map(|object| &object.data) {
            variables.insert(format!("{}{key}", from.prefix), Some(text(value)));
        }
    }
    for variable in &member.container.env {
        let value = match &variable.value {
            EnvValue::Literal(value) => expanded(value, &variables),
            EnvValue::Key { kind, name, key, .. } => {
                subject.object(*kind, name).and_then(|object| object.data.get(key)).map(text)
            }
            EnvValue::Field(_) | EnvValue::Resource { .. } => None,
        };
        variables.insert(variable.name.clone(), value);
    }
    variables
}

/// A text with its `$(NAME)`s replaced; none when one of them is not known.
pub(crate) fn expanded(text: &str, variables: &Variables) -> Option<String> {
    let is_unknown = |name: &str| matches!(variables.get(name), Some(None));
    let names = text.split("$(").skip(1).filter_map(|rest| rest.split(')').next());
    let expanded = expand(text, |name| variables.get(name).cloned().flatten());
    let has_unknown = names.into_iter().any(is_unknown);
    (!has_unknown).then_some(expanded)
}

/// The words that are executed, `$(NAME)` not yet replaced. Without an image, what the manifest alone tells: `None`
/// when the program is the image's.
pub(crate) fn line(member: &Member<'_>, image: Option<&ImageFacts>) -> Option<Vec<String>> {
    let (command, args) = (&member.container.command, &member.container.args);
    if !command.is_empty() {
        return Some(command.iter().chain(args).cloned().collect());
    }
    let image = image?;
    let rest = if args.is_empty() { &image.cmd } else { args };
    Some(image.entrypoint.iter().chain(rest).cloned().collect())
}

/// The words as the manifest and, where it is here, the image tell them, without a multi-call program in front
/// (`/bin/toolbox sleep 5`, `busybox sleep 5`), with known variables replaced.
pub(crate) fn told_words(subject: &Subject<'_>, member: &Member<'_>) -> Vec<String> {
    let variables = variables(subject, member);
    let line = line(member, subject.image(member.container));
    let line = line.unwrap_or_else(|| member.container.args.clone());
    without_wrapper(
        line.iter().map(|word| expanded(word, &variables).unwrap_or_else(|| word.clone())).collect(),
    )
}

/// The words without what merely passes them on.
pub(crate) fn without_wrapper(mut words: Vec<String>) -> Vec<String> {
    let passes_on = ["toolbox", "busybox", "exec", "tini", "dumb-init", "--", "docker-entrypoint.sh"];
    while words.len() > 1 && passes_on.contains(&program_name(&words[0])) {
        words.remove(0);
    }
    words
}

/// The last part of a program's path.
pub(crate) fn program_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The script of `sh -c SCRIPT`, if that is what the words are.
pub(crate) fn script(words: &[String]) -> Option<&str> {
    let (shell, rest) = words.split_first()?;
    if !matches!(program_name(shell), "sh" | "bash" | "ash" | "dash" | "zsh" | "ksh") {
        return None;
    }
    let is_flags = |word: &&String| word.starts_with('-') || word.starts_with('+');
    let flags: Vec<&String> = rest.iter().take_while(is_flags).collect();
    let has_script = flags.iter().any(|flag| !flag.starts_with("--") && flag.contains('c'));
    has_script.then(|| rest.get(flags.len()).map(String::as_str)).flatten()
}

/// Where a program is looked for: the container's PATH, else the image's, else the usual one. `None` when it is not
/// known.
pub(crate) fn search_path(variables: &Variables, image: &ImageFacts) -> Option<String> {
    match variables.get("PATH") {
        Some(path) => path.clone(),
        None => {
            let of_image = image.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
            Some(of_image.unwrap_or(DEFAULT_PATH).to_owned())
        }
    }
}

/// A path made absolute and plain: `..`, `.` and doubled slashes resolved as text.
pub(crate) fn plain_path(path: &str, base: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn the_script_of_a_shell_is_found() {
        assert_eq!(script(&words("sh|-c|echo")), Some("echo"));
        assert_eq!(script(&words("/bin/bash|-e|-c|echo|x")), Some("echo"));
        assert_eq!(script(&words("/bin/bash|-ec|echo")), Some("echo"));
        assert_eq!(script(&words("sh|/script.sh")), None);
        assert_eq!(script(&words("echo|-c|x")), None);
        assert_eq!(script(&words("sh|-c")), None);
    }

    #[test]
    fn paths_become_plain() {
        assert_eq!(plain_path("/a/../b/./c//d", "/"), "/b/c/d");
        assert_eq!(plain_path("bin/x", "/app"), "/app/bin/x");
        assert_eq!(plain_path("../../x", "/app"), "/x");
    }

    #[test]
    fn unknown_variables_make_a_text_unknown() {
        let variables = Variables::from([("A".into(), Some("a".into())), ("B".into(), None)]);
        assert_eq!(expanded("$(A)-$(C)", &variables).as_deref(), Some("a-$(C)"));
        assert_eq!(expanded("$(A)$(B)", &variables), None);
    }
}
