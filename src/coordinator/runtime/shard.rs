//! pure: the trait that a coordinator implements to run in the runtime, and the output of its functions.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::{ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::log::producer_state::{Admission, MarkerRules};
use crate::metadata::image::{Delta, Image};
use crate::wire::codec::{DecodeError, EncodeError, Reader, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Message;

/// Current time on two clocks: for timestamps of records and for timers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970; may jump when the clock is set.
    pub wall: Timestamp,
    /// Milliseconds since an arbitrary start; never goes back.
    pub steady: i64,
}

impl Moment {
    /// Steady time `ms` milliseconds later, at most the end of time.
    pub fn after(self, ms: i64) -> i64 {
        self.steady.saturating_add(ms)
    }
}

/// Identifies the request that an answer belongs to. A shard keeps the ticket while the client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Ticket of output that no request asked for: an errand to run outside of the shard once the records are committed.
    pub const ERRAND: Self = Self(0);
}

/// Writer of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The coordinator itself; the record takes effect at once.
    Plain,
    /// A producer's open transaction; the record takes effect if its marker commits it.
    Transaction(ProducerId),
}

/// Marker that ends a producer's transaction in a partition of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    pub commit: bool,
}

/// Condition on the partition's log that must hold when a request is handled, because a marker may have been written while the
/// request waited. The runtime checks it in the log and passes the result to the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Records of this producer may join its transaction.
    Joins(ProducerId, ProducerEpoch, Admission),
    /// The marker ends the transaction that it belongs to, not a later one.
    Ends(Marker, MarkerRules),
}

/// A record as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    pub key: Bytes,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// Error for bytes that this coordinator cannot decode, so that the partition cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("{0}")]
    Malformed(#[from] DecodeError),
    #[error("a key of {0} bytes")]
    ShortKey(usize),
}

/// Bytes of a key or a value: the number of its type or version, and the message in this version.
pub fn versioned(message: &impl Message, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::default();
    writer.i16(version);
    message.write(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// Reads a value that [`versioned`] has made.
pub fn read_value<M: Message>(bytes: Bytes) -> Result<M, RecordError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?;
    Ok(M::read(&mut reader, version)?)
}

/// Limit of the work done on a thread that serves other tasks too, in units of [`Shard::cost`]: about a millisecond.
pub const IN_PLACE_MAX: usize = 2_000;

/// Sum of the costs of parts. Summing stops once the total exceeds [`IN_PLACE_MAX`], because larger totals are all treated the
/// same.
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

/// The part of a coordinator for one partition. It is pure: time and random values come with the request.
pub trait Shard: Sized + Send + 'static {
    type Request: Send + 'static;
    type Answer: Send + 'static;
    type Record;

    /// Sequence number of batches without a producer. It has no meaning, but differs between Kafka's coordinators.
    const BASE_SEQUENCE: i32 = -1;

    /// Decodes a record; `None` for kinds of records that other versions of Kafka write and this one skips.
    fn decode(raw: RawRecord) -> Result<Option<Self::Record>, RecordError>;
    fn encode(record: &Self::Record) -> Result<RawRecord, EncodeError>;

    /// Applies a record. It cannot fail and does not read the clock; loading calls it for each record.
    fn apply(&mut self, origin: Origin, record: &Self::Record);

    /// Applies a transaction marker.
    fn apply_marker(&mut self, marker: Marker);

    /// Takes new metadata, with levels of features, changeable settings, and the changes. Called before `loaded`, with an empty
    /// delta although all metadata are new to the shard, and after each change.
    fn on_image(&mut self, image: &Arc<Image>, delta: &Delta);

    /// Approximate cost of `on_image` for these changes, in units of [`Self::cost`].
    fn image_cost(&self, _: &Delta) -> usize {
        1
    }

    /// Called after the last `apply` of loading: sets the timers that do not follow from records.
    fn loaded(&mut self, now: Moment, out: &mut Output<Self::Answer>);

    /// Condition on the log that a request depends on.
    fn condition(request: &Self::Request) -> Option<Condition>;

    /// Decides a request. Everything that becomes durable goes through `out` and `apply`. `met` is the result of checking the
    /// request's condition; the shard may have to refuse the request for another reason first.
    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: Self::Request,
        met: Result<(), ErrorCode>,
        out: &mut Output<Self::Answer>,
    );

    /// Approximate cost of a request, estimated from its size and the shard's state. One unit is a small operation of half a
    /// microsecond, such as the commit of an offset, or a kilobyte copied.
    fn cost(&self, request: &Self::Request) -> usize;

    /// Approximate cost of `wake` at `now`, in units of [`Self::cost`].
    fn wake_cost(&self, now: Moment) -> usize;

    /// Does the work that is due at `now`.
    fn wake(&mut self, now: Moment, out: &mut Output<Self::Answer>);

    /// Time at which `wake` has something to do, in steady milliseconds.
    fn next_wake(&self) -> Option<i64>;
}

/// Output of a shard while it handles one event.
#[derive(Debug)]
pub struct Output<A> {
    /// Limit of the total size of the records of one event, in bytes.
    records_bytes_max: usize,
    records_bytes: usize,
    pub records: Vec<RawRecord>,
    /// Producer, if the records belong to a producer's transaction.
    pub producer: Option<(ProducerId, ProducerEpoch)>,
    /// Marker to append after the records.
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

    /// Bytes that further records of this event may have.
    pub fn room(&self) -> usize {
        self.records_bytes_max.saturating_sub(self.records_bytes)
    }

    /// Adds a record to append. The caller must apply it if, and only if, this succeeds.
    ///
    /// Errors: the record cannot be encoded, or the records exceed the size of a batch.
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

    /// Adds records that belong together: either all or none. The caller must apply them if, and only if, this succeeds.
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

/// Upper bound of the overhead of a record in a batch, in bytes.
const RECORD_OVERHEAD_MAX: usize = 36;
