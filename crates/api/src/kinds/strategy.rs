//! How a kind behaves where it differs from the others; a column of the table for each difference.

use serde_json::Value;

use super::faults::Faults;

/// What a kind's objects may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// A DNS subdomain (RFC 1123): most kinds.
    Subdomain,
    /// A DNS label (RFC 1123).
    Label,
    /// A DNS label (RFC 1035), which begins with a letter.
    Label1035,
    /// Whatever may stand in a path.
    PathSegment,
}

/// What needs the store, or more than the object itself, before an object of a kind is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nothing.
    None,
    /// ServiceAccount, priority, limits, the node's name.
    Pod,
    /// Binds a Pod to a node.
    Binding,
    /// Addresses and ports are allocated.
    Service,
    /// Ends only when all in it is gone; some are for ever.
    Namespace,
    /// Nobody gives away more than he has.
    Role,
    /// Nobody binds more than he has.
    RoleBinding,
    /// Becomes a kind.
    CustomResourceDefinition,
    /// Kept for a while only.
    Event,
    /// Is answered and not stored.
    Review,
    /// Is measured and not stored.
    Metrics,
}

/// How a kind behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strategy {
    /// What its objects may be called.
    pub(crate) names: Names,
    /// Fills in what is absent.
    pub(crate) default: fn(&mut Value),
    /// What must hold of an object.
    pub(crate) validate: fn(&Value, &mut Faults),
    /// What must hold of a new object (first) in place of an old one.
    pub(crate) validate_update: fn(&Value, &Value, &mut Faults),
    /// What needs more than the object.
    pub(crate) admission: Admission,
    /// What a field selector may name beside name and namespace, and where it stands.
    pub(crate) selectable: &'static [(&'static str, &'static str)],
    /// A change outside of metadata and status counts `metadata.generation` up.
    pub(crate) counts_generation: bool,
    /// A new object may bring its status, as Nodes do.
    pub(crate) keeps_status: bool,
    /// Given to each new object, for a controller to take away.
    pub(crate) finalizer: Option<&'static str>,
    /// What whoever creates or changes one has to know.
    pub(crate) warning: Option<&'static str>,
}

impl Strategy {
    /// Nothing special.
    pub(crate) const PLAIN: Strategy = Strategy {
        names: Names::Subdomain,
        default: |_| {},
        validate: |_, _| {},
        validate_update: |_, _, _| {},
        admission: Admission::None,
        selectable: &[],
        counts_generation: false,
        keeps_status: false,
        finalizer: None,
        warning: None,
    };
}
