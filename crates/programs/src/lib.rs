//! The static programs embedded in podling: shim, pause, toolbox.
