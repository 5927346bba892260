//! Manifests right and wrong, from bytes to messages.
