//! Changes of ISRs that leaders of partitions request, and the task that sends the requests (AlterPartition) to the controller.
//! Kafka's `AlterPartitionManager`.
//!
//! One request is in flight at a time, with all changes requested meanwhile; each partition has at most one change. Requests
//! without an answer are repeated without limit: until the controller answers, a broker that may have joined an ISR counts as a
//! member of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::fetcher::Answering;
use super::lane::Key;
use super::leader::{Answer, Next, Proposal};
use super::manager::ReplicaManager;
use super::partition::Partition;
use crate::base::ids::{BrokerEpoch, BrokerId, Uuid};
use crate::base::time::millis;
use crate::peer::backoff::Backoff;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition::{
    AlterPartitionRequest, AlterPartitionRequestPartitionData, AlterPartitionRequestTopicData,
    AlterPartitionResponse, BrokerState,
};

/// Pauses before changes that the controller did not decide are sent again. The first one is Kafka's.
const AGAIN_AFTER: Backoff = Backoff {
    first_ms: 50,
    longest_ms: 1_000,
};
/// Shortest interval between two checks for lagging followers, for very small values of `replica.lag.time.max.ms`.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// A change of the ISR of a partition, requested by its leader.
pub type Change = (Arc<Partition>, Proposal);

/// The controller as seen by the leaders of partitions.
pub trait Controller: Send + Sync {
    fn alter_partitions(
        &self,
        request: AlterPartitionRequest,
    ) -> Answering<'_, AlterPartitionResponse>;
}

/// Pending changes: the newest one of each partition, so at most as many as this node has partitions.
#[derive(Debug, Default)]
pub struct IsrChanges {
    pending: Mutex<IndexMap<Key, Change>>,
    wake: Notify,
}

impl IsrChanges {
    pub fn put(&self, partition: &Arc<Partition>, proposal: Proposal) {
        let change = (Arc::clone(partition), proposal);
        self.pending.lock().insert(partition.key(), change);
        self.wake.notify_one();
    }

    /// Returns a change that the controller did not decide to the queue, unless there is a newer one.
    fn put_back(&self, change: Change) {
        let mut pending = self.pending.lock();
        pending.entry(change.0.key()).or_insert(change);
        self.wake.notify_one();
    }

    /// Takes all pending changes, in the order in which they were added.
    pub fn take(&self) -> Vec<Change> {
        let taken = std::mem::take(&mut *self.pending.lock());
        taken.into_values().collect()
    }

    /// Waits until there may be pending changes.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// task: finds lagging followers, and asks the controller for the changes that leaders want.
pub async fn run(
    replicas: ReplicaManager,
    controller: Arc<dyn Controller>,
    stop: impl Future<Output = ()>,
) {
    let work = async {
        let mut look_at = Instant::now() + replicas.look_every();
        let mut not_before = Instant::now();
        let mut failures = 0;
        loop {
            let woken = timeout_at(look_at, replicas.isr_changes().woken());
            if woken.await.is_err() {
                look_at = Instant::now() + replicas.look_every();
                if !replicas.has_other_brokers() {
                    // A node that is alone has many partitions, and nobody lags.
                    continue;
                }
                let (theirs, threads) = (replicas.clone(), &replicas.logs().host().threads);
                threads.blocking(move || theirs.shrink_isrs()).await;
            }
            sleep_until(not_before).await;
            let changes = replicas.isr_changes().take();
            if changes.is_empty() {
                continue;
            }
            if ask(&replicas, &*controller, changes, failures == 0).await {
                failures = 0;
            } else {
                let chance = replicas.logs().host().chance.jitter();
                not_before = Instant::now() + AGAIN_AFTER.pause(failures, chance);
                failures = failures.saturating_add(1);
            }
        }
    };
    tokio::select! {
        biased;
        () = stop => {}
        () = work => {}
    }
}

/// Asks the controller once. False if some change must be sent again. The first of several failures in a row is logged.
async fn ask(
    replicas: &ReplicaManager,
    controller: &dyn Controller,
    changes: Vec<Change>,
    is_first: bool,
) -> bool {
    let broker = (replicas.node_id(), replicas.broker_epoch());
    let answer = controller.alter_partitions(request(broker, &changes)).await;
    let refused = match &answer {
        Ok(answer) => ErrorCode::from_code(answer.error_code).filter(|code| code.is_error()),
        Err(_) => Some(ErrorCode::NetworkException),
    };
    if let Some(code) = refused.filter(|_| is_first) {
        tracing::warn!(%code, count = changes.len(), "the controller does not change the ISRs of partitions yet");
    }
    let (Ok(answer), None) = (answer, refused) else {
        for change in changes {
            replicas.isr_changes().put_back(change);
        }
        return false;
    };
    let mut answers = answers(answer);
    let now = replicas.clock().now();
    let mut is_over = true;
    for (partition, proposal) in changes {
        // A change that the answer leaves out is sent again.
        let answer = answers.remove(&partition.key());
        let answer = answer.unwrap_or(Answer::Refused(ErrorCode::UnknownServerError));
        if let Answer::Refused(code) = &answer {
            tracing::info!(partition = %partition.name(), %code, "the controller refuses a change of an ISR");
        }
        match partition.isr_answered(&proposal, &answer, now) {
            Next::Done => {}
            Next::SendAgain => {
                replicas.isr_changes().put_back((partition, proposal));
                is_over = false;
            }
        }
    }
    is_over
}

fn request((id, epoch): (BrokerId, BrokerEpoch), changes: &[Change]) -> AlterPartitionRequest {
    let mut topics: IndexMap<Uuid, Vec<AlterPartitionRequestPartitionData>> = IndexMap::new();
    for (partition, proposal) in changes {
        let member = |(member, fetched): &(BrokerId, BrokerEpoch)| BrokerState {
            broker_id: *member,
            // The leader does not fetch from itself: its broker epoch is that of its registration.
            broker_epoch: if *member == id { epoch } else { *fetched },
        };
        let data = AlterPartitionRequestPartitionData {
            partition_index: partition.index,
            leader_epoch: proposal.leader_epoch,
            new_isr_with_epochs: proposal.isr.iter().map(member).collect(),
            partition_epoch: proposal.partition_epoch,
            ..Default::default()
        };
        topics.entry(partition.topic_id).or_default().push(data);
    }
    let topics = topics.into_iter();
    let topics = topics.map(|(topic_id, partitions)| AlterPartitionRequestTopicData {
        topic_id,
        partitions,
        ..Default::default()
    });
    AlterPartitionRequest {
        broker_id: id,
        broker_epoch: epoch,
        topics: topics.collect(),
    }
}

fn answers(response: AlterPartitionResponse) -> BTreeMap<Key, Answer> {
    let mut answers = BTreeMap::new();
    for topic in response.topics {
        for part in topic.partitions {
            let answer = match ErrorCode::from_code(part.error_code) {
                Some(ErrorCode::None) => Answer::Accepted {
                    leader_epoch: part.leader_epoch,
                    partition_epoch: part.partition_epoch,
                    isr: part.isr,
                },
                code => Answer::Refused(code.unwrap_or(ErrorCode::UnknownServerError)),
            };
            answers.insert((topic.topic_id, part.partition_index), answer);
        }
    }
    answers
}

impl ReplicaManager {
    /// Proposes to remove followers from ISRs that lag for longer than `replica.lag.time.max.ms`.
    pub fn shrink_isrs(&self) {
        let now = self.clock().now();
        for partition in self.all() {
            if let Some(proposal) = partition.shrink_isr(now) {
                self.isr_changes().put(&partition, proposal);
            }
        }
    }

    /// Interval of the checks: half of `replica.lag.time.max.ms`. A lagging follower is found within 1.5 times that setting.
    fn look_every(&self) -> Duration {
        millis(self.settings().long("replica.lag.time.max.ms") / 2).max(LOOK_MIN)
    }
}
