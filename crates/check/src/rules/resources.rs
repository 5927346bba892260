//! More than the machine has, or less than anything needs. (Requests over limits are refused by the reader.)

use model::quantity::Quantity;
use model::resources;

use crate::finding::{Draft, Severity};
use crate::subject::{Member, Subject};

/// Not even an empty process fits: stack and page tables alone are more.
const NOTHING_FITS_BYTES: i64 = 64 << 10;
/// Container engines refuse less; a shell with one child has about this.
const HARDLY_ANYTHING_FITS_BYTES: i64 = 4 << 20;

pub(super) fn look(subject: &Subject<'_>) -> Vec<Draft> {
    let mut found = over_the_machine(subject);
    found.extend(subject.members().iter().filter_map(tiny_limit));
    found
}

fn over_the_machine(subject: &Subject<'_>) -> Vec<Draft> {
    let effective = resources::effective(&subject.pod.spec);
    let machine = subject.facts.machine;
    let nanos_of_cpus = i128::from(machine.cpu_millis) * 1_000_000;
    let nanos_of_memory = i128::from(machine.memory_bytes) * 1_000_000_000;
    let has = [
        ("cpu", nanos_of_cpus, format!("{} cores", machine.cpu_millis as f64 / 1000.0)),
        ("memory", nanos_of_memory, format!("{} MiB", machine.memory_bytes >> 20)),
    ];
    let mut found = Vec::new();
    for (name, nanos, shown) in has {
        let Some(request) = effective.requests.get(name).filter(|request| request.nanos() > nanos) else {
            continue;
        };
        let path = largest_request(subject, name);
        let asked = match name {
            "memory" => format!("{} MiB", request.value() >> 20),
            _ => format!("{} cores", request.milli_value() as f64 / 1000.0),
        };
        let message = format!(
            "the Pod requests {asked} of {name}, and this machine has {shown}: no Kubernetes node of this size would take \
             it; podling starts it, and it will not get what it asks for"
        );
        found.push(Draft::new(Severity::Advice, "request-over-machine", path, message));
    }
    found
}

/// Where the largest request of a resource stands: a limit is one too.
fn largest_request(subject: &Subject<'_>, name: &str) -> String {
    if subject.pod.spec.resources.as_ref().is_some_and(|own| own.requests.contains_key(name)) {
        return format!("spec.resources.requests.{name}");
    }
    let members = subject.members();
    let request = |member: &&Member<'_>| member.container.resources.requests.get(name).map(Quantity::nanos);
    let largest = members.iter().max_by_key(|member| request(member));
    largest.map_or_else(|| "spec".to_owned(), |member| member.field(&format!("resources.requests.{name}")))
}

fn tiny_limit(member: &Member<'_>) -> Option<Draft> {
    let limit = member.container.resources.limits.get("memory")?;
    let bytes = limit.value();
    let severity = match bytes {
        0 => return None,
        _ if bytes < NOTHING_FITS_BYTES => Severity::Error,
        _ if bytes < HARDLY_ANYTHING_FITS_BYTES => Severity::Advice,
        _ => return None,
    };
    let message = format!("a memory limit of {bytes} bytes is less than a process needs to begin");
    let draft = Draft::new(severity, "limit-too-small", member.field("resources.limits.memory"), message);
    let number = limit.text().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    Some(draft.hint(format!("did you mean {number}Mi?")))
}
