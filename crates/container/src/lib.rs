//! One sandbox, one container, one exec, from an OCI runtime spec. Knows no Kubernetes.
