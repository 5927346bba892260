//! In which order the layers of an image are fetched: the largest first, so that little is left for one processor alone when
//! the others have ended.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places of layers, each taken once.
pub(super) struct Queue {
    places: Vec<usize>,
    next: AtomicUsize,
}

impl Queue {
    /// For layers of these sizes.
    pub(super) fn largest_first(sizes: &[u64]) -> Self {
        let mut places: Vec<usize> = (0..sizes.len()).collect();
        places.sort_by_key(|place| Reverse(sizes[*place]));
        Self { places, next: AtomicUsize::new(0) }
    }

    /// The layer whose turn it is.
    pub(super) fn next(&self) -> Option<usize> {
        self.places.get(self.next.fetch_add(1, Ordering::Relaxed)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_layer_comes_first_and_each_once() {
        let queue = Queue::largest_first(&[2, 9, 4, 9]);
        let turns: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(turns, [1, 3, 2, 0]);
        assert_eq!(Queue::largest_first(&[]).next(), None);
    }
}
