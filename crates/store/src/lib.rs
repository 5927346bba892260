//! Durable objects with resourceVersions, and their watchers. Objects are bytes here; what they mean is not known.
