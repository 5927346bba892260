//! The per-Pod parent of all containers: small, static, single-threaded; its protocol and the operations it executes.
