//! What a Pod can be told about itself, in its environment and in files (the downward API). Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use model::pod::{Container, DownwardValue, Pod};

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

/// Why a file of the downward API cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DownwardError {
    /// The field is not one that a container can be told.
    #[error("fieldRef {0} is not supported by podling")]
    Field(String),
    /// The resource is not one that a container can be told.
    #[error("resourceFieldRef {0} is not supported by podling")]
    Resource(String),
    /// The Pod has no such container.
    #[error("container {0} not found")]
    Container(String),
}

impl DownwardApi {
    /// What stands in a file.
    pub(crate) fn value(&self, pod: &Pod, value: &DownwardValue) -> Result<String, DownwardError> {
        match value {
            DownwardValue::Field(field) => {
                self.field(pod, field).ok_or_else(|| DownwardError::Field(field.clone()))
            }
            DownwardValue::Resource { container, resource, divisor } => {
                let of = pod.spec.container(container);
                let of = of.ok_or_else(|| DownwardError::Container(container.clone()))?;
                let told = self.resource(of, resource, divisor.nanos());
                told.ok_or_else(|| DownwardError::Resource(resource.clone()))
            }
        }
    }

    /// A field of the Pod; none for one that no container is told.
    pub(crate) fn field(&self, pod: &Pod, field: &str) -> Option<String> {
        let keyed = |of: &BTreeMap<String, String>, prefix: &str| {
            let key = field.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")?;
            Some(of.get(key).cloned().unwrap_or_default())
        };
        match field {
            "metadata.name" => Some(pod.meta.name.clone()),
            "metadata.namespace" => Some(pod.meta.namespace.clone()),
            "metadata.uid" => Some(pod.meta.uid.clone()),
            "metadata.labels" => Some(lines(&pod.meta.labels)),
            "metadata.annotations" => Some(lines(&pod.meta.annotations)),
            "spec.nodeName" => Some(self.node_name.clone()),
            "spec.serviceAccountName" => Some(pod.spec.service_account_name.clone()),
            "status.hostIP" | "status.hostIPs" => Some(self.host_ip.clone()),
            "status.podIP" => Some(self.pod_ips.first().cloned().unwrap_or_default()),
            "status.podIPs" => Some(self.pod_ips.join(",")),
            _ => keyed(&pod.meta.labels, "metadata.labels")
                .or_else(|| keyed(&pod.meta.annotations, "metadata.annotations")),
        }
    }

    /// The amount in units of the divisor, rounded up; none for a resource that no container is told.
    pub(crate) fn resource(
        &self,
        container: &Container,
        resource: &str,
        divisor_nanos: i128,
    ) -> Option<String> {
        let (list, name) = resource.split_once('.')?;
        let amounts = match list {
            "limits" => &container.resources.limits,
            "requests" => &container.resources.requests,
            _ => return None,
        };
        let nanos = match (amounts.get(name), list, name) {
            (Some(quantity), _, _) => quantity.nanos(),
            (None, "limits", "cpu") => i128::from(self.allocatable_cpu_millis) * 1_000_000,
            (None, "limits", "memory") => i128::from(self.allocatable_memory_bytes) * 1_000_000_000,
            (None, "requests", _) => 0,
            _ => return None,
        };
        let divisor = if divisor_nanos > 0 { divisor_nanos } else { 1_000_000_000 };
        Some((nanos.div_euclid(divisor) + i128::from(nanos.rem_euclid(divisor) != 0)).to_string())
    }
}

/// `KEY="VALUE"` line by line, as Kubernetes writes labels and annotations (pkg/fieldpath, FormatMap).
fn lines(of: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = of.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// The text as Go quotes it (strconv.Quote), which is what readers of these files undo.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            // Writing to a String does not fail.
            c if c < ' ' || c == '\x7f' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            // Blanks of other scripts and controls are not printable for Go.
            c if c.is_control() || (c.is_whitespace() && c != ' ') || c == '\u{feff}' => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let text = r#"
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {tier: web, app: "x"}, annotations: {note: "a \"b\"\n\tc\\ é\u0001"}}
spec:
  containers: [{name: app, image: i, resources: {limits: {memory: 64Mi, cpu: 1500m}}}]
"#;
        model::manifest::parse("pod.yaml", text.as_bytes()).unwrap().pods.remove(0)
    }

    fn field(name: &str) -> Result<String, DownwardError> {
        DownwardApi::default().value(&pod(), &DownwardValue::Field(name.to_owned()))
    }

    #[test]
    fn labels_and_annotations_are_lines_as_go_quotes_them() {
        assert_eq!(field("metadata.labels").unwrap(), "app=\"x\"\ntier=\"web\"");
        assert_eq!(field("metadata.annotations").unwrap(), r#"note="a \"b\"\n\tc\\ é\x01""#);
        assert_eq!(field("metadata.labels['tier']").unwrap(), "web");
        assert_eq!(field("metadata.annotations['none']").unwrap(), "");
        assert_eq!(field("spec.containers"), Err(DownwardError::Field("spec.containers".into())));
    }

    #[test]
    fn resources_are_of_the_named_container() {
        let of = |container: &str, resource: &str, divisor: &str| {
            let value = DownwardValue::Resource {
                container: container.into(),
                resource: resource.into(),
                divisor: divisor.parse().unwrap(),
            };
            DownwardApi::default().value(&pod(), &value)
        };
        assert_eq!(of("app", "limits.memory", "1Mi").unwrap(), "64");
        assert_eq!(of("app", "limits.cpu", "1").unwrap(), "2");
        assert_eq!(of("app", "requests.cpu", "1m").unwrap(), "1500", "a limit is the request too");
        assert_eq!(of("none", "limits.cpu", "1"), Err(DownwardError::Container("none".into())));
        assert_eq!(of("app", "limits.disk", "1"), Err(DownwardError::Resource("limits.disk".into())));
    }
}
