//! pure: how much memory the requests that are only half there take together, and no more of it than a limit.
//!
//! Kafka's `queued.max.request.bytes`, with a difference: Kafka counts what a client promised, so that some promises stop
//! everybody; here only bytes that came are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Half-read requests up to this size are not counted, and never wait.
const SMALL: usize = 64 << 10;
/// The limit where nobody set one.
const DEFAULT_LIMIT: usize = 1 << 30;

/// What all connections share.
#[derive(Debug)]
pub struct RequestMemory {
    used: AtomicUsize,
    limit: usize,
}

impl RequestMemory {
    /// `limit` bytes; none or less than one for the default.
    pub fn new(limit: i64) -> Self {
        Self {
            used: AtomicUsize::new(0),
            limit: usize::try_from(limit)
                .ok()
                .filter(|limit| *limit > 0)
                .unwrap_or(DEFAULT_LIMIT),
        }
    }

    /// Whether whoever holds a large share must not read on.
    pub fn is_exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }
}

/// One connection's part of it; given back when dropped.
#[derive(Debug)]
pub struct Share {
    memory: Arc<RequestMemory>,
    held: usize,
}

impl Share {
    pub fn of(memory: &Arc<RequestMemory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            held: 0,
        }
    }

    /// From now on `bytes` are held.
    pub fn hold(&mut self, bytes: usize) {
        let bytes = if bytes > SMALL { bytes } else { 0 };
        if bytes > self.held {
            let more = bytes - self.held;
            self.memory.used.fetch_add(more, Ordering::Relaxed);
        } else if bytes < self.held {
            let less = self.held - bytes;
            self.memory.used.fetch_sub(less, Ordering::Relaxed);
        }
        self.held = bytes;
    }

    pub fn is_large(&self) -> bool {
        self.held > 0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_come_back() {
        let memory = Arc::new(RequestMemory::new(1_000_000));
        let (mut one, mut two) = (Share::of(&memory), Share::of(&memory));
        one.hold(SMALL);
        assert!(!one.is_large() && memory.used.load(Ordering::Relaxed) == 0);
        one.hold(900_000);
        two.hold(200_000);
        assert!(one.is_large() && memory.is_exhausted());
        two.hold(100_000);
        assert!(!memory.is_exhausted());
        drop(one);
        drop(two);
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
