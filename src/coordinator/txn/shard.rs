//! pure: the transactional ids of one partition of `__transaction_state`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::machine::{Ended, Initialised, Partitions, State, Txn};
use super::record::TxnRecord;
use super::request::{Description, Markers, Speaker, TxnAnswer, TxnRequest};
use crate::base::ids::LeaderEpoch;
use crate::base::time::elapsed_ms;
use crate::config::broker::BrokerSettings;
use crate::coordinator::runtime::shard::{
    Condition, Marker, Moment, Origin, Output, RawRecord, RecordError, Shard, Ticket, total_cost,
};
use crate::coordinator::runtime::timer::Timers;
use crate::metadata::image::{Delta, Image};
use crate::wire::codec::EncodeError;
use crate::wire::error_code::ErrorCode;

/// Name of the feature that decides how transactions end (KIP-890).
const TRANSACTION_VERSION: &str = "transaction.version";

/// Kafka's `transaction.*` settings.
#[derive(Clone, Debug)]
pub struct TxnSettings {
    pub timeout_ms_max: i32,
    /// Time after which an idle transactional id is removed.
    pub id_expiration_ms: i64,
    pub abort_check_ms: i64,
    pub expire_check_ms: i64,
}

impl From<&BrokerSettings> for TxnSettings {
    fn from(settings: &BrokerSettings) -> Self {
        Self {
            timeout_ms_max: settings.int("transaction.max.timeout.ms"),
            id_expiration_ms: settings.long("transactional.id.expiration.ms"),
            abort_check_ms: settings
                .long("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            expire_check_ms: settings
                .long("transaction.remove.expired.transaction.cleanup.interval.ms"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    AbortTimedOut,
    ExpireIds,
}

/// Transactional ids of one partition.
#[derive(Clone, Debug)]
pub struct TxnShard {
    settings: TxnSettings,
    /// Leader epoch of the partition, which markers carry.
    epoch: LeaderEpoch,
    /// Finalized level of `transaction.version`.
    version: i16,
    /// States by transactional id. There may be very many idle ids, so the key is as small as possible.
    txns: BTreeMap<Box<str>, Txn>,
    timers: Timers<Timer>,
}

impl Shard for TxnShard {
    type Request = TxnRequest;
    type Answer = TxnAnswer;
    type Record = TxnRecord;

    fn decode(raw: RawRecord) -> Result<Option<TxnRecord>, RecordError> {
        TxnRecord::decode(raw)
    }

    fn encode(record: &TxnRecord) -> Result<RawRecord, EncodeError> {
        record.encode()
    }

    fn apply(&mut self, _: Origin, record: &TxnRecord) {
        let Some(value) = &record.value else {
            self.txns.remove(&*record.transactional_id);
            return;
        };
        let known = self.txns.get_mut(&*record.transactional_id);
        let last_epoch = known.as_ref().map_or(-1, |txn| txn.last_epoch);
        if let Some(txn) = Txn::from_value(value, last_epoch) {
            match known {
                Some(known) => *known = txn,
                None => drop(self.txns.insert((*record.transactional_id).into(), txn)),
            }
        }
    }

    /// Transactions do not write to this topic, so no markers arrive.
    fn apply_marker(&mut self, _: Marker) {}

    fn on_image(&mut self, image: &Arc<Image>, _: &Delta) {
        self.version = image.feature(TRANSACTION_VERSION);
    }

    fn condition(_: &TxnRequest) -> Option<Condition> {
        None
    }

    fn loaded(&mut self, now: Moment, out: &mut Output<TxnAnswer>) {
        // Prepared transactions are completed, whichever coordinator prepared them.
        for (id, txn) in &self.txns {
            if let Some(markers) = self.markers(id, txn) {
                out.answer(Ticket::ERRAND, markers);
            }
        }
        // Time has passed without a coordinator, so timed out transactions are searched at once.
        self.timers.set(Timer::AbortTimedOut, now.steady);
        self.set_timer(Timer::ExpireIds, now);
    }

    fn handle(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: TxnRequest,
        _: Result<(), ErrorCode>,
        out: &mut Output<TxnAnswer>,
    ) {
        let answer = self
            .decide(now, request, out)
            .unwrap_or_else(TxnAnswer::Refused);
        out.answer(ticket, answer);
    }

    fn cost(&self, request: &TxnRequest) -> usize {
        let cost = match request {
            // The record contains the transaction with all its partitions.
            TxnRequest::Init {
                transactional_id, ..
            } => self.cost_of(transactional_id),
            TxnRequest::Add {
                speaker,
                partitions,
                ..
            } => self.cost_of(&speaker.transactional_id) + cost_of_partitions(partitions),
            TxnRequest::Verify { partitions, .. } => cost_of_partitions(partitions),
            TxnRequest::End { speaker, .. } | TxnRequest::MarkersWritten(speaker) => {
                self.cost_of(&speaker.transactional_id)
            }
            TxnRequest::Describe(id) => self.cost_of(id),
            TxnRequest::List { .. } => total_cost(self.txns.values().map(cost_of_txn)),
        };
        cost.max(1)
    }

    fn wake_cost(&self, now: Moment) -> usize {
        self.timers.due(now.steady).count() * self.txns.len()
    }

    fn wake(&mut self, now: Moment, out: &mut Output<TxnAnswer>) {
        while let Some(timer) = self.timers.pop_due(now.steady) {
            match timer {
                Timer::AbortTimedOut => self.abort_timed_out(now, out),
                Timer::ExpireIds => self.expire_ids(now, out),
            }
            self.set_timer(timer, now);
        }
    }

    fn next_wake(&self) -> Option<i64> {
        self.timers.next()
    }
}

impl TxnShard {
    pub fn new(settings: TxnSettings, epoch: LeaderEpoch) -> Self {
        Self {
            settings,
            epoch,
            version: 0,
            txns: BTreeMap::new(),
            timers: Timers::default(),
        }
    }

    fn decide(
        &mut self,
        now: Moment,
        request: TxnRequest,
        out: &mut Output<TxnAnswer>,
    ) -> Result<TxnAnswer, ErrorCode> {
        match request {
            TxnRequest::Init {
                transactional_id,
                timeout_ms,
                expected,
                fresh,
            } => self.init(now, &transactional_id, timeout_ms, expected, fresh, out),
            TxnRequest::Add {
                speaker,
                partitions,
                client_version,
            } => {
                let txn = self.known(&speaker)?;
                let next = txn.add(
                    speaker.producer_id,
                    speaker.epoch,
                    &partitions,
                    client_version,
                    now.wall,
                )?;
                if let Some(next) = next {
                    self.record(&speaker.transactional_id, next, out)?;
                }
                Ok(TxnAnswer::Done)
            }
            TxnRequest::Verify {
                speaker,
                partitions,
            } => {
                let txn = self.known(&speaker);
                let mut results = Vec::new();
                for (topic, indexes) in partitions {
                    for index in indexes {
                        let result = txn.and_then(|txn| {
                            txn.verify(speaker.producer_id, speaker.epoch, &topic, index)
                        });
                        let error = result.err().unwrap_or(ErrorCode::None);
                        results.push((topic.clone(), index, error));
                    }
                }
                Ok(TxnAnswer::Verified(results))
            }
            TxnRequest::End {
                speaker,
                outcome,
                client_version,
                fresh,
            } => {
                let ended = self.known(&speaker)?.end(
                    speaker.producer_id,
                    speaker.epoch,
                    outcome,
                    client_version,
                    fresh,
                    now.wall,
                )?;
                match ended {
                    Ended::NeedsProducerId => Ok(TxnAnswer::NeedsProducerId),
                    Ended::Already(id, epoch) => Ok(TxnAnswer::Producer(id, epoch)),
                    Ended::Prepared(next) => {
                        let (id, epoch) = next.after_completion();
                        self.record(&speaker.transactional_id, next, out)?;
                        Ok(TxnAnswer::Producer(id, epoch))
                    }
                }
            }
            TxnRequest::MarkersWritten(speaker) => {
                let txn = self.known(&speaker)?;
                if txn.producer_id == speaker.producer_id
                    && let Some(next) = txn.complete(speaker.epoch, now.wall)
                {
                    self.record(&speaker.transactional_id, next, out)?;
                }
                Ok(TxnAnswer::Done)
            }
            TxnRequest::Describe(id) if id.is_empty() => Err(ErrorCode::InvalidRequest),
            TxnRequest::Describe(id) => match self.txns.get(&*id) {
                Some(txn) => Ok(TxnAnswer::Described(Box::new(description(&id, txn)))),
                None => Err(ErrorCode::TransactionalIdNotFound),
            },
            TxnRequest::List {
                states,
                producer_ids,
                duration_ms,
                pattern,
            } => Ok(TxnAnswer::Listed(
                self.txns
                    .iter()
                    .filter(|(id, txn)| {
                        (states.as_ref()).is_none_or(|states| states.iter().any(|one| **one == *txn.state_name()))
                            && (producer_ids.is_empty() || producer_ids.contains(&txn.producer_id))
                            // As in Kafka, ids without a transaction count as very old.
                            && (duration_ms < 0 || elapsed_ms(txn.since(), now.wall) > duration_ms)
                            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(id))
                    })
                    .map(|(id, txn)| description(id, txn))
                    .collect(),
            )),
        }
    }

    fn init(
        &mut self,
        now: Moment,
        id: &ByteString,
        timeout_ms: i32,
        expected: Option<(i64, i16)>,
        fresh: Option<i64>,
        out: &mut Output<TxnAnswer>,
    ) -> Result<TxnAnswer, ErrorCode> {
        if id.is_empty() || id.len() > i16::MAX as usize {
            return Err(ErrorCode::InvalidRequest);
        }
        if timeout_ms <= 0 || timeout_ms > self.settings.timeout_ms_max {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let newborn;
        let txn = match (self.txns.get(&**id), fresh) {
            (Some(txn), _) => txn,
            (None, None) => return Ok(TxnAnswer::NeedsProducerId),
            (None, Some(fresh)) => {
                newborn = Txn::new(fresh, timeout_ms, now.wall);
                &newborn
            }
        };
        match txn.init(expected, fresh, timeout_ms, self.version, now.wall)? {
            Initialised::NeedsProducerId => Ok(TxnAnswer::NeedsProducerId),
            Initialised::Ready(next) => {
                let (producer_id, epoch) = (next.producer_id, next.epoch);
                self.record(id, next, out)?;
                Ok(TxnAnswer::Producer(producer_id, epoch))
            }
            Initialised::Aborting(next) => {
                self.record(id, next, out)?;
                Err(ErrorCode::ConcurrentTransactions)
            }
        }
    }

    fn cost_of(&self, id: &str) -> usize {
        self.txns.get(id).map_or(1, cost_of_txn)
    }

    fn known(&self, speaker: &Speaker) -> Result<&Txn, ErrorCode> {
        if speaker.transactional_id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        self.txns
            .get(&*speaker.transactional_id)
            .ok_or(ErrorCode::InvalidProducerIdMapping)
    }

    /// Records and applies a new state. For a prepared transaction the markers are written once the record is committed.
    fn record(
        &mut self,
        id: &ByteString,
        next: Txn,
        out: &mut Output<TxnAnswer>,
    ) -> Result<(), ErrorCode> {
        // The id is copied, so that it does not keep the request's frame in memory.
        let id = ByteString::from(id.to_string());
        let record = TxnRecord {
            transactional_id: id.clone(),
            value: Some(next.value()),
            version: self.version.min(1),
        };
        out.record(record.encode())?;
        self.apply(Origin::Plain, &record);
        // The state in memory has more than the record: the last epoch, which allows a retry of a bump as long as the
        // coordinator has not crashed.
        if let Some(txn) = self.txns.get_mut(&*id) {
            *txn = next;
            let markers = self.txns.get(&*id).and_then(|txn| self.markers(&id, txn));
            if let Some(markers) = markers {
                out.answer(Ticket::ERRAND, markers);
            }
        }
        Ok(())
    }

    fn markers(&self, id: &str, txn: &Txn) -> Option<TxnAnswer> {
        let State::Prepared {
            outcome,
            partitions,
            ..
        } = &txn.state
        else {
            return None;
        };
        Some(TxnAnswer::WriteMarkers(Box::new(Markers {
            speaker: Speaker {
                transactional_id: id.into(),
                producer_id: txn.producer_id,
                epoch: txn.epoch,
            },
            outcome: *outcome,
            partitions: partitions.clone(),
            coordinator_epoch: self.epoch,
            transaction_version: txn.client_version,
        })))
    }

    fn abort_timed_out(&mut self, now: Moment, out: &mut Output<TxnAnswer>) {
        let late: Vec<(ByteString, Txn)> = self
            .txns
            .iter()
            .filter(|(_, txn)| match txn.state {
                State::Ongoing { since, .. } => {
                    elapsed_ms(since, now.wall) > i64::from(txn.timeout_ms)
                }
                _ => false,
            })
            .map(|(id, txn)| ((**id).into(), txn.fenced(self.version, now.wall)))
            .collect();
        for (id, next) in late {
            // A transaction that does not fit into this batch is aborted the next time.
            let _ = self.record(&id, next, out);
        }
    }

    fn expire_ids(&mut self, now: Moment, out: &mut Output<TxnAnswer>) {
        let idle: Vec<ByteString> = self
            .txns
            .iter()
            .filter(|(_, txn)| {
                matches!(txn.state, State::Empty | State::Complete { .. })
                    && elapsed_ms(txn.updated, now.wall) >= self.settings.id_expiration_ms
            })
            .map(|(id, _)| (**id).into())
            .collect();
        for transactional_id in idle {
            let record = TxnRecord {
                transactional_id,
                value: None,
                version: 0,
            };
            if out.record(record.encode()).is_ok() {
                self.apply(Origin::Plain, &record);
            }
        }
    }

    fn set_timer(&mut self, timer: Timer, now: Moment) {
        let every = match timer {
            Timer::AbortTimedOut => self.settings.abort_check_ms,
            Timer::ExpireIds => self.settings.expire_check_ms,
        };
        self.timers.set(timer, now.after(every.max(1)));
    }

    #[cfg(test)]
    pub fn txns(&self) -> &BTreeMap<Box<str>, Txn> {
        &self.txns
    }
}

fn cost_of_txn(txn: &Txn) -> usize {
    1 + txn.partitions().map_or(0, cost_of_partitions)
}

fn cost_of_partitions(partitions: &Partitions) -> usize {
    total_cost(partitions.values().map(|indexes| 1 + indexes.len()))
}

fn description(id: &str, txn: &Txn) -> Description {
    Description {
        speaker: Speaker {
            transactional_id: id.into(),
            producer_id: txn.producer_id,
            epoch: txn.epoch,
        },
        state: txn.state_name(),
        timeout_ms: txn.timeout_ms,
        since: txn.since(),
        partitions: txn.partitions().cloned().unwrap_or_else(Partitions::new),
    }
}
