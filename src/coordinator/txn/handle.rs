//! Handle of the transaction coordinator for API handlers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytestring::ByteString;
use regex::Regex;

use super::admission::{self, Verdict};
use super::machine::{BUMPING, Outcome, Partitions};
use super::markers::MarkerWriter;
use super::request::{Description, Speaker, TxnAnswer, TxnRequest};
use super::shard::{TxnSettings, TxnShard};
use crate::base::ids::{PartitionIndex, ProducerEpoch, ProducerId};
use crate::base::work_pool::WorkPool;
use crate::coordinator::elsewhere::Elsewhere;
use crate::coordinator::hash::partition_of;
use crate::coordinator::runtime::handle::Coordinator;
use crate::coordinator::runtime::log::RecordLog;
use crate::coordinator::runtime::task::Task;
use crate::coordinator::topic::TRANSACTION_TOPIC;
use crate::host::Host;
use crate::wire::batch::compression::Compression;
use crate::wire::error_code::ErrorCode;

/// The transaction coordinator of this node. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct TxnHandle {
    coordinator: Coordinator<TxnShard>,
    /// Number of partitions of `__transaction_state`, or the number that it will be created with.
    partitions: Arc<AtomicI32>,
    markers: MarkerWriter,
    /// The transaction coordinators of other brokers; `None` if there are none.
    elsewhere: Option<Elsewhere>,
}

/// Producer id and epoch of a producer, or the need for a new producer id first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    Producer(ProducerId, ProducerEpoch),
    NeedsProducerId,
}

impl TxnHandle {
    /// Makes the handle and its task. `partitions` is `transaction.state.log.num.partitions`, used until the topic exists.
    pub fn new(
        host: &Host,
        log: Arc<dyn RecordLog>,
        settings: TxnSettings,
        partitions: i32,
        markers: MarkerWriter,
        pool: WorkPool,
    ) -> (Self, Task<TxnShard>) {
        let make = Arc::new(move |_, epoch| TxnShard::new(settings.clone(), epoch));
        let (coordinator, task) = Coordinator::new(
            "transactions",
            host,
            log,
            make,
            COMMIT_TIMEOUT,
            Compression::None,
            pool,
        );
        let weak = Arc::new(coordinator.downgrade());
        let writer = markers.clone();
        let threads = host.threads.clone();
        let task = task.on_errand(Arc::new(move |partition, answer, halt| {
            if let TxnAnswer::WriteMarkers(errand) = answer
                && let Some(coordinator) = weak.upgrade()
            {
                let coordinator = coordinator.downgrade();
                let markers = writer.clone().run(coordinator, partition, *errand);
                threads.spawn(halt.guard("writer of markers", markers));
            }
        }));
        let handle = Self {
            coordinator,
            partitions: Arc::new(AtomicI32::new(partitions)),
            markers,
            elsewhere: None,
        };
        (handle, task)
    }

    /// Lets [`Self::admit`] ask the brokers that coordinate other transactions.
    pub fn with_others(self, elsewhere: Option<Elsewhere>) -> Self {
        Self { elsewhere, ..self }
    }

    pub fn coordinator(&self) -> &Coordinator<TxnShard> {
        &self.coordinator
    }

    /// Writer of markers, for WriteTxnMarkers requests of other coordinators and tools.
    pub fn markers(&self) -> &MarkerWriter {
        &self.markers
    }

    pub fn set_partitions(&self, partitions: i32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    fn partition_of(&self, id: &str) -> PartitionIndex {
        partition_of(id, self.partitions.load(Ordering::Relaxed))
    }

    async fn ask(&self, id: &str, request: TxnRequest) -> Result<TxnAnswer, ErrorCode> {
        match self.coordinator.ask(self.partition_of(id), request).await? {
            TxnAnswer::Refused(error) => Err(error),
            answer => Ok(answer),
        }
    }

    /// Initializes a producer; see [`TxnRequest::Init`].
    pub async fn init(
        &self,
        transactional_id: ByteString,
        timeout_ms: i32,
        expected: Option<(ProducerId, ProducerEpoch)>,
        fresh: Option<ProducerId>,
    ) -> Result<Granted, ErrorCode> {
        let id = transactional_id.clone();
        let request = TxnRequest::Init {
            transactional_id,
            timeout_ms,
            expected,
            fresh,
        };
        granted(self.ask(&id, request).await?)
    }

    pub async fn add(
        &self,
        speaker: Speaker,
        partitions: Partitions,
        client_version: i16,
    ) -> Result<(), ErrorCode> {
        let id = speaker.transactional_id.clone();
        let request = TxnRequest::Add {
            speaker,
            partitions,
            client_version,
        };
        self.ask(&id, request).await.map(|_| ())
    }

    /// Verifies that partitions are part of a transaction; returns an error code for each.
    pub async fn verify(
        &self,
        speaker: Speaker,
        partitions: Partitions,
    ) -> Result<Vec<(ByteString, i32, ErrorCode)>, ErrorCode> {
        let id = speaker.transactional_id.clone();
        let request = TxnRequest::Verify {
            speaker,
            partitions,
        };
        match self.ask(&id, request).await? {
            TxnAnswer::Verified(results) => Ok(results),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Asks the coordinator of a transaction, on whichever broker, to verify partitions, or to add them if `adds`, as the
    /// producers of `transaction.version` 2 expect. Returns an error code for each partition that is refused.
    pub async fn admit(
        &self,
        speaker: Speaker,
        partitions: Partitions,
        adds: bool,
    ) -> Result<Vec<Verdict>, ErrorCode> {
        let index = self.partition_of(&speaker.transactional_id);
        let verdicts = if let Some(elsewhere) = &self.elsewhere
            && let Some(broker) = elsewhere.leader(TRANSACTION_TOPIC, index)
        {
            admission::ask(elsewhere, broker, speaker, &partitions, !adds).await?
        } else if adds {
            self.add(speaker, partitions, BUMPING).await?;
            Vec::new()
        } else {
            self.verify(speaker, partitions).await?
        };
        let refused = verdicts.into_iter().filter(|(.., error)| error.is_error());
        Ok(refused.collect())
    }

    /// Ends a transaction. Returns once the outcome is recorded; the markers follow.
    pub async fn end(
        &self,
        speaker: Speaker,
        outcome: Outcome,
        client_version: i16,
        fresh: Option<ProducerId>,
    ) -> Result<Granted, ErrorCode> {
        let id = speaker.transactional_id.clone();
        let request = TxnRequest::End {
            speaker,
            outcome,
            client_version,
            fresh,
        };
        granted(self.ask(&id, request).await?)
    }

    pub async fn describe(&self, id: ByteString) -> Result<Description, ErrorCode> {
        match self.ask(&id, TxnRequest::Describe(id.clone())).await? {
            TxnAnswer::Described(description) => Ok(*description),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    /// The transactions of all partitions of this node.
    pub async fn list(
        &self,
        states: Option<Vec<ByteString>>,
        producer_ids: Arc<BTreeSet<ProducerId>>,
        duration_ms: i64,
        pattern: Option<&Regex>,
    ) -> Result<Vec<Description>, ErrorCode> {
        let mut all = Vec::new();
        for partition in self.coordinator.all_active().await? {
            let request = TxnRequest::List {
                states: states.clone(),
                producer_ids: Arc::clone(&producer_ids),
                duration_ms,
                pattern: pattern.cloned(),
            };
            match self.coordinator.ask(partition, request).await {
                Ok(TxnAnswer::Listed(some)) => all.extend(some),
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
                Ok(_) => return Err(ErrorCode::UnknownServerError),
            }
        }
        Ok(all)
    }
}

fn granted(answer: TxnAnswer) -> Result<Granted, ErrorCode> {
    match answer {
        TxnAnswer::Producer(id, epoch) => Ok(Granted::Producer(id, epoch)),
        TxnAnswer::NeedsProducerId => Ok(Granted::NeedsProducerId),
        _ => Err(ErrorCode::UnknownServerError),
    }
}

/// Time limit for the commit of an answer's records.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
