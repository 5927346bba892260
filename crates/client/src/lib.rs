//! A small client of the Kubernetes API: in process, or over TLS to a control plane elsewhere.
