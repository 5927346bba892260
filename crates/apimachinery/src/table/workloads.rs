//! Controllers of Pods: Deployments and their kin, Jobs, autoscalers.

use serde_json::{Value, json};

use super::age::human_duration;
use super::view::View;
use super::{AGE, Cells, Column, NAME, Printer};

pub(super) fn printer(group: &str, kind: &str) -> Option<Printer> {
    let (columns, cells): (&'static [Column], Cells) = match (group, kind) {
        ("", "ReplicationController") => (REPLICAS, replication_controller),
        ("apps", "ReplicaSet") => (REPLICAS, replica_set),
        ("apps", "Deployment") => (DEPLOYMENTS, deployment),
        ("apps", "StatefulSet") => (STATEFUL_SETS, stateful_set),
        ("apps", "DaemonSet") => (DAEMON_SETS, daemon_set),
        ("apps", "ControllerRevision") => (REVISIONS, controller_revision),
        ("batch", "Job") => (JOBS, job),
        ("batch", "CronJob") => (CRON_JOBS, cron_job),
        ("autoscaling", "HorizontalPodAutoscaler") => (AUTOSCALERS, autoscaler),
        ("autoscaling", "Scale") => (SCALES, scale),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

const CONTAINERS: Column = Column::new("Containers", "string", 1, "Names of each container in the template.");
const IMAGES: Column =
    Column::new("Images", "string", 1, "Images referenced by each container in the template.");
const SELECTOR: Column = Column::new("Selector", "string", 1, "Label selector of the pods that it governs.");

const REPLICAS: &[Column] = &[
    NAME,
    Column::new("Desired", "integer", 0, "Replicas is the number of desired replicas."),
    Column::new("Current", "integer", 0, "Replicas is the most recently observed number of replicas."),
    Column::new("Ready", "integer", 0, "The number of ready replicas."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const DEPLOYMENTS: &[Column] = &[
    NAME,
    Column::new("Ready", "string", 0, "Number of the pod with ready state"),
    Column::new(
        "Up-to-date",
        "string",
        0,
        "Total number of non-terminated pods targeted by this deployment that have the desired template spec.",
    ),
    Column::new("Available", "string", 0, "Total number of available pods targeted by this deployment."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const STATEFUL_SETS: &[Column] =
    &[NAME, Column::new("Ready", "string", 0, "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES];

const DAEMON_SETS: &[Column] = &[
    NAME,
    Column::new("Desired", "integer", 0, "The total number of nodes that should be running the daemon pod."),
    Column::new(
        "Current",
        "integer",
        0,
        "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod.",
    ),
    Column::new("Ready", "integer", 0, "The number of nodes with one or more ready daemon pods."),
    Column::new("Up-to-date", "integer", 0, "The total number of nodes that are running updated daemon pod"),
    Column::new("Available", "integer", 0, "The number of nodes with one or more available daemon pods."),
    Column::new("Node Selector", "string", 0, "Selector which must match a node's labels."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const REVISIONS: &[Column] = &[
    NAME,
    Column::new("Controller", "string", 0, "Controller of the object"),
    Column::new("Revision", "string", 0, "Revision indicates the revision of the state represented by Data."),
    AGE,
];

const JOBS: &[Column] = &[
    NAME,
    Column::new("Status", "string", 0, "Status of the job."),
    Column::new("Completions", "string", 0, "Successful and desired number of finished pods."),
    Column::new("Duration", "string", 0, "Time required to complete the job."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const CRON_JOBS: &[Column] = &[
    NAME,
    Column::new(
        "Schedule",
        "string",
        0,
        "The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron.",
    ),
    Column::new("Timezone", "string", 0, "The time zone name for the given schedule."),
    Column::new("Suspend", "boolean", 0, "Whether subsequent executions are suspended."),
    Column::new("Active", "integer", 0, "Number of currently running jobs."),
    Column::new("Last Schedule", "string", 0, "When was the last time the job was successfully scheduled."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const AUTOSCALERS: &[Column] = &[
    NAME,
    Column::new("Reference", "string", 0, "The target resource to scale."),
    Column::new("Targets", "string", 0, "What is measured, and what it should be."),
    Column::new("MinPods", "string", 0, "The lower limit of replicas."),
    Column::new("MaxPods", "string", 0, "The upper limit of replicas."),
    Column::new("Replicas", "string", 0, "The current number of replicas."),
    AGE,
];

const SCALES: &[Column] = &[
    NAME,
    Column::new("Desired", "integer", 0, "The desired number of instances."),
    Column::new("Available", "integer", 0, "The actual number of observed instances."),
    AGE,
];

/// The three columns that `-o wide` adds to what has a Pod template.
fn with_template(object: &View<'_>, mut cells: Vec<Value>, pointer: &str) -> Vec<Value> {
    cells.extend(object.containers(&format!("{pointer}/spec/containers")));
    cells
}

fn replication_controller(object: &View<'_>) -> Vec<Value> {
    let mut cells = replicas(object);
    cells.push(object.labels("/spec/selector"));
    cells
}

fn replica_set(object: &View<'_>) -> Vec<Value> {
    let mut cells = replicas(object);
    cells.push(object.selector("/spec/selector"));
    cells
}

fn replicas(object: &View<'_>) -> Vec<Value> {
    let counts = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"]
        .map(|pointer| json!(object.integer(pointer)));
    let mut cells = vec![object.name()];
    cells.extend(counts);
    cells.push(object.age());
    with_template(object, cells, "/spec/template")
}

fn ready_of_desired(object: &View<'_>) -> Value {
    json!(format!("{}/{}", object.integer("/status/readyReplicas"), object.integer("/spec/replicas")))
}

fn deployment(object: &View<'_>) -> Vec<Value> {
    let cells = vec![
        object.name(),
        ready_of_desired(object),
        json!(object.integer("/status/updatedReplicas")),
        json!(object.integer("/status/availableReplicas")),
        object.age(),
    ];
    let mut cells = with_template(object, cells, "/spec/template");
    cells.push(object.selector("/spec/selector"));
    cells
}

fn stateful_set(object: &View<'_>) -> Vec<Value> {
    with_template(object, vec![object.name(), ready_of_desired(object), object.age()], "/spec/template")
}

fn daemon_set(object: &View<'_>) -> Vec<Value> {
    let mut cells = vec![object.name()];
    for field in [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    ] {
        cells.push(json!(object.integer(&format!("/status/{field}"))));
    }
    cells.push(object.labels("/spec/template/spec/nodeSelector"));
    cells.push(object.age());
    let mut cells = with_template(object, cells, "/spec/template");
    cells.push(object.selector("/spec/selector"));
    cells
}

fn controller_revision(object: &View<'_>) -> Vec<Value> {
    let owners = object.list("/metadata/ownerReferences");
    let controller = owners.iter().find(|owner| owner.boolean("/controller"));
    let controller = controller.map_or_else(
        || "<none>".to_owned(),
        |owner| {
            let kind = owner.text("/kind").to_ascii_lowercase();
            let group = owner.text("/apiVersion").split_once('/').map(|(group, _)| format!(".{group}"));
            format!("{kind}{}/{}", group.unwrap_or_default(), owner.text("/name"))
        },
    );
    vec![object.name(), json!(controller), json!(object.integer("/revision")), object.age()]
}

fn job(job: &View<'_>) -> Vec<Value> {
    let succeeded = job.integer("/status/succeeded");
    let completions = match (job.has("/spec/completions"), job.integer("/spec/parallelism")) {
        (true, _) => format!("{succeeded}/{}", job.integer("/spec/completions")),
        (false, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (false, _) => format!("{succeeded}/1"),
    };
    let started_at = job.moment("/status/startTime").map(|at| at.as_second());
    let ended_at = job.moment("/status/completionTime").unwrap_or(job.now).as_second();
    let duration = started_at.map_or_else(String::new, |started_at| human_duration(ended_at - started_at));
    let cells = vec![job.name(), json!(job_status(job)), json!(completions), json!(duration), job.age()];
    let mut cells = with_template(job, cells, "/spec/template");
    cells.push(job.selector("/spec/selector"));
    cells
}

fn job_status(job: &View<'_>) -> &'static str {
    let is = |condition: &str| job.condition(condition) == Some("True");
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.is_deleted() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn cron_job(object: &View<'_>) -> Vec<Value> {
    let suspend = match object.at("/spec/suspend").object.as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = if object.has("/status/lastScheduleTime") {
        object.since("/status/lastScheduleTime")
    } else {
        "<none>".to_owned()
    };
    let cells = vec![
        object.name(),
        json!(object.text("/spec/schedule")),
        object.cell_or("/spec/timeZone", "<none>"),
        json!(suspend),
        json!(object.count("/status/active")),
        json!(last),
        object.age(),
    ];
    let mut cells = with_template(object, cells, "/spec/jobTemplate/spec/template");
    cells.push(object.selector("/spec/jobTemplate/spec/selector"));
    cells
}

fn scale(object: &View<'_>) -> Vec<Value> {
    let counts = [json!(object.integer("/spec/replicas")), json!(object.integer("/status/replicas"))];
    let [desired, available] = counts;
    vec![object.name(), desired, available, object.age()]
}

fn autoscaler(object: &View<'_>) -> Vec<Value> {
    let target = object.at("/spec/scaleTargetRef");
    vec![
        object.name(),
        json!(format!("{}/{}", target.text("/kind"), target.text("/name"))),
        json!(metrics(object)),
        object.cell_or("/spec/minReplicas", "<unset>"),
        json!(object.integer("/spec/maxReplicas")),
        json!(object.integer("/status/currentReplicas")),
        object.age(),
    ]
}

/// `cpu: 20%/80%, packets: 3/1k + 1 more...`.
fn metrics(object: &View<'_>) -> String {
    if object.has("/spec/targetCPUUtilizationPercentage") {
        let current = percent(object, "/status/currentCPUUtilizationPercentage");
        return format!("cpu: {current}/{}", percent(object, "/spec/targetCPUUtilizationPercentage"));
    }
    let statuses = object.list("/status/currentMetrics");
    let texts: Vec<String> = object
        .list("/spec/metrics")
        .iter()
        .enumerate()
        .map(|(index, metric)| one_metric(metric, statuses.get(index)))
        .collect();
    match texts.len() {
        0 => "<none>".to_owned(),
        1 | 2 => texts.join(", "),
        all => format!("{} + {} more...", texts[..2].join(", "), all - 2),
    }
}

fn percent(object: &View<'_>, pointer: &str) -> String {
    if object.has(pointer) { format!("{}%", object.integer(pointer)) } else { "<unknown>".to_owned() }
}

fn one_metric(metric: &View<'_>, status: Option<&View<'_>>) -> String {
    let (source, named) = match metric.text("/type") {
        "Resource" => ("resource", format!("{}: ", metric.text("/resource/name"))),
        "ContainerResource" => ("containerResource", format!("{}: ", metric.text("/containerResource/name"))),
        "Pods" => ("pods", String::new()),
        "Object" => ("object", String::new()),
        "External" => ("external", String::new()),
        _ => return "<unknown type>".to_owned(),
    };
    let current = |field: &str| status.map(|status| status.at(&format!("/{source}/current/{field}")));
    let text = |field: &str| {
        current(field).filter(|found| !found.object.is_null()).map_or_else(
            || "<unknown>".to_owned(),
            |found| found.object.as_str().map_or_else(|| found.object.to_string(), str::to_owned),
        )
    };
    let target = metric.at(&format!("/{source}/target"));
    if target.has("/averageUtilization") {
        let now = text("averageUtilization");
        let now = if now == "<unknown>" { now } else { format!("{now}%") };
        format!("{named}{now}/{}%", target.integer("/averageUtilization"))
    } else if target.has("/averageValue") {
        let average = if source == "pods" || !named.is_empty() { "" } else { " (avg)" };
        format!("{named}{}/{}{average}", text("averageValue"), target.text("/averageValue"))
    } else {
        format!("{named}{}/{}", text("value"), target.text("/value"))
    }
}
