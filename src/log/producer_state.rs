//! pure: state of idempotent and transactional producers of a partition. Kafka's `ProducerStateManager`.
//!
//! It distinguishes duplicate batches from new ones, refuses gaps in sequences and fenced epochs, and tracks open transactions:
//! the first of them limits what `read_committed` consumers see.

use std::collections::{BTreeMap, VecDeque};

use super::error::AppendError;
use super::index::transaction::AbortedTransaction;
use crate::base::ids::{Offset, ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::wire::batch::header::{BatchHeader, advance_sequence};
use crate::wire::error_code::ErrorCode;

/// Number of batches that are kept per producer: an idempotent client has at most this many batches in flight, and any of them is
/// recognized as a duplicate.
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Mask of sequence numbers, which wrap from the largest number to 0.
const SEQUENCE_MASK: i64 = i32::MAX as i64;
/// A sequence that is further ahead of another one than this counts as being behind it.
const SEQUENCES_AHEAD: i64 = SEQUENCE_MASK / 2;

const SNAPSHOT_VERSION: i16 = 1;
pub const SNAPSHOT_HEADER_SIZE: usize = 10;
const SNAPSHOT_ENTRY_SIZE: usize = 46;

/// One of the last batches of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSeen {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp: Timestamp,
}

impl BatchSeen {
    pub fn first_sequence(&self) -> i32 {
        // Sequences wrap from the largest number to 0, also backwards.
        ((i64::from(self.last_sequence) - i64::from(self.offset_delta)) & SEQUENCE_MASK) as i32
    }

    pub fn first_offset(&self) -> Offset {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// State of one producer id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    pub epoch: ProducerEpoch,
    /// The last batches, newest last.
    pub batches: VecDeque<BatchSeen>,
    /// Coordinator epoch of the last marker, -1 before any.
    pub coordinator_epoch: i32,
    pub last_timestamp: Timestamp,
    /// First offset of the open transaction.
    pub transaction_start: Option<Offset>,
    /// Offset of the last transaction marker, if it was appended since the log was opened.
    pub last_marker: Option<Offset>,
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            batches: VecDeque::new(),
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_start: None,
            last_marker: None,
        }
    }

    pub fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }
}

/// End of a transaction, as its marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    pub committed: bool,
    pub coordinator_epoch: i32,
}

/// Rules for the producer epoch of a marker (KIP-1228).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkerRules {
    /// The epoch is that of the transaction, or a higher one that fences the producer.
    Old,
    /// With `transaction.version` 2, the epoch is always higher than that of the transaction, so a late or repeated marker cannot
    /// end the next transaction.
    Bumping,
}

impl MarkerRules {
    /// The rules of a `transaction.version`.
    pub fn of(version: i16) -> Self {
        if version >= 2 {
            Self::Bumping
        } else {
            Self::Old
        }
    }
}

/// State at the time when the transaction coordinator was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The producer's last marker in the partition. If there is a newer one, the coordinator's answer is about a transaction that
    /// has ended meanwhile.
    pub last_marker: Option<Offset>,
    /// The client uses `transaction.version` 2 (KIP-890): a producer that is unknown here starts with sequence 0.
    pub begins_at_zero: bool,
    /// False without `transaction.partition.verification.enable`: then the batch is not verified, and may open a transaction that
    /// is never ended.
    pub verified: bool,
}

/// Result of checking a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    New,
    /// The batch is a duplicate; it gets the answer of the first time.
    Duplicate(BatchSeen),
}

/// State of all producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<ProducerId, Producer>,
    /// Open transactions by their first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// Ended transactions whose marker may still be above the high watermark: first offset and marker offset, ordered by the
    /// latter.
    ended: VecDeque<(Offset, Offset)>,
}

impl ProducerStates {
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.iter().map(|(id, producer)| (*id, producer))
    }

    pub fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(&id)
    }

    /// The first offset that `read_committed` consumers must not pass, with the given high watermark.
    pub fn first_unstable(&self, high_watermark: Offset) -> Option<Offset> {
        let open = self.open.keys().next().copied();
        let ended = self.ended.iter();
        let ended = ended.skip_while(|(_, last)| *last < high_watermark);
        let ended = ended.map(|(first, _)| *first).min();
        open.into_iter().chain(ended).min()
    }

    /// Whether `id` has an open transaction with this epoch. A transaction of an older epoch is already decided and only waits
    /// for its marker; a batch of the next transaction must not become part of it.
    pub fn has_open_transaction(&self, id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.producers
            .get(&id)
            .is_some_and(|producer| producer.transaction_start.is_some() && producer.epoch == epoch)
    }

    /// Checks a batch of a client with a producer id.
    ///
    /// Errors: `INVALID_PRODUCER_EPOCH`, `OUT_OF_ORDER_SEQUENCE_NUMBER`, `INVALID_TXN_STATE`.
    pub fn check(&self, batch: &BatchHeader) -> Result<Checked, AppendError> {
        let Some(producer) = self.producers.get(&batch.producer_id) else {
            return Ok(Checked::New);
        };
        if batch.producer_epoch == producer.epoch
            && let Some(seen) = producer.batches.iter().find(|seen| {
                seen.last_sequence == batch.last_sequence()
                    && seen.first_sequence() == batch.base_sequence
            })
        {
            return Ok(Checked::Duplicate(*seen));
        }
        if batch.producer_epoch < producer.epoch {
            return Err(AppendError::refused(
                ErrorCode::InvalidProducerEpoch,
                format!(
                    "producer {} has epoch {}, but the last one seen is {}",
                    batch.producer_id, batch.producer_epoch, producer.epoch
                ),
            ));
        }
        let in_sequence = if batch.producer_epoch > producer.epoch {
            batch.base_sequence == 0 || producer.epoch < 0
        } else if producer.batches.is_empty() {
            batch.base_sequence == 0
        } else {
            batch.base_sequence == advance_sequence(producer.last_sequence(), 1)
        };
        if !in_sequence {
            return Err(AppendError::refused(
                ErrorCode::OutOfOrderSequenceNumber,
                format!(
                    "producer {} sent sequence {} after {}",
                    batch.producer_id,
                    batch.base_sequence,
                    producer.last_sequence()
                ),
            ));
        }
        if producer.transaction_start.is_some() && !batch.is_transactional() {
            return Err(AppendError::refused(
                ErrorCode::InvalidTxnState,
                format!(
                    "producer {} sent a plain batch in an open transaction",
                    batch.producer_id
                ),
            ));
        }
        Ok(Checked::New)
    }

    /// Offset of the last marker of a producer; see [`Admission`].
    pub fn last_marker(&self, id: ProducerId) -> Option<Offset> {
        self.producers
            .get(&id)
            .and_then(|producer| producer.last_marker)
    }

    /// Checks that a transaction which this batch opens will be ended by its coordinator: a delayed batch could leave it open
    /// forever.
    ///
    /// Errors: `INVALID_TXN_STATE`, `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    pub fn check_opening(
        &self,
        batch: &BatchHeader,
        admission: Option<Admission>,
    ) -> Result<(), AppendError> {
        if !batch.is_transactional()
            || self.has_open_transaction(batch.producer_id, batch.producer_epoch)
        {
            return Ok(());
        }
        let admission = admission.filter(|admission| self.is_fresh(batch.producer_id, *admission));
        let Some(admission) = admission else {
            return Err(AppendError::refused(
                ErrorCode::InvalidTxnState,
                format!(
                    "the transaction of producer {} has ended before this batch came",
                    batch.producer_id
                ),
            ));
        };
        if admission.begins_at_zero
            && batch.base_sequence != 0
            && !self.producers.contains_key(&batch.producer_id)
        {
            return Err(AppendError::refused(
                ErrorCode::OutOfOrderSequenceNumber,
                format!(
                    "producer {} begins with sequence {}",
                    batch.producer_id, batch.base_sequence
                ),
            ));
        }
        Ok(())
    }

    fn is_fresh(&self, id: ProducerId, admission: Admission) -> bool {
        !admission.verified || admission.last_marker == self.last_marker(id)
    }

    /// Checks that records of a coordinator, such as offsets, still belong to the producer's transaction.
    ///
    /// Errors: `INVALID_PRODUCER_EPOCH`, `INVALID_TXN_STATE`.
    pub fn check_joining(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        admission: Admission,
    ) -> Result<(), ErrorCode> {
        if self.get(id).is_some_and(|known| epoch < known.epoch) {
            Err(ErrorCode::InvalidProducerEpoch)
        } else if self.has_open_transaction(id, epoch) || self.is_fresh(id, admission) {
            Ok(())
        } else {
            Err(ErrorCode::InvalidTxnState)
        }
    }

    /// Checks a marker before it is appended.
    ///
    /// Errors: `INVALID_PRODUCER_EPOCH`, `TRANSACTION_COORDINATOR_FENCED`.
    pub fn check_marker(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        marker: Marker,
        rules: MarkerRules,
    ) -> Result<(), AppendError> {
        let Some(producer) = self.producers.get(&id) else {
            return Ok(());
        };
        let is_late = match rules {
            MarkerRules::Old => epoch < producer.epoch,
            // A transaction that is open in this epoch began after the transaction of the marker.
            MarkerRules::Bumping => {
                epoch < producer.epoch
                    || (epoch == producer.epoch && producer.transaction_start.is_some())
            }
        };
        if is_late {
            return Err(AppendError::refused(
                ErrorCode::InvalidProducerEpoch,
                format!(
                    "marker of producer {id} has epoch {epoch}, but the last one seen is {}",
                    producer.epoch
                ),
            ));
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(AppendError::refused(
                ErrorCode::TransactionCoordinatorFenced,
                format!(
                    "coordinator epoch {} is older than {}",
                    marker.coordinator_epoch, producer.coordinator_epoch
                ),
            ));
        }
        Ok(())
    }

    /// Applies a batch of the log, now or while loading; `marker` is set for a transaction marker. Returns the transaction that
    /// the batch aborts.
    pub fn take_in(
        &mut self,
        batch: &BatchHeader,
        marker: Option<Marker>,
    ) -> Option<AbortedTransaction> {
        if !batch.has_producer_id() {
            return None;
        }
        if let Some(marker) = marker {
            return self.apply_marker(batch, marker);
        }
        if !batch.is_control() && batch.base_sequence >= 0 {
            self.apply(batch);
        }
        if batch.is_control() && batch.record_count == 0 {
            self.take_epoch(batch);
        }
        None
    }

    /// Applies the epoch of a marker that compaction has emptied. Kafka differs: it ignores such a marker, and forgets which
    /// producer the marker has fenced.
    fn take_epoch(&mut self, batch: &BatchHeader) {
        let producer = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch < batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.last_timestamp = producer.last_timestamp.max(batch.max_timestamp);
    }

    /// Applies an appended batch with final offsets.
    pub fn apply(&mut self, batch: &BatchHeader) {
        let producer = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        // The producer was forgotten meanwhile and started again; its older batches must not be taken for the new ones. Batches
        // that compaction removed leave a gap, after which sequences continue upwards.
        let ahead = i64::from(batch.base_sequence) - i64::from(producer.last_sequence());
        if !producer.batches.is_empty() && !(1..=SEQUENCES_AHEAD).contains(&(ahead & SEQUENCE_MASK))
        {
            producer.batches.clear();
        }
        if producer.batches.len() == PRODUCER_BATCHES_KEPT {
            producer.batches.pop_front();
        }
        producer.batches.push_back(BatchSeen {
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
        producer.last_timestamp = batch.max_timestamp;
        if batch.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(batch.base_offset);
            self.open.insert(batch.base_offset, batch.producer_id);
        }
    }

    /// Removes open transactions, for a log of which it is unknown whether they ended, and of which nothing is to be read.
    pub fn forget_open_transactions(&mut self) {
        self.open.clear();
        for producer in self.producers.values_mut() {
            producer.transaction_start = None;
        }
    }

    /// Ends a transaction with the marker at `batch.base_offset`. Returns the transaction if it was aborted.
    pub fn apply_marker(
        &mut self,
        batch: &BatchHeader,
        marker: Marker,
    ) -> Option<AbortedTransaction> {
        let producer = self
            .producers
            .entry(batch.producer_id)
            .or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = batch.max_timestamp;
        producer.last_marker = Some(batch.base_offset);
        let first_offset = producer.transaction_start.take()?;
        self.open.remove(&first_offset);
        let last_offset = batch.base_offset;
        self.ended.push_back((first_offset, last_offset));
        let next_open = self.open.keys().next().copied();
        (!marker.committed).then(|| AbortedTransaction {
            producer_id: batch.producer_id,
            first_offset,
            last_offset,
            last_stable_offset: next_open.unwrap_or(last_offset + 1),
        })
    }

    /// Removes ended transactions below the high watermark, which do not limit consumers any more.
    pub fn on_high_watermark(&mut self, high_watermark: Offset) {
        while (self.ended.front()).is_some_and(|(_, last)| *last < high_watermark) {
            self.ended.pop_front();
        }
    }

    /// Removes producers without an open transaction that were idle for `expiration_ms`.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.producers.retain(|_, producer| {
            producer.transaction_start.is_some()
                || now.saturating_sub(producer.last_timestamp) < expiration_ms
        });
    }

    /// Content of a `.snapshot` file.
    pub fn to_snapshot(&self) -> Vec<u8> {
        let mut body = (self.producers.len() as i32).to_be_bytes().to_vec();
        for (id, producer) in &self.producers {
            let last = producer.batches.back();
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(&producer.epoch.to_be_bytes());
            body.extend_from_slice(&producer.last_sequence().to_be_bytes());
            body.extend_from_slice(&last.map_or(-1, |batch| batch.last_offset).to_be_bytes());
            body.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
            body.extend_from_slice(&producer.last_timestamp.to_be_bytes());
            body.extend_from_slice(&producer.coordinator_epoch.to_be_bytes());
            body.extend_from_slice(&producer.transaction_start.unwrap_or(-1).to_be_bytes());
        }
        let mut out = SNAPSHOT_VERSION.to_be_bytes().to_vec();
        out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Parses the content of a `.snapshot` file; the error says what is wrong with it.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, &'static str> {
        let (head, entries) = bytes
            .split_first_chunk::<SNAPSHOT_HEADER_SIZE>()
            .ok_or("it is too short")?;
        if i16::from_be_bytes([head[0], head[1]]) != SNAPSHOT_VERSION {
            return Err("its version is unknown");
        }
        let stored = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
        if crc32c::crc32c(&bytes[6..]) != stored {
            return Err("its checksum does not match");
        }
        let count = u32::from_be_bytes([head[6], head[7], head[8], head[9]]) as usize;
        if entries.len() != count.saturating_mul(SNAPSHOT_ENTRY_SIZE) {
            return Err("its length does not match its number of entries");
        }
        let mut this = Self::default();
        for entry in entries.chunks_exact(SNAPSHOT_ENTRY_SIZE) {
            let number = |at: usize, size: usize| {
                let sign = if entry[at] & 0x80 == 0 { 0 } else { -1 };
                entry[at..at + size]
                    .iter()
                    .fold(sign, |value: i64, byte| (value << 8) | i64::from(*byte))
            };
            let id = number(0, 8);
            let mut producer = Producer::new(number(8, 2) as ProducerEpoch);
            producer.last_timestamp = number(26, 8);
            producer.coordinator_epoch = number(34, 4) as i32;
            if number(14, 8) >= 0 {
                producer.batches.push_back(BatchSeen {
                    last_sequence: number(10, 4) as i32,
                    last_offset: number(14, 8),
                    offset_delta: number(22, 4) as i32,
                    timestamp: number(26, 8),
                });
            }
            if number(38, 8) >= 0 {
                producer.transaction_start = Some(number(38, 8));
                this.open.insert(number(38, 8), id);
            }
            this.producers.insert(id, producer);
        }
        Ok(this)
    }
}

/// Expected size of a `.snapshot` file with this header.
pub fn snapshot_len(head: &[u8]) -> Option<u64> {
    let count = u32::from_be_bytes(*head.get(6..)?.first_chunk()?);
    Some(SNAPSHOT_HEADER_SIZE as u64 + u64::from(count) * SNAPSHOT_ENTRY_SIZE as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::batch::builder::BatchBuilder;

    fn batch(
        id: i64,
        epoch: i16,
        sequence: i32,
        count: i32,
        at: Offset,
        transactional: bool,
    ) -> BatchHeader {
        let mut builder = BatchBuilder::default()
            .producer(id, epoch, sequence)
            .at(at, 0);
        if transactional {
            builder = builder.transactional();
        }
        for _ in 0..count {
            builder.push(50, None, Some(b"v"));
        }
        BatchHeader::parse(&builder.build()).unwrap()
    }

    fn code(result: Result<Checked, AppendError>) -> ErrorCode {
        result.map_or_else(|error| error.code(), |_| ErrorCode::None)
    }

    #[test]
    fn a_transaction_is_open_for_the_epoch_that_began_it_only() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 4, 0, 2, 0, true));
        assert!(states.has_open_transaction(1, 4));
        assert!(!states.has_open_transaction(1, 5));
        assert!(!states.has_open_transaction(2, 4));
    }

    #[test]
    fn the_last_five_batches_are_recognised() {
        let mut states = ProducerStates::default();
        for n in 0..7 {
            states.apply(&batch(1, 0, n * 2, 2, i64::from(n) * 2, false));
        }
        let seen = states.check(&batch(1, 0, 4, 2, 0, false)).unwrap();
        assert!(matches!(seen, Checked::Duplicate(seen) if seen.first_offset() == 4));
        assert_eq!(
            code(states.check(&batch(1, 0, 2, 2, 0, false))),
            ErrorCode::OutOfOrderSequenceNumber
        );
        assert_eq!(
            states.check(&batch(1, 0, 14, 1, 0, false)).unwrap(),
            Checked::New
        );
        assert_eq!(
            code(states.check(&batch(1, 0, 15, 1, 0, false))),
            ErrorCode::OutOfOrderSequenceNumber
        );
    }

    #[test]
    fn epochs_fence_and_begin_at_zero() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 3, 10, 1, 0, false));
        assert_eq!(
            code(states.check(&batch(1, 2, 11, 1, 0, false))),
            ErrorCode::InvalidProducerEpoch
        );
        assert_eq!(
            code(states.check(&batch(1, 4, 11, 1, 0, false))),
            ErrorCode::OutOfOrderSequenceNumber
        );
        assert_eq!(
            states.check(&batch(1, 4, 0, 1, 0, false)).unwrap(),
            Checked::New
        );
        assert_eq!(
            states.check(&batch(2, 9, 77, 1, 0, false)).unwrap(),
            Checked::New
        );
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, i32::MAX - 1, 2, 0, false));
        assert_eq!(
            states.check(&batch(1, 0, 0, 1, 0, false)).unwrap(),
            Checked::New
        );
    }

    #[test]
    fn a_producer_that_began_anew_has_no_duplicates_of_its_former_life() {
        let mut states = ProducerStates::default();
        for (sequence, offset) in [(0, 0), (2, 7), (0, 20)] {
            states.apply(&batch(1, 0, sequence, 2, offset, false));
        }
        assert_eq!(
            states.check(&batch(1, 0, 2, 2, 30, false)).unwrap(),
            Checked::New
        );
        // What compaction left out is no new beginning.
        states.apply(&batch(1, 0, 5, 1, 30, false));
        assert!(matches!(
            states.check(&batch(1, 0, 0, 2, 31, false)),
            Ok(Checked::Duplicate(_))
        ));
    }

    #[test]
    fn an_open_transaction_holds_the_stable_offset_until_its_marker_is_replicated() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, 0, 1, 10, true));
        states.apply(&batch(2, 0, 0, 1, 11, true));
        assert_eq!(states.first_unstable(0), Some(10));
        assert_eq!(
            code(states.check(&batch(1, 0, 1, 1, 12, false))),
            ErrorCode::InvalidTxnState
        );
        let marker = Marker {
            committed: false,
            coordinator_epoch: 0,
        };
        let aborted = states
            .apply_marker(&batch(1, 0, -1, 1, 12, true), marker)
            .unwrap();
        assert_eq!(
            (
                aborted.first_offset,
                aborted.last_offset,
                aborted.last_stable_offset
            ),
            (10, 12, 11)
        );
        assert_eq!(states.first_unstable(12), Some(10));
        assert_eq!(states.first_unstable(13), Some(11));
        states.on_high_watermark(13);
        assert_eq!(states.first_unstable(13), Some(11));
    }

    #[test]
    fn a_snapshot_keeps_the_last_batch_and_open_transactions() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 5, 0, 3, 10, true));
        states.apply(&batch(2, 0, 7, 1, 13, false));
        let again = ProducerStates::from_snapshot(&states.to_snapshot()).unwrap();
        assert_eq!(again, states);
        let mut broken = states.to_snapshot();
        broken[20] ^= 1;
        assert!(ProducerStates::from_snapshot(&broken).is_err());
        assert!(ProducerStates::from_snapshot(&[]).is_err());
    }

    #[test]
    fn a_batch_that_was_under_way_for_too_long_opens_no_transaction() {
        let mut states = ProducerStates::default();
        let first = batch(1, 0, 0, 1, 10, true);
        let admission = Admission {
            last_marker: states.last_marker(1),
            begins_at_zero: false,
            verified: true,
        };
        let opening = |states: &ProducerStates, admission| {
            states
                .check_opening(&batch(1, 0, 1, 1, 20, true), admission)
                .map_err(|error| error.code())
        };
        states.check_opening(&first, Some(admission)).unwrap();
        states.apply(&first);
        // While it is open, nobody is asked.
        assert_eq!(opening(&states, None), Ok(()));
        let marker = Marker {
            committed: true,
            coordinator_epoch: 0,
        };
        states.apply_marker(&batch(1, 0, -1, 1, 11, true), marker);
        for late in [None, Some(admission)] {
            assert_eq!(opening(&states, late), Err(ErrorCode::InvalidTxnState));
        }
        let admission = Admission {
            last_marker: states.last_marker(1),
            begins_at_zero: true,
            verified: true,
        };
        assert_eq!(opening(&states, Some(admission)), Ok(()));
        let stranger = states.check_opening(
            &batch(2, 0, 1, 1, 20, true),
            Some(Admission {
                last_marker: None,
                begins_at_zero: true,
                verified: true,
            }),
        );
        assert_eq!(
            stranger.map_err(|error| error.code()),
            Err(ErrorCode::OutOfOrderSequenceNumber)
        );
    }

    #[test]
    fn a_marker_that_comes_again_does_not_end_the_next_transaction() {
        let mut states = ProducerStates::default();
        let marker = Marker {
            committed: true,
            coordinator_epoch: 0,
        };
        let check = |states: &ProducerStates, epoch, rules| {
            states
                .check_marker(1, epoch, marker, rules)
                .map_err(|error| error.code())
        };
        states.apply(&batch(1, 4, 0, 1, 10, true));
        assert_eq!(check(&states, 5, MarkerRules::Bumping), Ok(()));
        states.apply_marker(&batch(1, 5, -1, 1, 11, true), marker);
        // While nothing is open it does no harm.
        assert_eq!(check(&states, 5, MarkerRules::Bumping), Ok(()));
        states.apply(&batch(1, 5, 0, 1, 12, true));
        let late = Err(ErrorCode::InvalidProducerEpoch);
        assert_eq!(check(&states, 5, MarkerRules::Bumping), late);
        assert_eq!(check(&states, 4, MarkerRules::Bumping), late);
        assert_eq!(check(&states, 4, MarkerRules::Old), late);
        // Before version 2 nothing tells the one from the other.
        assert_eq!(check(&states, 5, MarkerRules::Old), Ok(()));
    }

    #[test]
    fn offsets_that_were_under_way_for_too_long_join_no_transaction() {
        let mut states = ProducerStates::default();
        let asked = |states: &ProducerStates, verified| Admission {
            last_marker: states.last_marker(1),
            begins_at_zero: false,
            verified,
        };
        let marker = Marker {
            committed: false,
            coordinator_epoch: 0,
        };
        let before = asked(&states, true);
        assert_eq!(states.check_joining(1, 4, before), Ok(()));
        states.apply(&batch(1, 4, -1, 1, 10, true));
        states.apply_marker(&batch(1, 4, -1, 1, 11, true), marker);
        assert_eq!(
            states.check_joining(1, 4, before),
            Err(ErrorCode::InvalidTxnState)
        );
        assert_eq!(states.check_joining(1, 4, asked(&states, true)), Ok(()));
        // Where nobody is asked, only the epoch tells.
        let anybody = Admission {
            verified: false,
            ..before
        };
        assert_eq!(states.check_joining(1, 4, anybody), Ok(()));
        assert_eq!(
            states.check_joining(1, 3, anybody),
            Err(ErrorCode::InvalidProducerEpoch)
        );
        // They belong to the one that was begun since.
        states.apply(&batch(1, 4, -1, 1, 12, true));
        assert_eq!(states.check_joining(1, 4, before), Ok(()));
    }
}
