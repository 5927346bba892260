//! All that is wrong with an object, in one answer: metadata, required fields, the kind's own rules, the Pod's in `model`.

use apimachinery::field_error::FieldError;
use apimachinery::meta;
use apimachinery::names::{self, NameRule};
use apimachinery::status::{Cause, Reason, Status};
use serde_json::Value;

use super::edit::Part;
use super::metadata;
use crate::admission::pod_model;
use crate::call::Call;
use crate::kinds::Admission;
use crate::kinds::faults::Faults;
use crate::kinds::strategy::Names;
use crate::respond::Failure;

impl Names {
    /// The rule of names.
    pub(crate) fn rule(self) -> NameRule {
        match self {
            Names::Subdomain => names::dns_subdomain,
            Names::Label => names::dns_label,
            Names::Label1035 => names::dns_1035_label,
            Names::PathSegment => names::path_segment,
        }
    }
}

/// What is wrong with a new object.
pub(crate) fn new(call: &Call, object: &Value) -> Result<(), Failure> {
    let mut causes = of_itself(call, object);
    if call.kind.strategy.admission == Admission::Pod {
        match pod_model::read(object) {
            Ok(_) => {}
            Err(found) => causes.extend(found),
        }
    }
    answer(call, metadata::name(object), causes)
}

/// What is wrong with an object in place of another.
pub(crate) fn changed(call: &Call, part: Part, new: &Value, old: &Value) -> Result<(), Failure> {
    let mut causes = of_itself(call, new);
    causes.extend(meta::validate_update(old, new).iter().map(Cause::from));
    let mut faults = Faults::default();
    if part != Part::Status {
        (call.kind.strategy.validate_update)(new, old, &mut faults);
    }
    causes.extend(faults.0.iter().map(Cause::from));
    if call.kind.strategy.admission == Admission::Pod
        && !matches!(part, Part::Status | Part::Own | Part::Binding)
    {
        causes.extend(pod_model::edit(old, new, part));
    }
    answer(call, metadata::name(new), causes)
}

fn of_itself(call: &Call, object: &Value) -> Vec<Cause> {
    let mut errors: Vec<FieldError> =
        meta::validate(object, call.kind.resource.scope, call.kind.strategy.names.rule());
    let mut faults = Faults::default();
    (call.kind.strategy.validate)(object, &mut faults);
    errors.extend(faults.0);
    if call.kind.strategy.admission == Admission::CustomResourceDefinition {
        let (found, warnings) = crate::custom::check(object);
        errors.extend(found);
        warnings.into_iter().for_each(|warning| call.warnings.add(warning));
    }
    if let Some(custom) = &call.kind.custom {
        errors.extend(custom.validate(object));
    }
    errors.iter().map(Cause::from).collect()
}

/// 422 with everything that was found.
pub(crate) fn answer(call: &Call, name: &str, mut causes: Vec<Cause>) -> Result<(), Failure> {
    if causes.is_empty() {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::new();
    causes.retain(|cause| seen.insert((cause.field.clone(), cause.message.clone())));
    let text = |cause: &Cause| {
        if cause.field.is_empty() {
            cause.message.clone()
        } else {
            format!("{}: {}", cause.field, cause.message)
        }
    };
    let texts: Vec<String> = causes.iter().map(text).collect();
    let all = if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) };
    let kind = call.group_kind();
    let message = format!("{kind} {name:?} is invalid: {all}");
    let mut status = Status::failure(422, Reason::Invalid, message).because(causes);
    if let Some(details) = &mut status.details {
        details.group = kind.group;
        details.kind = kind.kind;
        details.name = name.to_owned();
    }
    Err(status.into())
}
