//! Responses to Fetch requests before version 4: records are converted to older message formats, in memory, within limits.
//! KIP-31, KIP-98.
//!
//! Conversions run on the blocking pool and share a budget. Converted records count against the budget until they have been
//! sent, so that many slow clients take no more memory than the budget. A request waits while the budget is used up, and gets
//! an empty response when its maximum wait time is over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::fetch::{partition_data, read_warm, respond, room_to_wait};
use crate::api::context::{Reply, RequestContext};
use crate::base::ids::Offset;
use crate::replica::fetch::{Fetched, Limits, Wanted};
use crate::replica::fetch_session::Begun;
use crate::replica::purgatory::{Mark, Waiter};
use crate::wire::batch::header::BatchHeader;
use crate::wire::batch::legacy::{Downgrade, MAGIC_V0, MAGIC_V1, downgrade};
use crate::wire::batch::{BatchError, split_first};
use crate::wire::codec::Records;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::fetch::{FetchResponse, PartitionData};

/// First version whose clients read record batches (message format v2).
pub const BATCHES_SINCE: i16 = 4;
const TIMESTAMPS_SINCE: i16 = 2;
const SOFT_LIMIT_SINCE: i16 = 3;
/// Maximum size of the records of one response, in bytes, both before and after conversion. The next request gets the rest.
pub const CONVERTED_MAX: usize = 16 << 20;
/// Number of requests that may hold `CONVERTED_MAX` bytes at the same time.
const REQUESTS_MAX: u32 = 4;
/// Maximum decompressed size of one batch, in bytes. Clients of these versions could not receive a larger response either.
const UNPACKED_MAX: usize = 100 << 20;

/// Budget of all conversions, with one permit per KiB. See the module.
#[derive(Debug)]
pub struct ConversionBudget(Arc<Semaphore>);

const REQUEST_PERMITS: u32 = (CONVERTED_MAX >> 10) as u32;

impl Default for ConversionBudget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(
            (REQUESTS_MAX * REQUEST_PERMITS) as usize,
        )))
    }
}

/// Responds with the available records, or waits for enough of them.
pub(super) fn handle(
    context: RequestContext,
    begun: Begun,
    limits: Limits,
    min_bytes: usize,
    wait: Duration,
) -> Reply<FetchResponse> {
    let deadline = Instant::now() + wait;
    Reply::later(async move {
        // Offsets to read from. They advance past batches that clients of these versions are not shown.
        let mut wanted = begun.wanted.clone();
        let first = read_warm(&context.services, &wanted, limits).await;
        // A client that gets no memory for waiting gets the records that are available now.
        let held = room_to_wait(&context, wanted.len());
        let mut expired = wait.is_zero() || held.is_none();
        let waiters = context.services.replicas.waiters();
        let mut waiter = Waiter::new(waiters, Mark::HighWatermark, first.partitions);
        loop {
            waiter.take();
            let fetched = read_warm(&context.services, &wanted, limits).await;
            let due = fetched.bytes >= min_bytes || fetched.urgent || expired;
            if due && fetched.bytes > 0 {
                let budget = Arc::clone(&context.services.conversions.0);
                let permit =
                    tokio::time::timeout_at(deadline, budget.acquire_many_owned(REQUEST_PERMITS));
                let Ok(Ok(permit)) = permit.await else {
                    return respond(&context, &begun, limits, empty(&context, &wanted, fetched));
                };
                let (converted, moved) = convert(&context, &begun, wanted, fetched, permit).await;
                wanted = moved;
                if converted.iter().any(says_something) {
                    return respond(&context, &begun, limits, converted);
                }
                // Only transaction markers or batches that compaction has emptied were read. There may be records after them.
                continue;
            }
            if due || begun.wanted.is_empty() {
                return respond(&context, &begun, limits, empty(&context, &wanted, fetched));
            }
            let woken = tokio::time::timeout_at(deadline, waiter.woken());
            expired = woken.await.is_err();
        }
    })
}

fn says_something(data: &PartitionData) -> bool {
    data.error_code != 0
        || data
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty())
}

/// Results of the partitions without their records.
fn empty(context: &RequestContext, wanted: &[Wanted], fetched: Fetched) -> Vec<PartitionData> {
    let answer = |(wanted, outcome)| PartitionData {
        records: Some(Records::default()),
        ..partition_data(context, wanted, outcome)
    };
    wanted.iter().zip(fetched.outcomes).map(answer).collect()
}

/// Converts the records that were read, on the blocking pool. Also returns `wanted`, with offsets advanced past batches that
/// convert to nothing.
async fn convert(
    context: &RequestContext,
    begun: &Begun,
    mut wanted: Vec<Wanted>,
    fetched: Fetched,
    permit: OwnedSemaphorePermit,
) -> (Vec<PartitionData>, Vec<Wanted>) {
    let mut answers: Vec<PartitionData> = wanted
        .iter()
        .zip(fetched.outcomes)
        .map(|(wanted, outcome)| partition_data(context, wanted, outcome))
        .collect();
    let version = context.api_version;
    let from: Vec<Offset> = begun
        .wanted
        .iter()
        .map(|wanted| wanted.fetch_offset)
        .collect();
    let (kept, fallback) = (wanted.clone(), answers.len());
    let threads = &context.services.host.threads;
    let work = threads.start_blocking(move || {
        let mut permit = permit;
        let mut left = CONVERTED_MAX;
        for ((data, wanted), from) in answers.iter_mut().zip(&mut wanted).zip(from) {
            let limit = wanted.max_bytes.min(left);
            let (set, next) = convert_one(data, version, from, limit);
            left = left.saturating_sub(set.len());
            wanted.fetch_offset = next.unwrap_or(wanted.fetch_offset);
            data.records = Some(Records::Bytes(counted(set, &mut permit)));
        }
        (answers, wanted)
    });
    work.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a conversion ended early");
        let failed = |_| PartitionData {
            error_code: ErrorCode::UnknownServerError.code(),
            ..Default::default()
        };
        ((0..fallback).map(failed).collect(), kept)
    })
}

/// `set` as bytes that hold their share of the budget until they are dropped.
fn counted(set: Vec<u8>, permit: &mut OwnedSemaphorePermit) -> Bytes {
    struct Counted {
        set: Vec<u8>,
        _permit: Option<OwnedSemaphorePermit>,
    }
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.set
        }
    }
    if set.is_empty() {
        return Bytes::new();
    }
    // The first batch may be larger than the request's whole share of the budget.
    let share = set.len().div_ceil(1 << 10).min(permit.num_permits());
    Bytes::from_owner(Counted {
        set,
        _permit: permit.split(share),
    })
}

/// The messages of one partition in a format that clients of `version` read. If what was read converts to nothing, also the
/// offset after it.
fn convert_one(
    data: &mut PartitionData,
    version: i16,
    from: Offset,
    limit: usize,
) -> (Vec<u8>, Option<Offset>) {
    let nothing = (Vec::new(), None);
    let Some(Records::File(range)) = &data.records else {
        return nothing;
    };
    if limit == 0 {
        return nothing;
    }
    let how = Downgrade {
        magic: if version < TIMESTAMPS_SINCE {
            MAGIC_V0
        } else {
            MAGIC_V1
        },
        from,
        enough: limit,
        decompressed_max: UNPACKED_MAX,
    };
    let log = match range.read() {
        Ok(log) => log,
        Err(error) => {
            tracing::error!(partition = data.partition_index, %error, "records to convert cannot be read");
            refuse(data, ErrorCode::KafkaStorageError);
            return nothing;
        }
    };
    match downgrade(&log, how) {
        Ok(set) if set.is_empty() => (set, offset_after(&log)),
        Ok(mut set) => {
            if version < SOFT_LIMIT_SINCE {
                // A message beyond the limit is cut off, which shows the client that there is more. The first message is sent
                // whole: a client with a small limit would never get past it.
                set.truncate(limit.max(first_size(&set)));
            }
            (set, None)
        }
        Err(error) => {
            let code = match error {
                BatchError::CompressionKind(_) => ErrorCode::UnsupportedCompressionType,
                BatchError::DecompressedTooLarge(_) => ErrorCode::MessageTooLarge,
                _ => ErrorCode::CorruptMessage,
            };
            if code != ErrorCode::UnsupportedCompressionType {
                tracing::error!(partition = data.partition_index, %error, "records cannot be converted");
            }
            refuse(data, code);
            nothing
        }
    }
}

/// Offset after the last complete batch.
fn offset_after(log: &Bytes) -> Option<Offset> {
    let mut rest = log.clone();
    let mut next = None;
    while let Some(batch) = split_first(&mut rest) {
        next = Some(BatchHeader::parse(&batch).ok()?.next_offset());
    }
    next
}

/// Size of the first message in a set, in bytes.
fn first_size(set: &[u8]) -> usize {
    let size = set.get(8..12).and_then(|size| size.first_chunk());
    size.map_or(0, |size| i32::from_be_bytes(*size).max(0) as usize + 12)
}

fn refuse(data: &mut PartitionData, error: ErrorCode) {
    *data = PartitionData {
        partition_index: data.partition_index,
        error_code: error.code(),
        high_watermark: -1,
        ..Default::default()
    };
}
