//! The imperative shell: one task per Pod; observe, decide, save, perform.
