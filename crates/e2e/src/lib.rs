//! End-to-end tests: they know only the built binary.
