//! pure: what a transaction shard is asked, and what it answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;
use regex::Regex;

use super::machine::{Outcome, Partitions};
use crate::base::ids::{ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Who speaks for a transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct Speaker {
    pub transactional_id: ByteString,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// A request to a transaction shard. `fresh` is a producer id that nobody has, if one was asked for.
#[derive(Clone, Debug)]
pub enum TxnRequest {
    Init {
        transactional_id: ByteString,
        timeout_ms: i32,
        /// What the producer believes to be (KIP-360).
        expected: Option<(ProducerId, ProducerEpoch)>,
        fresh: Option<ProducerId>,
    },
    Add {
        speaker: Speaker,
        partitions: Partitions,
        client_version: i16,
    },
    Verify {
        speaker: Speaker,
        partitions: Partitions,
    },
    End {
        speaker: Speaker,
        outcome: Outcome,
        client_version: i16,
        fresh: Option<ProducerId>,
    },
    /// Every partition has its marker of this transaction.
    MarkersWritten(Speaker),
    Describe(ByteString),
    List {
        /// None for all.
        states: Option<Vec<ByteString>>,
        /// Empty for all.
        producer_ids: Arc<BTreeSet<ProducerId>>,
        /// Only those that have been open for longer; -1 for all.
        duration_ms: i64,
        /// Of the transactional id.
        pattern: Option<Regex>,
    },
}

/// Answers, by the request that they are to.
#[derive(Clone, Debug, PartialEq)]
pub enum TxnAnswer {
    /// The id and epoch that the producer goes on with.
    Producer(ProducerId, ProducerEpoch),
    /// Come again with a fresh producer id.
    NeedsProducerId,
    Refused(ErrorCode),
    Verified(Vec<(ByteString, i32, ErrorCode)>),
    Described(Box<Description>),
    Listed(Vec<Description>),
    Done,
    /// An errand: write these markers, then say so.
    WriteMarkers(Box<Markers>),
}

/// A transaction as tools see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub speaker: Speaker,
    pub state: &'static str,
    pub timeout_ms: i32,
    /// -1 for none.
    pub since: Timestamp,
    pub partitions: Partitions,
}

/// The markers that end one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Markers {
    pub speaker: Speaker,
    pub outcome: Outcome,
    pub partitions: Partitions,
    /// The epoch of the coordinator: older ones cannot overrule it.
    pub coordinator_epoch: i32,
    /// By whose rules the transaction goes.
    pub transaction_version: i16,
}
