//! pure: what a coordinator implements to live in the runtime, and what it may put out.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::{ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::log::producer_state::{Admission, MarkerRules};
use crate::metadata::image::{Delta, Image};
use crate::wire::codec::{DecodeError, EncodeError};
use crate::wire::error_code::ErrorCode;

/// Now, twice: as records carry it, and as timers count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970; may jump when somebody sets the clock.
    pub wall: Timestamp,
    /// Milliseconds since some start; never goes back.
    pub steady: i64,
}

impl Moment {
    /// The steady time so many milliseconds later, or the end of time.
    pub fn after(self, ms: i64) -> i64 {
        self.steady.saturating_add(ms)
    }
}

/// Names the request that an answer is for. The shard keeps it while it makes the client wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

impl Ticket {
    /// For what nobody asked: something to do outside once the records are committed.
    pub const ERRAND: Self = Self(0);
}

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The coordinator itself: true at once.
    Plain,
    /// A producer's open transaction: true when its marker says so.
    Transaction(ProducerId),
}

/// The end of a producer's transaction in a partition of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    pub commit: bool,
}

/// What must be so in the log of the partition when a request is handled: while the request waited, a marker may have overtaken
/// it. The log is asked then, and the shard is told what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Records of this producer may join its transaction.
    Joins(ProducerId, ProducerEpoch, Admission),
    /// The marker ends the transaction that it is about, and no later one.
    Ends(Marker, MarkerRules),
}

/// A record as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    pub key: Bytes,
    /// Null takes back what the key said before.
    pub value: Option<Bytes>,
}

/// Bytes have no meaning for this coordinator, so the partition cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    #[error("a key of {0} bytes")]
    ShortKey(usize),
}

/// What may be done on a thread that serves others, in the measure of [`Shard::cost`]: about a millisecond.
pub const IN_PLACE_MAX: usize = 2_000;

/// The sum of what parts cost. The rest does not matter, and is not looked at, once it is more than [`IN_PLACE_MAX`].
pub fn total_cost(parts: impl IntoIterator<Item = usize>) -> usize {
    let mut total: usize = 0;
    for part in parts {
        total = total.saturating_add(part);
        if total > IN_PLACE_MAX {
            break;
        }
    }
    total
}

/// One partition's worth of a coordinator. All of it is pure: time and chance come in with the request.
pub trait Shard: Sized + Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;
    type Record;

    /// The sequence number in batches that no producer wrote. Nobody looks at it, and Kafka's coordinators differ.
    const BASE_SEQUENCE: i32 = -1;

    /// `None` for kinds of records that other versions of Kafka write and this one skips.
    fn decode(raw: RawRecord) -> Result<Option<Self::Record>, RecordError>;
    fn encode(record: &Self::Record) -> Result<RawRecord, EncodeError>;

    /// Makes a record true. Cannot fail, never asks the time; loading is this in a loop.
    fn apply(&mut self, origin: Origin, record: &Self::Record);

    /// Makes a marker true.
    fn apply_marker(&mut self, marker: Marker);

    /// The metadata as they are from now on, with levels of features and settings that may change, and what is new in them. Told
    /// before `loaded`, where everything is as good as new, and after each change.
    fn on_image(&mut self, image: &Arc<Image>, delta: &Delta);

    /// About how much work it is to be told of these changes, as of [`Self::cost`].
    fn image_cost(&self, _: &Delta) -> usize {
        1
    }

    /// After the last `apply` of loading: sets the timers that records do not tell.
    fn loaded(&mut self, now: Moment, out: &mut Output<Self::Answer>);

    /// What a request takes for granted of the log.
    fn condition(request: &Self::Request) -> Option<Condition>;

    /// Decides on a request. Whatever becomes durable goes through `out` and `apply`. `met` is what the log says to the request's
    /// condition; the shard may have to refuse the request for another reason first.
    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: Self::Request,
        met: Result<(), ErrorCode>,
        out: &mut Output<Self::Answer>,
    );

    /// About how much work a request is, told by its size and by what is here. One is an offset that is committed, or another
    /// small thing that takes half a microsecond, and so is a kilobyte that is copied.
    fn cost(&self, request: &Self::Request) -> usize;

    /// The same of what `wake` has to do at `now`.
    fn wake_cost(&self, now: Moment) -> usize;

    /// Does what is due at `now`.
    fn wake(&mut self, now: Moment, out: &mut Output<Self::Answer>);

    /// When `wake` has something to do, in steady milliseconds.
    fn next_wake(&self) -> Option<i64>;
}

/// What a shard puts out while it handles one event.
#[derive(Debug)]
pub struct Output<A> {
    /// Bytes that the records of one event may have together.
    records_bytes_max: usize,
    records_bytes: usize,
    pub records: Vec<RawRecord>,
    /// Set if the records belong to this producer's transaction.
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    /// A marker to append, after the records.
    pub marker: Option<Marker>,
    pub answers: Vec<(Ticket, A)>,
}

impl<A> Output<A> {
    pub fn new(records_bytes_max: usize) -> Self {
        Self {
            records_bytes_max,
            records_bytes: 0,
            records: Vec::new(),
            producer: None,
            marker: None,
            answers: Vec::new(),
        }
    }

    /// Takes a record to append. The caller applies it if, and only if, this succeeds.
    ///
    /// Errors: a record that has no form on disk, or more than fits into a batch.
    pub fn record(&mut self, encoded: Result<RawRecord, EncodeError>) -> Result<(), ErrorCode> {
        let raw = encoded.map_err(|_| ErrorCode::UnknownServerError)?;
        let size = raw.key.len() + raw.value.as_ref().map_or(0, Bytes::len) + RECORD_OVERHEAD_MAX;
        if self.records_bytes + size > self.records_bytes_max {
            return Err(ErrorCode::RecordListTooLarge);
        }
        self.records_bytes += size;
        self.records.push(raw);
        Ok(())
    }

    /// Takes records that belong together: all of them or none. The caller applies them if, and only if, this succeeds.
    ///
    /// Errors: as [`Self::record`].
    pub fn records(
        &mut self,
        encoded: impl IntoIterator<Item = Result<RawRecord, EncodeError>>,
    ) -> Result<(), ErrorCode> {
        let (count, bytes) = (self.records.len(), self.records_bytes);
        let taken = encoded.into_iter().try_for_each(|one| self.record(one));
        if taken.is_err() {
            self.records.truncate(count);
            self.records_bytes = bytes;
        }
        taken
    }

    pub fn answer(&mut self, ticket: Ticket, answer: A) {
        self.answers.push((ticket, answer));
    }
}

/// Bytes around a record's key and value in a batch, at most.
const RECORD_OVERHEAD_MAX: usize = 36;
