//! How long work tells how far it is, without knowing who watches.

/// Receives the progress of loads and pulls. Called from several threads at once; must not block.
pub trait Progress: Send + Sync {
    /// A step begins: a layer, an archive. The returned number names it in the later calls.
    fn begin(&self, what: &str, total_bytes: Option<u64>) -> u64;
    /// `bytes` more of the step's input are done.
    fn advance(&self, step: u64, bytes: u64);
    /// The step is over, by success or failure.
    fn done(&self, step: u64);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total_bytes: Option<u64>) -> u64 {
        0
    }

    fn advance(&self, _step: u64, _bytes: u64) {}

    fn done(&self, _step: u64) {}
}

/// One step that ends when it is dropped, so that no error path leaves a bar standing.
pub(crate) struct Step<'a> {
    progress: &'a dyn Progress,
    id: u64,
}

impl<'a> Step<'a> {
    pub(crate) fn begin(progress: &'a dyn Progress, what: &str, total_bytes: Option<u64>) -> Self {
        Self { progress, id: progress.begin(what, total_bytes) }
    }

    pub(crate) fn advance(&self, bytes: u64) {
        self.progress.advance(self.id, bytes);
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.progress.done(self.id);
    }
}
