//! The parameters of `/containerLogs`, as `PodLogOptions` are read and checked in Kubernetes
//! (`ValidatePodLogOptions` in `pkg/apis/core/validation`). Pure, but for the hour that is given.

use engine::streams::{LogRequest, LogStream};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::query::Query;
use crate::status::Refusal;

/// One thing that is wrong, as `field.Error`.
struct Wrong {
    reason: &'static str,
    field: &'static str,
    message: String,
}

/// Reads what a log request asks for, or all that is wrong with it.
pub(crate) fn log_request(query: &Query, pod: &str, now: Timestamp) -> Result<LogRequest, Refusal> {
    let tail_lines = match query.first("tail") {
        Some("all") => None,
        // From the time before there was a version 1; the kubelet still reads it.
        Some(_) => query.number("tail")?,
        None => query.number("tailLines")?,
    };
    let limit_bytes = query.number("limitBytes")?;
    let since_seconds = query.number("sinceSeconds")?;
    let since_time = query.first("sinceTime").map(since_time).transpose()?;
    let mut wrong = Vec::new();
    let mut invalid = |field, value: i64, why: &str| {
        let message = format!("Invalid value: {value}: {why}");
        wrong.push(Wrong { reason: "FieldValueInvalid", field, message });
    };
    if let Some(lines) = tail_lines.filter(|lines| *lines < 0) {
        invalid("tailLines", lines, "must be greater than or equal to 0");
    }
    if let Some(bytes) = limit_bytes.filter(|bytes| *bytes < 1) {
        invalid("limitBytes", bytes, "must be greater than 0");
    }
    if let (Some(seconds), None) = (since_seconds.filter(|seconds| *seconds < 1), since_time) {
        invalid("sinceSeconds", seconds, "must be greater than 0");
    }
    if since_seconds.is_some() && since_time.is_some() {
        wrong.push(forbidden("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let stream = stream(query, &mut wrong);
    if stream.is_some() && tail_lines.is_some() {
        wrong.push(forbidden("`tailLines` and specific `stream` are mutually exclusive for now"));
    }
    if !wrong.is_empty() {
        return Err(refusal(pod, &wrong));
    }
    let since_seconds_nanos = since_seconds.map(|seconds| {
        let nanos = now.as_nanosecond() - i128::from(seconds) * 1_000_000_000;
        i64::try_from(nanos).unwrap_or(i64::MIN)
    });
    Ok(LogRequest {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since_wall_nanos: since_time.or(since_seconds_nanos),
        timestamps: query.flag("timestamps"),
        tail_lines: tail_lines.map(i64::unsigned_abs),
        limit_bytes: limit_bytes.map(i64::unsigned_abs),
        stream,
    })
}

fn since_time(text: &str) -> Result<i64, Refusal> {
    let time: Timestamp = text.parse().map_err(|_| {
        Refusal::bad_request(format!("sinceTime: cannot parse {text:?} as a time of RFC 3339"))
    })?;
    Ok(i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX))
}

fn stream(query: &Query, wrong: &mut Vec<Wrong>) -> Option<LogStream> {
    match query.first("stream") {
        None | Some("All") => None,
        Some("Stdout") => Some(LogStream::Stdout),
        Some("Stderr") => Some(LogStream::Stderr),
        Some(other) => {
            wrong.push(Wrong {
                reason: "FieldValueNotSupported",
                field: "stream",
                message: format!(
                    "Unsupported value: {other:?}: supported values: \"All\", \"Stderr\", \"Stdout\""
                ),
            });
            None
        }
    }
}

fn forbidden(why: &str) -> Wrong {
    Wrong { reason: "FieldValueForbidden", field: "", message: format!("Forbidden: {why}") }
}

fn refusal(pod: &str, wrong: &[Wrong]) -> Refusal {
    let each: Vec<String> = wrong.iter().map(|wrong| format!("{}: {}", wrong.field, wrong.message)).collect();
    let all = match &each[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let causes: Vec<Value> = wrong
        .iter()
        .map(|wrong| json!({ "reason": wrong.reason, "message": wrong.message, "field": wrong.field }))
        .collect();
    Refusal::invalid(
        format!("PodLogOptions \"{pod}\" is invalid: {all}"),
        json!({ "name": pod, "kind": "PodLogOptions", "causes": causes }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<LogRequest, String> {
        let now = Timestamp::from_second(1_000_000).unwrap();
        log_request(&Query::parse(Some(query)), "web", now).map_err(|refused| refused.message().to_owned())
    }

    #[test]
    fn every_parameter() {
        assert_eq!(read(""), Ok(LogRequest::default()));
        assert_eq!(
            read("follow=true&previous=1&timestamps&tailLines=0&limitBytes=10&sinceSeconds=60&stream=All"),
            Ok(LogRequest {
                follow: true,
                previous: true,
                since_wall_nanos: Some((1_000_000 - 60) * 1_000_000_000),
                timestamps: true,
                tail_lines: Some(0),
                limit_bytes: Some(10),
                stream: None,
            })
        );
        let since = read("sinceTime=1970-01-01T00:00:01.5Z&stream=Stderr").unwrap();
        assert_eq!(since.since_wall_nanos, Some(1_500_000_000));
        assert_eq!(since.stream, Some(LogStream::Stderr));
        assert_eq!(read("tail=5").unwrap().tail_lines, Some(5));
        assert_eq!(read("tail=all").unwrap().tail_lines, None);
    }

    #[test]
    fn what_kubernetes_refuses_is_refused_in_its_words() {
        let table = [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
                ": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
            (
                "stream=stdout",
                "stream: Unsupported value: \"stdout\": supported values: \"All\", \"Stderr\", \"Stdout\"",
            ),
            (
                "stream=Stdout&tailLines=1",
                ": Forbidden: `tailLines` and specific `stream` are mutually exclusive for now",
            ),
            (
                "tailLines=-1&limitBytes=-2",
                "[tailLines: Invalid value: -1: must be greater than or equal to 0, limitBytes: Invalid value: -2: must be greater than 0]",
            ),
        ];
        for (query, message) in table {
            let expected = format!("PodLogOptions \"web\" is invalid: {message}");
            assert_eq!(read(query), Err(expected), "{query}");
        }
        assert_eq!(read("tailLines=x"), Err("strconv.ParseInt: parsing \"x\": invalid syntax".into()));
        assert!(read("sinceTime=yesterday").is_err());
    }
}
