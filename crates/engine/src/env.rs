//! The environment of a container, and its command and arguments with `$(NAME)` replaced.
//!
//! Order and precedence are the kubelet's: whole objects first (`envFrom`, later ones win), then `env` in
//! order, each value seeing what stands before it; the image's own ENV is weaker than all of them. Pure: the
//! objects are looked up by the caller's closure.

use std::collections::BTreeMap;

use model::expand::expand;
use model::pod::{Container, EnvValue, KeyedObject, ObjectKind, Pod};

use crate::downward::DownwardApi;

/// Why the environment cannot be made; Kubernetes calls it CreateContainerConfigError.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvError {
    /// The object is not there.
    #[error("{} \"{name}\" not found", .kind.to_string().to_lowercase())]
    ObjectMissing {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its name.
        name: String,
    },
    /// The object lacks the key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyMissing {
        /// ConfigMap or Secret.
        kind: ObjectKind,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A value has a NUL byte, which no environment can carry.
    #[error("the value of environment variable {name} contains a NUL byte")]
    Nul {
        /// The variable.
        name: String,
    },
    /// The field is not one that a container can be told.
    #[error("environment variable {name}: fieldRef {field} is not supported by podling")]
    Field {
        /// The variable.
        name: String,
        /// The path.
        field: String,
    },
    /// The resource is not one that a container can be told.
    #[error("environment variable {name}: resourceFieldRef {resource} is not supported by podling")]
    Resource {
        /// The variable.
        name: String,
        /// The resource.
        resource: String,
    },
}

/// How a ConfigMap or Secret of the Pod's namespace is looked up.
pub(crate) type Objects<'a> = &'a dyn Fn(ObjectKind, &str) -> Option<KeyedObject>;

/// The variables that the manifest gives to `container`, without the image's.
pub(crate) fn resolve(
    pod: &Pod,
    container: &Container,
    downward: &DownwardApi,
    objects: Objects<'_>,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut variables = BTreeMap::new();
    for from in &container.env_from {
        let Some(object) = objects(from.source, &from.name) else {
            if from.optional {
                continue;
            }
            return Err(EnvError::ObjectMissing { kind: from.source, name: from.name.clone() });
        };
        for (key, value) in object.data {
            let name = format!("{}{key}", from.prefix);
            if is_variable_name(&name) {
                variables.insert(name.clone(), text(&name, value)?);
            }
        }
    }
    for variable in &container.env {
        let value = match &variable.value {
            EnvValue::Literal(literal) => Some(expand(literal, |name| variables.get(name).cloned())),
            EnvValue::Key { kind, name, key, optional } => {
                key_value(pod, objects, (*kind, name, key), *optional)?
                    .map(|value| text(&variable.name, value))
                    .transpose()?
            }
            EnvValue::Field(field) => Some(
                downward
                    .field(pod, field)
                    .ok_or_else(|| EnvError::Field { name: variable.name.clone(), field: field.clone() })?,
            ),
            EnvValue::Resource { container: of, resource, divisor } => {
                let of = of.as_deref().and_then(|name| pod.spec.container(name)).unwrap_or(container);
                let told = downward.resource(of, resource, divisor.nanos());
                Some(told.ok_or_else(|| EnvError::Resource {
                    name: variable.name.clone(),
                    resource: resource.clone(),
                })?)
            }
        };
        if let Some(value) = value {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

/// What every process is given, unless the image or the manifest says otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// The Pod's host name.
    pub hostname: &'a str,
    /// The user's home directory.
    pub home: &'a str,
    /// Whether there is a terminal.
    pub tty: bool,
}

/// The process's environment: what every process has, then the image's ENV, then what the manifest gives.
pub(crate) fn with_image(
    image_env: &[String],
    variables: &BTreeMap<String, String>,
    given: &Given<'_>,
) -> Vec<String> {
    let mut environment: Vec<(String, String)> = vec![
        ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOSTNAME".into(), given.hostname.into()),
        ("HOME".into(), given.home.into()),
    ];
    if given.tty {
        environment.push(("TERM".into(), "xterm".into()));
    }
    let image = image_env.iter().filter_map(|entry| entry.split_once('='));
    let manifest = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in image.chain(manifest) {
        match environment.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_owned(),
            None => environment.push((name.to_owned(), value.to_owned())),
        }
    }
    environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// What is executed: the manifest's command and args over the image's ENTRYPOINT and CMD, as Kubernetes
/// combines them (a command without args drops the image's CMD). `None` when neither says anything.
pub(crate) fn command_line(
    container: &Container,
    entrypoint: &[String],
    cmd: &[String],
    variables: &BTreeMap<String, String>,
) -> Option<Vec<String>> {
    let expanded = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| expand(word, |name| variables.get(name).cloned())).collect()
    };
    let command = expanded(&container.command);
    let args = expanded(&container.args);
    let line: Vec<String> = match (command.is_empty(), args.is_empty()) {
        (false, _) => command.into_iter().chain(args).collect(),
        (true, false) => entrypoint.iter().cloned().chain(args).collect(),
        (true, true) => entrypoint.iter().chain(cmd).cloned().collect(),
    };
    (!line.is_empty()).then_some(line)
}

/// Kubernetes' relaxed rule: any printable ASCII but `=`.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
}

fn text(name: &str, value: Vec<u8>) -> Result<String, EnvError> {
    if value.contains(&0) {
        return Err(EnvError::Nul { name: name.to_owned() });
    }
    Ok(String::from_utf8_lossy(&value).into_owned())
}

fn key_value(
    pod: &Pod,
    objects: Objects<'_>,
    (kind, name, key): (ObjectKind, &str, &str),
    optional: bool,
) -> Result<Option<Vec<u8>>, EnvError> {
    let Some(mut object) = objects(kind, name) else {
        if optional {
            return Ok(None);
        }
        return Err(EnvError::ObjectMissing { kind, name: name.to_owned() });
    };
    match object.data.remove(key) {
        Some(value) => Ok(Some(value)),
        None if optional => Ok(None),
        None => Err(EnvError::KeyMissing {
            kind,
            namespace: pod.meta.namespace.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
