//! The environment of a container, and its command and arguments with `$(NAME)` replaced.
//!
//! Order and precedence are the kubelet's: whole objects first (`envFrom`, later ones win), then `env` in
//! order, each value seeing what stands before it; the image's own ENV is weaker than all of them. Pure: the
//! objects are looked up by the caller's closure.

use std::collections::BTreeMap;

use model::expand::expand;
use model::pod::{Container, EnvValue, KeyedObject, ObjectKind, Pod};

/// What fields and resources of the Pod are known when a container starts.
#[derive(Debug, Clone, Default)]
pub(crate) struct DownwardApi {
    /// `status.podIP` and `status.podIPs`.
    pub pod_ips: Vec<String>,
    /// `status.hostIP`.
    pub host_ip: String,
    /// `spec.nodeName`.
    pub node_name: String,
    /// What `limits.cpu` says when the container has none: thousandths of a core.
    pub allocatable_cpu_millis: i64,
    /// What `limits.memory` says when the container has none.
    pub allocatable_memory_bytes: i64,
}

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
            EnvValue::Field(field) => Some(field_value(pod, downward, &variable.name, field)?),
            EnvValue::Resource { container: of, resource, divisor } => {
                let of = of.as_deref().and_then(|name| pod.spec.container(name)).unwrap_or(container);
                Some(resource_value(of, downward, &variable.name, resource, divisor.nanos())?)
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

fn field_value(pod: &Pod, downward: &DownwardApi, variable: &str, field: &str) -> Result<String, EnvError> {
    let keyed = |of: &BTreeMap<String, String>, prefix: &str| {
        let key = field.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
        Some(of.get(key).cloned().unwrap_or_default())
    };
    let value = match field {
        "metadata.name" => Some(pod.meta.name.clone()),
        "metadata.namespace" => Some(pod.meta.namespace.clone()),
        "metadata.uid" => Some(pod.meta.uid.clone()),
        "spec.nodeName" => Some(downward.node_name.clone()),
        "spec.serviceAccountName" => Some(pod.spec.service_account_name.clone()),
        "status.hostIP" | "status.hostIPs" => Some(downward.host_ip.clone()),
        "status.podIP" => Some(downward.pod_ips.first().cloned().unwrap_or_default()),
        "status.podIPs" => Some(downward.pod_ips.join(",")),
        _ => keyed(&pod.meta.labels, "metadata.labels")
            .or_else(|| keyed(&pod.meta.annotations, "metadata.annotations")),
    };
    value.ok_or_else(|| EnvError::Field { name: variable.to_owned(), field: field.to_owned() })
}

/// The amount in units of the divisor, rounded up (KEP: downward API resources).
fn resource_value(
    container: &Container,
    downward: &DownwardApi,
    variable: &str,
    resource: &str,
    divisor_nanos: i128,
) -> Result<String, EnvError> {
    let unsupported = || EnvError::Resource { name: variable.to_owned(), resource: resource.to_owned() };
    let (list, name) = resource.split_once('.').ok_or_else(unsupported)?;
    let amounts = match list {
        "limits" => &container.resources.limits,
        "requests" => &container.resources.requests,
        _ => return Err(unsupported()),
    };
    let nanos = match (amounts.get(name), list, name) {
        (Some(quantity), _, _) => quantity.nanos(),
        (None, "limits", "cpu") => i128::from(downward.allocatable_cpu_millis) * 1_000_000,
        (None, "limits", "memory") => i128::from(downward.allocatable_memory_bytes) * 1_000_000_000,
        (None, "requests", _) => 0,
        _ => return Err(unsupported()),
    };
    let divisor = if divisor_nanos > 0 { divisor_nanos } else { 1_000_000_000 };
    Ok((nanos.div_euclid(divisor) + i128::from(nanos.rem_euclid(divisor) != 0)).to_string())
}

#[cfg(test)]
mod tests;
