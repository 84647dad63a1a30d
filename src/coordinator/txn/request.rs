//! pure: requests to a transaction shard and its answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytestring::ByteString;
use regex::Regex;

use super::machine::{Outcome, Partitions};
use crate::base::ids::{ProducerEpoch, ProducerId};
use crate::base::time::Timestamp;
use crate::wire::error_code::ErrorCode;

/// Producer that makes a request for a transactional id.
#[derive(Clone, Debug, PartialEq)]
pub struct Speaker {
    pub transactional_id: ByteString,
    pub producer_id: ProducerId,
    pub epoch: ProducerEpoch,
}

/// Request to a transaction shard. `fresh` is an unused producer id, if one was requested.
#[derive(Clone, Debug)]
pub enum TxnRequest {
    Init {
        transactional_id: ByteString,
        timeout_ms: i32,
        /// Id and epoch that the producer believes to have (KIP-360).
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
    /// All markers of this transaction are written.
    MarkersWritten(Speaker),
    Describe(ByteString),
    List {
        /// States to list; `None` for all.
        states: Option<Vec<ByteString>>,
        /// Producer ids to list; empty for all.
        producer_ids: Arc<BTreeSet<ProducerId>>,
        /// Lists only transactions that have been open for longer; -1 for all.
        duration_ms: i64,
        /// Pattern for transactional ids.
        pattern: Option<Regex>,
    },
}

/// Answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum TxnAnswer {
    /// Producer id and epoch that the producer continues with.
    Producer(ProducerId, ProducerEpoch),
    /// The request must be repeated with a new producer id.
    NeedsProducerId,
    Refused(ErrorCode),
    Verified(Vec<(ByteString, i32, ErrorCode)>),
    Described(Box<Description>),
    Listed(Vec<Description>),
    Done,
    /// Errand: these markers are to be written and then reported.
    WriteMarkers(Box<Markers>),
}

/// Description of a transaction, for tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub speaker: Speaker,
    pub state: &'static str,
    pub timeout_ms: i32,
    /// Start time of the transaction, -1 for none.
    pub since: Timestamp,
    pub partitions: Partitions,
}

/// Markers that end one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Markers {
    pub speaker: Speaker,
    pub outcome: Outcome,
    pub partitions: Partitions,
    /// Epoch of the coordinator. Partitions refuse markers of older epochs.
    pub coordinator_epoch: i32,
    /// The transaction version whose rules apply to the transaction.
    pub transaction_version: i16,
}
