//! Kubernetes REST over the store: discovery, CRUD, patch, watch, admission, authentication, RBAC.
