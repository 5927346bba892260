//! The node as a client of a control plane: it registers itself, takes the Pods bound to it, and tells what becomes of them.
