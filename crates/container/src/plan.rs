//! From an OCI runtime spec to the operations that make the container: pure, so testable without root.
