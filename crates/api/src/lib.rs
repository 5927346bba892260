//! Kubernetes REST over the store: discovery, CRUD, patch, watch, admission, authentication, RBAC.

pub mod auth;
mod user;

pub use user::User;
