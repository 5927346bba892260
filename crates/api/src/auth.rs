//! Who asks, and what they may: certificates and tokens, impersonation, and RBAC.
//!
//! ```text
//! certificate or token ─► identity ─► (impersonation, when asked for) ─► rbac ─► (node) ─► yes, or 403 in Kubernetes' words
//! ```
//!
//! [`rbac`] and [`bootstrap`] are pure; [`certificates`] and [`tokens`] keep their keys in files under `DATA_DIR/pki`. Nothing
//! here reads the store: what is needed from it is given by the caller.

pub mod bootstrap;
pub mod certificates;
pub mod identity;
pub mod impersonation;
pub mod kubeconfig;
pub(crate) mod node;
mod pem_file;
pub mod rbac;
pub mod tokens;
