//! Waits until records appended with acks=all are committed.

use std::sync::Arc;

use tokio::time::Instant;

use super::leader::Acknowledged;
use super::partition::Uncommitted;
use super::purgatory::{Mark, Waiter, Waiters, Wish};
use crate::wire::error_code::ErrorCode;

/// Waits until the high watermark has passed each append, or until the deadline. Returns the results in order.
///
/// Errors: REQUEST_TIMED_OUT; NOT_ENOUGH_REPLICAS_AFTER_APPEND; NOT_LEADER_OR_FOLLOWER if this node does not lead any more in
/// the epoch of the append, even if the high watermark has passed the append.
pub async fn until_committed(
    waiters: &Waiters,
    appends: &[Uncommitted],
    deadline: Instant,
) -> Vec<Result<(), ErrorCode>> {
    let mut results = vec![None; appends.len()];
    let wish = |append: &Uncommitted| {
        let partition = &append.partition;
        let wish = Wish {
            beyond: append.end - 1,
            turn: partition.turn(),
        };
        (Arc::clone(partition), wish)
    };
    let wishes: Vec<_> = appends.iter().map(wish).collect();
    let mut waiter = Waiter::new(waiters, Mark::HighWatermark, wishes);
    // The epoch may have ended before `turn` was read.
    let mut places: Vec<_> = (0..appends.len()).collect();
    let mut left = appends.len();
    loop {
        for place in places {
            let (Some(append), Some(result @ None)) = (appends.get(place), results.get_mut(place))
            else {
                continue;
            };
            *result = match append.partition.acknowledged(append.epoch, append.end) {
                Ok(Acknowledged::Waits) => continue,
                Ok(Acknowledged::Yes) => Some(Ok(())),
                Ok(Acknowledged::ByTooFew) => Some(Err(ErrorCode::NotEnoughReplicasAfterAppend)),
                Err(error) => Some(Err(error)),
            };
            waiter.is_done(place);
            left -= 1;
        }
        if left == 0
            || tokio::time::timeout_at(deadline, waiter.woken())
                .await
                .is_err()
        {
            break;
        }
        places = waiter.take();
    }
    let late = Err(ErrorCode::RequestTimedOut);
    results.into_iter().map(|one| one.unwrap_or(late)).collect()
}
