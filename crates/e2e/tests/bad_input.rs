//! What no well-behaved client sends, against the built binary: every refusal is a `metav1.Status`, the node neither ends nor
//! grows, and whoever behaves is served meanwhile.

mod bad_input {
    mod bodies;
    mod callers;
    mod connections;
    mod names;
    mod streams;
    mod writers;
}
