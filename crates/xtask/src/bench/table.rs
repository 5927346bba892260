//! The samples as a table for people. Pure.

use std::fmt::Write;

use super::statistics::{Samples, Series};

/// One line for each thing that was measured.
pub(crate) fn of(samples: &Samples) -> String {
    let width = samples.series().iter().map(|series| series.name.chars().count()).max().unwrap_or_default();
    let mut table = format!(
        "{:width$}  {:>9} {:>9} {:>9} {:>9}  {:>5}\n",
        "", "limit", "median", "p99", "minimum", "count"
    );
    for series in samples.series() {
        let limit = series.limit.map_or(String::new(), |limit| format!("{limit}"));
        // Writing into a String cannot fail.
        let _ = writeln!(
            table,
            "{:width$}  {limit:>9} {:>9.2} {:>9.2} {:>9.2}  {:>5}  {}{}",
            series.name,
            series.quantile(0.5),
            series.quantile(0.99),
            series.quantile(0.0),
            series.count(),
            series.unit,
            verdict(series),
        );
    }
    table
}

fn verdict(series: &Series) -> &'static str {
    match series.limit {
        Some(limit) if series.quantile(0.5) > limit => "  OVER THE LIMIT",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_over_its_limit_is_marked() {
        let mut samples = Samples::default();
        samples.add_ms("up", Some(12.0), 13.0);
        samples.add_ms("down", Some(30.0), 13.0);
        let table = of(&samples);
        let marked: Vec<_> = table.lines().map(|line| line.ends_with("OVER THE LIMIT")).collect();
        assert_eq!(marked, [false, true, false]);
    }
}
