//! pure: decisions about changes of ISRs that leaders request (AlterPartition, KIP-497, KIP-841, KIP-903). Kafka's
//! `ReplicationControlManager.alterPartition`.

use std::collections::BTreeSet;

use super::{Context, Decision};
use crate::base::ids::{BrokerEpoch, BrokerId};
use crate::metadata::features::ELIGIBLE_LEADER_REPLICAS;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::record::schema::PartitionChangeRecord;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition::{
    AlterPartitionRequest, AlterPartitionRequestPartitionData, AlterPartitionResponse,
    AlterPartitionResponsePartitionData, AlterPartitionResponseTopicData,
};

/// Leader recovery state of a leader after an unclean election that has not confirmed its recovery yet.
const RECOVERING: i8 = 1;
const RECOVERED: i8 = 0;
/// Broker epoch of an ISR member whose epoch the leader does not know.
const ANY_EPOCH: BrokerEpoch = -1;

/// Decides about all partitions of a request. A partition that is named twice is decided once, by its first entry.
pub fn alter(
    image: &Image,
    request: &AlterPartitionRequest,
    context: &Context<'_>,
) -> Decision<AlterPartitionResponse> {
    let leader = request.broker_id;
    let registered = image.brokers.get(&leader);
    if registered.is_none_or(|broker| broker.epoch != request.broker_epoch) {
        return Decision::only(AlterPartitionResponse {
            error_code: ErrorCode::StaleBrokerEpoch.code(),
            ..Default::default()
        });
    }
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = image.topics.by_id(asked.topic_id);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for data in &asked.partitions {
            if !seen.insert((asked.topic_id, data.partition_index)) {
                continue;
            }
            let decided = decide(image, context, leader, topic.map(|topic| &**topic), data);
            partitions.push(match decided {
                Err(code) => AlterPartitionResponsePartitionData {
                    partition_index: data.partition_index,
                    error_code: code.code(),
                    ..Default::default()
                },
                Ok((partition, change)) => {
                    let (isr, changes) = match &change {
                        Some(_) => (members(data), 1),
                        None => (partition.isr.clone(), 0),
                    };
                    records.extend(change.map(Into::into));
                    AlterPartitionResponsePartitionData {
                        partition_index: data.partition_index,
                        leader_id: partition.leader,
                        leader_epoch: partition.leader_epoch,
                        isr,
                        leader_recovery_state: data.leader_recovery_state,
                        partition_epoch: partition.partition_epoch + changes,
                        ..Default::default()
                    }
                }
            });
        }
        topics.push(AlterPartitionResponseTopicData {
            topic_id: asked.topic_id,
            partitions,
            ..Default::default()
        });
    }
    Decision {
        records,
        answer: AlterPartitionResponse {
            topics,
            ..Default::default()
        },
    }
}

fn members(data: &AlterPartitionRequestPartitionData) -> Vec<BrokerId> {
    let members = data.new_isr_with_epochs.iter();
    members.map(|member| member.broker_id).collect()
}

/// Checks one partition, in Kafka's order. Returns the partition, and the change if there is one.
fn decide<'a>(
    image: &Image,
    context: &Context<'_>,
    leader: BrokerId,
    topic: Option<&'a Topic>,
    data: &AlterPartitionRequestPartitionData,
) -> Result<(&'a Partition, Option<PartitionChangeRecord>), ErrorCode> {
    let topic = topic.ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partition(data.partition_index);
    let partition = partition.ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if data.leader_epoch > partition.leader_epoch
        || data.partition_epoch > partition.partition_epoch
    {
        // The leader has newer metadata from another controller (KAFKA-14154).
        return Err(ErrorCode::NotController);
    }
    if data.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if leader != partition.leader {
        return Err(ErrorCode::InvalidRequest);
    }
    if data.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let isr = members(data);
    let distinct: BTreeSet<_> = isr.iter().collect();
    let are_replicas = isr.iter().all(|id| partition.replicas.contains(id));
    let recovers = data.leader_recovery_state == RECOVERING;
    let is_known_state = recovers || data.leader_recovery_state == RECOVERED;
    if !are_replicas
        || distinct.len() < isr.len()
        || !isr.contains(&leader)
        || !is_known_state
        || recovers && (isr.len() > 1 || partition.leader_recovery_state == RECOVERED)
    {
        return Err(ErrorCode::InvalidRequest);
    }
    let is_eligible = |id: BrokerId, epoch: BrokerEpoch| {
        image.brokers.get(&id).is_some_and(|broker| {
            !broker.fenced
                && !broker.in_controlled_shutdown
                && (epoch == ANY_EPOCH || epoch == broker.epoch)
        })
    };
    let mut asked = data.new_isr_with_epochs.iter();
    if !asked.all(|member| is_eligible(member.broker_id, member.broker_epoch)) {
        return Err(ErrorCode::IneligibleReplica);
    }
    let same_members =
        isr.len() == partition.isr.len() && isr.iter().all(|id| partition.isr.contains(id));
    let same_state = data.leader_recovery_state == partition.leader_recovery_state;
    if same_members && same_state {
        return Ok((partition, None));
    }
    let mut change = PartitionChangeRecord {
        partition_id: data.partition_index,
        topic_id: topic.id,
        isr: (!same_members).then(|| isr.clone()),
        ..Default::default()
    };
    if !same_state {
        change.leader_recovery_state = data.leader_recovery_state;
    }
    if image.feature(ELIGIBLE_LEADER_REPLICAS) > 0 {
        let settings = context.effective(image);
        let topic_settings = image.topic_settings(&topic.name, &settings);
        let min_isr = usize::try_from(topic_settings.long("min.insync.replicas")).unwrap_or(1);
        keep_eligible(partition, &isr, min_isr, &mut change);
    }
    Ok((partition, Some(change)))
}

/// Keeps members that leave an ISR below the minimum as eligible leader replicas: nothing was acknowledged without them
/// (KIP-966).
fn keep_eligible(
    partition: &Partition,
    isr: &[BrokerId],
    min_isr: usize,
    change: &mut PartitionChangeRecord,
) {
    let is_enough = isr.len() >= min_isr.min(partition.replicas.len());
    let mut eligible = Vec::new();
    if !is_enough {
        let both: BTreeSet<_> = partition
            .elr
            .iter()
            .chain(&partition.isr)
            .copied()
            .collect();
        eligible.extend(both.into_iter().filter(|id| !isr.contains(id)));
    }
    if eligible != partition.elr {
        change.eligible_leader_replicas = Some(eligible);
    }
    if is_enough && !partition.last_known_elr.is_empty() {
        change.last_known_elr = Some(Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;
    use crate::config::broker::BrokerSettings;
    use crate::metadata::image::Delta;
    use crate::metadata::record::Record;
    use crate::metadata::record::schema::{
        FeatureLevelRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord,
    };
    use crate::wire::message::alter_partition::{AlterPartitionRequestTopicData, BrokerState};

    const TOPIC: Uuid = Uuid([3; 16]);

    fn apply(image: &mut Image, records: impl IntoIterator<Item = Record>) {
        for record in records {
            image.apply(&record, 0, &mut Delta::default());
        }
    }

    /// Brokers 1 to 5; the epoch of each is ten times its id. 4 is fenced, 5 shuts down. All are replicas of the partition,
    /// which 1 leads.
    fn image() -> Image {
        let broker = |broker_id: BrokerId| {
            Record::from(RegisterBrokerRecord {
                broker_id,
                broker_epoch: i64::from(broker_id) * 10,
                fenced: broker_id == 4,
                in_controlled_shutdown: broker_id == 5,
                ..Default::default()
            })
        };
        let feature = FeatureLevelRecord {
            name: ELIGIBLE_LEADER_REPLICAS.into(),
            feature_level: 1,
        };
        let topic = TopicRecord {
            name: "t".into(),
            topic_id: TOPIC,
        };
        let partition = PartitionRecord {
            partition_id: 0,
            topic_id: TOPIC,
            replicas: vec![1, 2, 3, 4, 5],
            isr: vec![1, 2],
            leader: 1,
            leader_epoch: 6,
            partition_epoch: 9,
            directories: vec![Uuid([9; 16]); 5],
            ..Default::default()
        };
        let mut image = Image::empty();
        apply(&mut image, (1..=5).map(broker));
        apply(&mut image, [feature.into(), topic.into(), partition.into()]);
        image
    }

    fn data(isr: &[(BrokerId, BrokerEpoch)]) -> AlterPartitionRequestPartitionData {
        let member = |(broker_id, broker_epoch): &(BrokerId, BrokerEpoch)| BrokerState {
            broker_id: *broker_id,
            broker_epoch: *broker_epoch,
        };
        AlterPartitionRequestPartitionData {
            partition_index: 0,
            leader_epoch: 6,
            partition_epoch: 9,
            new_isr_with_epochs: isr.iter().map(member).collect(),
            ..Default::default()
        }
    }

    fn request(partitions: Vec<AlterPartitionRequestPartitionData>) -> AlterPartitionRequest {
        AlterPartitionRequest {
            broker_id: 1,
            broker_epoch: 10,
            topics: vec![AlterPartitionRequestTopicData {
                topic_id: TOPIC,
                partitions,
                ..Default::default()
            }],
        }
    }

    fn ask(
        image: &Image,
        request: &AlterPartitionRequest,
        min_isr: &str,
    ) -> Decision<AlterPartitionResponse> {
        let min_isr = ("min.insync.replicas".to_owned(), min_isr.to_owned());
        let settings = BrokerSettings::new([min_isr].into());
        let context = Context {
            now: 0,
            node_id: 1,
            settings: &settings,
            ids: &[],
            clamp_replication: false,
        };
        alter(image, request, &context)
    }

    fn one(answer: &AlterPartitionResponse) -> &AlterPartitionResponsePartitionData {
        &answer.topics[0].partitions[0]
    }

    #[test]
    fn an_isr_is_changed_and_the_partition_epoch_with_it() {
        for isr in [
            vec![(1, 10), (2, 20), (3, 30)],
            vec![(1, -1)],
            vec![(3, -1), (1, 10)],
        ] {
            let mut image = image();
            let asked = data(&isr);
            let Decision { records, answer } = ask(&image, &request(vec![asked.clone()]), "1");
            let told = one(&answer);
            assert_eq!(
                (told.error_code, told.leader_id, told.leader_epoch),
                (0, 1, 6)
            );
            assert_eq!((&told.isr, told.partition_epoch), (&members(&asked), 10));
            apply(&mut image, records);
            let partition = image.topics.by_name("t").unwrap().partition(0).unwrap();
            assert_eq!((&partition.isr, partition.partition_epoch), (&told.isr, 10));
            assert_eq!((partition.leader, partition.leader_epoch), (1, 6));
        }
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let asked = request(vec![data(&[(2, 20), (1, 10)])]);
        let Decision { records, answer } = ask(&image(), &asked, "1");
        assert!(records.is_empty());
        assert_eq!(
            (one(&answer).error_code, one(&answer).partition_epoch),
            (0, 9)
        );
    }

    #[test]
    fn refusals_come_in_the_order_of_kafka() {
        let image = image();
        let both = [(1, 10), (2, 20), (3, 30)];
        type Change = fn(&mut AlterPartitionRequestPartitionData);
        let cases: [(Change, ErrorCode); 13] = [
            (
                |data| data.partition_index = 1,
                ErrorCode::UnknownTopicOrPartition,
            ),
            (|data| data.leader_epoch = 7, ErrorCode::NotController),
            (
                |data| (data.leader_epoch, data.partition_epoch) = (5, 10),
                ErrorCode::NotController,
            ),
            (
                |data| (data.leader_epoch, data.partition_epoch) = (5, 8),
                ErrorCode::FencedLeaderEpoch,
            ),
            (
                |data| data.partition_epoch = 8,
                ErrorCode::InvalidUpdateVersion,
            ),
            (
                |data| data.new_isr_with_epochs[1].broker_id = 6,
                ErrorCode::InvalidRequest,
            ),
            (
                |data| data.new_isr_with_epochs[1].broker_id = 3,
                ErrorCode::InvalidRequest,
            ),
            (
                |data| {
                    data.new_isr_with_epochs.remove(0);
                },
                ErrorCode::InvalidRequest,
            ),
            (
                |data| data.new_isr_with_epochs.clear(),
                ErrorCode::InvalidRequest,
            ),
            (
                |data| data.leader_recovery_state = RECOVERING,
                ErrorCode::InvalidRequest,
            ),
            (
                |data| data.leader_recovery_state = 7,
                ErrorCode::InvalidRequest,
            ),
            (
                |data| data.new_isr_with_epochs[2].broker_epoch = 29,
                ErrorCode::IneligibleReplica,
            ),
            (
                |data| data.new_isr_with_epochs[2].broker_epoch = 31,
                ErrorCode::IneligibleReplica,
            ),
        ];
        for (place, (change, code)) in cases.into_iter().enumerate() {
            let mut asked = data(&both);
            change(&mut asked);
            let Decision { records, answer } = ask(&image, &request(vec![asked]), "1");
            assert!(records.is_empty(), "{place}");
            assert_eq!(one(&answer).error_code, code.code(), "{place}");
        }
        for member in [4, 5] {
            let asked = data(&[(1, 10), (member, -1)]);
            let Decision { answer, .. } = ask(&image, &request(vec![asked]), "1");
            assert_eq!(one(&answer).error_code, ErrorCode::IneligibleReplica.code());
        }
        // A broker that does not lead, and one with an old epoch of the leader.
        let mut foreign = request(vec![data(&[(1, 10)])]);
        (foreign.broker_id, foreign.broker_epoch) = (2, 20);
        let Decision { answer, .. } = ask(&image, &foreign, "1");
        assert_eq!(one(&answer).error_code, ErrorCode::InvalidRequest.code());
        foreign.broker_epoch = 19;
        let Decision { records, answer } = ask(&image, &foreign, "1");
        assert_eq!(
            (records.len(), answer.error_code),
            (0, ErrorCode::StaleBrokerEpoch.code())
        );
        let mut unknown = request(vec![data(&[(1, 10)])]);
        unknown.topics[0].topic_id = Uuid([4; 16]);
        let Decision { answer, .. } = ask(&image, &unknown, "1");
        assert_eq!(one(&answer).error_code, ErrorCode::UnknownTopicId.code());
    }

    #[test]
    fn a_partition_that_is_named_twice_is_decided_once() {
        let asked = request(vec![data(&[(1, 10)]), data(&[(1, 10), (3, 30)])]);
        let Decision { records, answer } = ask(&image(), &asked, "1");
        assert_eq!((records.len(), answer.topics[0].partitions.len()), (1, 1));
        assert_eq!(one(&answer).isr, [1]);
    }

    /// KIP-966.
    #[test]
    fn who_leaves_an_isr_that_is_too_small_stays_eligible() {
        let mut image = image();
        let elr = |image: &Image| {
            let partition = image.topics.by_name("t").unwrap().partition(0).unwrap();
            partition.elr.clone()
        };
        let Decision { records, .. } = ask(&image, &request(vec![data(&[(1, 10)])]), "2");
        apply(&mut image, records);
        assert_eq!(elr(&image), [2]);
        let mut back = data(&[(1, 10), (3, 30)]);
        back.partition_epoch = 10;
        let Decision { records, .. } = ask(&image, &request(vec![back]), "2");
        apply(&mut image, records);
        assert!(elr(&image).is_empty());
    }
}
