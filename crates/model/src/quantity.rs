//! Kubernetes quantities: `500m`, `1Gi`, `1e3`, exact and ordered.
//!
//! Kept as an integer number of nano-units (10⁻⁹), the finest step that Kubernetes has, together with the
//! text as written, which is what a user wants to see again.

use serde::{Deserialize, Serialize};

/// An amount of a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quantity {
    nanos: i128,
    text: String,
}

impl Quantity {
    /// The whole number of units, rounded up (as Kubernetes' `Value()` does).
    pub fn value(&self) -> i64 {
        self.scaled(1_000_000_000)
    }

    /// The number of thousandths, rounded up (as Kubernetes' `MilliValue()` does).
    pub fn milli_value(&self) -> i64 {
        self.scaled(1_000_000)
    }

    /// Nano-units.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn scaled(&self, unit_nanos: i128) -> i64 {
        let rounded_up = self.nanos.div_euclid(unit_nanos) + i128::from(self.nanos.rem_euclid(unit_nanos) != 0);
        rounded_up.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
