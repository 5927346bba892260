//! A Pod's JSON as crate `model` reads it: the one place where Pods are validated.
//!
//! `model` reads manifests; a stored Pod has more in it (status, what the server wrote into its metadata), which is left
//! out before. Ephemeral containers, which no manifest may have, are read as the containers that they are.

use apimachinery::status::Cause;
use model::edit::{self, Way};
use model::manifest::{self, Problem, ProblemKind};
use model::pod::{EphemeralContainer, Pod};
use serde_json::{Map, Value, json};

use crate::kinds::fill::{drop_field, items, text};
use crate::objects::edit::Part;

/// A Pod, and what podling does not do of what it asks for.
pub(crate) struct Read {
    /// Typed, defaulted, valid.
    pub(crate) pod: Pod,
    /// What its writer should know.
    pub(crate) warnings: Vec<Problem>,
}

/// Reads a Pod, or says all that is wrong with it.
pub(crate) fn read(object: &Value) -> Result<Read, Vec<Cause>> {
    let mut slim = slim(object);
    let ephemeral = drop_field(&mut slim["spec"], "ephemeralContainers");
    let mut read = parse(&slim)?;
    if let Some(Value::Array(list)) = ephemeral {
        read.pod.spec.ephemeral_containers = self::ephemeral(&slim, list)?;
    }
    Ok(read)
}

/// What is wrong with an edit of a Pod.
pub(crate) fn edit(old: &Value, new: &Value, part: Part) -> Vec<Cause> {
    let way = match part {
        Part::Resize => Way::Resize,
        Part::EphemeralContainers => Way::EphemeralContainers,
        _ => Way::Update,
    };
    let new = match read(new) {
        Ok(read) => read.pod,
        Err(causes) => return causes,
    };
    // What was accepted once is readable; if it is not (another version wrote it), there is nothing to compare with.
    let Ok(old) = read(old) else { return Vec::new() };
    let refused = edit::check(&old.pod, &new, way);
    refused
        .into_iter()
        .map(|refused| {
            let reason = if refused.message.starts_with("Forbidden") {
                "FieldValueForbidden"
            } else if refused.message.starts_with("Duplicate") {
                "FieldValueDuplicate"
            } else if refused.message.starts_with("Not found") {
                "FieldValueNotFound"
            } else {
                "FieldValueInvalid"
            };
            Cause { reason: reason.to_owned(), message: refused.message, field: refused.path }
        })
        .collect()
}

/// Fields that a manifest alone cannot honour, and this server does: [`super::pods`] mounts the token, and the scheduler
/// chooses the node.
const HONOURED_HERE: &[&str] = &[
    "spec.affinity",
    "spec.automountServiceAccountToken",
    "spec.nodeSelector",
    "spec.schedulingGates",
    "spec.tolerations",
    "spec.topologySpreadConstraints",
];

/// What the writer of a Pod should know.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let Ok(read) = parse(&slim(object)) else { return Vec::new() };
    let is_told = |problem: &&Problem| {
        problem.kind == ProblemKind::NotHonoured && !HONOURED_HERE.contains(&problem.path.as_str())
    };
    let told = read.warnings.iter().filter(is_told);
    told.map(|problem| {
        let hint =
            problem.hint.as_deref().map(|hint| format!(" ({})", hint.replace('\n', " "))).unwrap_or_default();
        format!("{}{hint}", problem.summary())
    })
    .collect()
}

/// The parts of a Pod that a manifest has.
fn slim(object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = object["metadata"].get(field).filter(|value| !value.is_null()) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    // A name that is generated later does not matter to what is read here.
    if !metadata.contains_key("name") {
        metadata.insert("name".to_owned(), json!("generated"));
    }
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    if !spec.is_object() {
        spec = json!({});
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn parse(pod: &Value) -> Result<Read, Vec<Cause>> {
    let text = serde_json::to_vec(pod).unwrap_or_default();
    match manifest::parse("pod", &text) {
        Ok(mut manifest) if !manifest.pods.is_empty() => {
            Ok(Read { pod: manifest.pods.remove(0), warnings: manifest.warnings })
        }
        Ok(_) => Err(vec![Cause {
            reason: "FieldValueRequired".to_owned(),
            message: "Required value".to_owned(),
            field: "spec".to_owned(),
        }]),
        Err(problems) => Err(problems
            .iter()
            .map(|problem| Cause {
                reason: problem.kind.reason().to_owned(),
                message: problem.message.clone(),
                field: problem.path.clone(),
            })
            .collect()),
    }
}

/// Reads ephemeral containers as if they were the Pod's containers.
fn ephemeral(pod: &Value, list: Vec<Value>) -> Result<Vec<EphemeralContainer>, Vec<Cause>> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let targets: Vec<Option<String>> =
        list.iter().map(|container| text(container, "/targetContainerName").map(str::to_owned)).collect();
    let mut standing_in = pod.clone();
    drop_field(&mut standing_in["spec"], "initContainers");
    standing_in["spec"]["containers"] = Value::Array(list);
    items(&mut standing_in["spec"], "containers").for_each(|container| {
        drop_field(container, "targetContainerName");
    });
    let read = parse(&standing_in).map_err(|mut causes| {
        for cause in &mut causes {
            cause.field = cause.field.replacen("spec.containers", "spec.ephemeralContainers", 1);
        }
        causes
    })?;
    let containers = read.pod.spec.containers.into_iter().zip(targets);
    Ok(containers.map(|(container, target)| EphemeralContainer { container, target }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ephemeral: Value) -> Value {
        json!({
            "metadata": {"name": "p", "uid": "u", "resourceVersion": "1", "generation": 2},
            "spec": {"containers": [{"name": "a", "image": "b:1"}], "ephemeralContainers": ephemeral},
            "status": {"phase": "Running"},
        })
    }

    #[test]
    fn a_stored_pod_is_read() {
        let read = read(&pod(json!([{"name": "d", "image": "busybox:1", "targetContainerName": "a"}])));
        let read = read.map_err(|causes| format!("{causes:?}")).expect("valid");
        assert_eq!(read.pod.spec.ephemeral_containers[0].target.as_deref(), Some("a"));
    }

    #[test]
    fn what_this_server_honours_is_no_warning() {
        let mut pod = pod(json!([]));
        pod["spec"]["automountServiceAccountToken"] = json!(true);
        pod["spec"]["nodeSelector"] = json!({"disk": "ssd"});
        pod["spec"]["schedulingGates"] = json!([{"name": "example.com/quota"}]);
        pod["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
        pod["spec"]["topologySpreadConstraints"] = json!([{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
        }]);
        pod["spec"]["affinity"] = json!({"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}],
        }});
        pod["spec"]["priority"] = json!(5);
        let warnings = warnings(&pod);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("spec.priority"), "{warnings:?}");
    }

    #[test]
    fn what_the_scheduler_honours_is_no_warning() {
        let mut pod = pod(json!([]));
        pod["spec"]["nodeSelector"] = json!({"site": "north"});
        pod["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
        let terms = json!([{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]);
        pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
        assert_eq!(warnings(&pod), Vec::<String>::new());
    }

    #[test]
    fn faults_keep_their_path() {
        let causes = read(&pod(json!([{"name": "D", "image": "b:1"}]))).err().expect("invalid");
        assert_eq!(causes[0].field, "spec.ephemeralContainers[0].name");
    }

    #[test]
    fn an_edit_is_judged_by_its_way() {
        let old = pod(json!([]));
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("b:2");
        assert_eq!(edit(&old, &new, Part::Main), []);
        assert_eq!(edit(&old, &new, Part::Resize)[0].reason, "FieldValueForbidden");
    }
}
