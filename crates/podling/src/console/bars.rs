//! Progress bars for long work, on standard error and only when that is a terminal.
//!
//! Work that is over quickly shows no bar: one appears when a step has more than a screen's blink to go.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The bars that are on the screen.
#[derive(Clone)]
pub(crate) struct Bars {
    multi: MultiProgress,
    shown: std::sync::Arc<Mutex<HashMap<String, ProgressBar>>>,
    next_step: std::sync::Arc<AtomicU64>,
}

impl Bars {
    /// indicatif draws nothing when standard error is no terminal.
    pub(crate) fn new() -> Bars {
        Bars {
            multi: MultiProgress::new(),
            shown: Default::default(),
            next_step: std::sync::Arc::new(AtomicU64::new(1)),
        }
    }

    /// Shows how far the work of that name is; the bar goes when it is complete.
    pub(crate) fn update(&self, name: &str, done_bytes: u64, total_bytes: Option<u64>) {
        let mut shown = self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if total_bytes.is_some_and(|total| done_bytes >= total) {
            if let Some(bar) = shown.remove(name) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = shown.entry(name.to_owned()).or_insert_with(|| self.add(name, total_bytes));
        bar.set_position(done_bytes);
    }

    /// Runs `print` with the bars out of the way.
    pub(crate) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        let is_empty = self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_empty();
        if is_empty { print() } else { self.multi.suspend(print) }
    }

    /// Takes every bar away.
    pub(crate) fn clear(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (_, bar) in shown.drain() {
            bar.finish_and_clear();
        }
    }

    fn add(&self, name: &str, total_bytes: Option<u64>) -> ProgressBar {
        let (bar, template) = match total_bytes {
            Some(total) => {
                let template = "{msg:28!} {bar:30} {bytes:>10} of {total_bytes:10} {bytes_per_sec}";
                (ProgressBar::new(total), template)
            }
            None => (ProgressBar::new_spinner(), "{msg:28!} {spinner} {bytes:>10} {bytes_per_sec}"),
        };
        // A template that cannot be parsed would be a mistake of ours; the default one still serves.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.multi.add(bar.with_style(style.progress_chars("##-")));
        bar.set_message(name.to_owned());
        bar
    }
}

/// The image store's steps as bars.
impl ::image::Progress for Bars {
    fn begin(&self, what: &str, total_bytes: Option<u64>) -> u64 {
        let step = self.next_step.fetch_add(1, Ordering::Relaxed);
        let bar = self.add(what, total_bytes);
        self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(step.to_string(), bar);
        step
    }

    fn advance(&self, step: u64, bytes: u64) {
        let shown = self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bar) = shown.get(&step.to_string()) {
            bar.inc(bytes);
        }
    }

    fn done(&self, step: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bar) = shown.remove(&step.to_string()) {
            bar.finish_and_clear();
        }
    }
}
