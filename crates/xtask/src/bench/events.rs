//! podling's `--output json`, as far as it carries times. When an event is renamed there, this file follows, and
//! no other.

use serde_json::Value;

/// The times of one run, in milliseconds since podling's start.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Timeline {
    /// The manifest has been read and understood.
    pub(crate) manifest_ms: Option<f64>,
    /// Each start of a main container, its program executed.
    pub(crate) started_ms: Vec<f64>,
    /// The Pod is Ready.
    pub(crate) ready_ms: Option<f64>,
    /// How many lines the containers have printed.
    pub(crate) lines: usize,
    /// How many Pods are Ready.
    pub(crate) ready: usize,
    /// From the end of each init container to the start of the container after it.
    pub(crate) init_gaps_ms: Vec<f64>,
    init_exited_ms: Option<f64>,
    /// podling begins to stop the Pod.
    pub(crate) stopping_ms: Option<f64>,
    /// Nothing is left of the Pod.
    pub(crate) gone_ms: Option<f64>,
    /// What podling says of its own steps: name, duration in milliseconds.
    pub(crate) steps: Vec<(String, f64)>,
    /// What went wrong, for the message when a run fails.
    pub(crate) troubles: Vec<String>,
}

impl Timeline {
    /// Takes one line of output. What carries no time of interest is passed over.
    pub(crate) fn take(&mut self, line: &str) {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return };
        let at_ms = event["at_ms"].as_f64();
        match event["event"].as_str().unwrap_or_default() {
            "manifest" => self.manifest_ms = at_ms,
            "started" => {
                let exited_ms = self.init_exited_ms.take();
                self.init_gaps_ms.extend(at_ms.zip(exited_ms).map(|(started, exited)| started - exited));
                self.started_ms.extend(at_ms.filter(|_| event["role"] == "main"));
            }
            "exited" if event["role"] == "init" => self.init_exited_ms = at_ms,
            "log" => self.lines += 1,
            "ready" => {
                self.ready += 1;
                self.ready_ms = at_ms;
            }
            "stopping" => self.stopping_ms = at_ms,
            "gone" => self.gone_ms = at_ms,
            "step" => {
                let step = event["what"].as_str().zip(event["ms"].as_f64());
                self.steps.extend(step.map(|(what, ms)| (what.to_string(), ms)));
            }
            "trouble" | "warning" => self.troubles.extend(event["message"].as_str().map(String::from)),
            _ => {}
        }
    }

    /// When the last of the main containers was started.
    pub(crate) fn up_ms(&self) -> Option<f64> {
        self.started_ms.iter().copied().reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_becomes_a_timeline() {
        let mut timeline = Timeline::default();
        for line in [
            r#"{"event":"manifest","pods":["default/bench"],"run":"a","at_ms":1.5}"#,
            r#"{"event":"step","pod":"default/bench","what":"network","ms":2.25,"at_ms":4.0}"#,
            r#"{"event":"started","pod":"default/bench","container":"first","role":"init","attempt":0,"at_ms":5.0}"#,
            r#"{"event":"exited","pod":"default/bench","container":"first","role":"init","code":0,"at_ms":6.25}"#,
            r#"{"event":"started","pod":"default/bench","container":"one","role":"main","attempt":0,"at_ms":9.0}"#,
            r#"{"event":"started","pod":"default/bench","container":"two","role":"main","attempt":0,"at_ms":8.0}"#,
            "not JSON",
            r#"{"event":"gone","pod":"default/bench","at_ms":30}"#,
        ] {
            timeline.take(line);
        }
        assert_eq!(
            (timeline.manifest_ms, timeline.up_ms(), timeline.gone_ms),
            (Some(1.5), Some(9.0), Some(30.0))
        );
        assert_eq!(timeline.started_ms.len(), 2);
        assert_eq!(timeline.init_gaps_ms, [2.75]);
        assert_eq!(timeline.steps, [("network".to_string(), 2.25)]);
    }
}
