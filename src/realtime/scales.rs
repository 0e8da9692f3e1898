//! What the events weigh that wait for slow readers: each counts once, however many outboxes hold it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of events that somebody still has to be sent. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Scales(Arc<AtomicUsize>);

impl Scales {
    /// Bytes on them now.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Puts something on, until the weight is dropped.
    pub(super) fn weigh(&self, bytes: usize) -> Weight {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Weight {
            scales: self.clone(),
            bytes: AtomicUsize::new(bytes),
        }
    }
}

/// Something on the scales.
#[derive(Debug)]
pub(super) struct Weight {
    scales: Scales,
    bytes: AtomicUsize,
}

impl Weight {
    /// It has become heavier.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.scales.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.scales
            .0
            .fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}
