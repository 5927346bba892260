//! A volume becomes a host path: one file per kind.
