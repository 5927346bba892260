//! Samples by name, and what is told of them. Pure.

use serde_json::{Value, json};

/// What was measured, in the order in which it was first seen.
#[derive(Default)]
pub(crate) struct Samples {
    series: Vec<Series>,
}

/// All samples of one thing.
pub(crate) struct Series {
    pub(crate) name: String,
    /// What must not be exceeded by the median, when something is promised.
    pub(crate) limit: Option<f64>,
    pub(crate) unit: &'static str,
    values: Vec<f64>,
}

impl Samples {
    /// Adds a duration in milliseconds.
    pub(crate) fn add_ms(&mut self, name: impl Into<String>, limit: Option<f64>, value: f64) {
        self.add(name.into(), limit, "ms", value);
    }

    /// Adds a size in KiB.
    pub(crate) fn add_kib(&mut self, name: impl Into<String>, limit: Option<f64>, value: f64) {
        self.add(name.into(), limit, "KiB", value);
    }

    /// Adds a size in MiB.
    pub(crate) fn add_mib(&mut self, name: impl Into<String>, limit: Option<f64>, value: f64) {
        self.add(name.into(), limit, "MiB", value);
    }

    /// Adds how often something happened.
    pub(crate) fn add_count(&mut self, name: impl Into<String>, limit: Option<f64>, value: f64) {
        self.add(name.into(), limit, "times", value);
    }

    /// Adds CPU time as a share of one core, in percent.
    pub(crate) fn add_percent(&mut self, name: impl Into<String>, limit: Option<f64>, value: f64) {
        self.add(name.into(), limit, "%", value);
    }

    /// Adds what one thing took over what another took.
    pub(crate) fn add_ratio(&mut self, name: impl Into<String>, limit: Option<f64>, value: f64) {
        self.add(name.into(), limit, "times", value);
    }

    fn add(&mut self, name: String, limit: Option<f64>, unit: &'static str, value: f64) {
        match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.values.push(value),
            None => self.series.push(Series { name, limit, unit, values: vec![value] }),
        }
    }

    /// Everything, in the order of first appearance.
    pub(crate) fn series(&self) -> &[Series] {
        &self.series
    }

    /// For machines.
    pub(crate) fn to_json(&self) -> Value {
        let series = self.series.iter().map(|series| {
            json!({
                "name": series.name,
                "unit": series.unit,
                "limit": series.limit,
                "count": series.values.len(),
                "median": series.quantile(0.5),
                "p99": series.quantile(0.99),
                "minimum": series.quantile(0.0),
                "values": series.values,
            })
        });
        json!({ "series": series.collect::<Vec<_>>() })
    }
}

impl Series {
    /// The smallest value that at least this share of the values does not exceed (nearest rank).
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut samples = Samples::default();
        for value in (1..=100).rev() {
            samples.add_ms("up", Some(12.0), f64::from(value));
        }
        samples.add_ms("down", None, 7.0);
        let [up, down] = samples.series() else { panic!() };
        assert_eq!(
            (up.quantile(0.0), up.quantile(0.5), up.quantile(0.99), up.count()),
            (1.0, 50.0, 99.0, 100)
        );
        assert_eq!((down.quantile(0.5), down.quantile(0.99)), (7.0, 7.0));
        assert_eq!(samples.to_json()["series"][0]["median"], 50.0);
    }
}
