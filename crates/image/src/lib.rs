//! From an image reference to a root filesystem: store, load, save, pull.
