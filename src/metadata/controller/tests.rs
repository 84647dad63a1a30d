//! Decisions on small images, and the quorum of one node across restarts.

use std::collections::BTreeSet;

use super::brokers::{
    self, Activation, FoundReplicas, Registration, registration_records, unregister,
};
use super::request::{Asked, Request};
use super::{Context, Decision, settings, topics};
use crate::base::ids::Uuid;
use crate::config::broker::BrokerSettings;
use crate::metadata::bootstrap;
use crate::metadata::image::records::records_of;
use crate::metadata::image::{Delta, GROUP_RESOURCE, Image};
use crate::metadata::placement::{Assignment, Standing, assign_request, found};
use crate::metadata::quorum::Quorum;
use crate::metadata::quorum::tests::{Member, upkeep};
use crate::metadata::quorum::upkeep::Upkeep;
use crate::metadata::record::Record;
use crate::metadata::record::schema::{ConfigRecord, FeatureLevelRecord, PartitionChangeRecord};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::allocate_producer_ids::AllocateProducerIdsRequest;
use crate::wire::message::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasRequestEntryData, EntityData, OpData,
};
use crate::wire::message::alter_configs::AlterConfigsRequest;
use crate::wire::message::alter_partition_reassignments::AlterPartitionReassignmentsRequest;
use crate::wire::message::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialUpsertion,
};
use crate::wire::message::broker_heartbeat::BrokerHeartbeatRequest;
use crate::wire::message::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic};
use crate::wire::message::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
    CreateTopicsResponse,
};
use crate::wire::message::delete_topics::DeleteTopicsRequest;
use crate::wire::message::elect_leaders::ElectLeadersRequest;
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::message::unregister_broker::UnregisterBrokerRequest;
use crate::wire::message::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};

const NOW: i64 = 1_000;

fn apply(image: &mut Image, records: &[Record]) {
    for record in records {
        image.apply(record, image.offset + 1, &mut Delta::default());
    }
}

pub(super) fn registration() -> Registration {
    Registration {
        node_id: 1,
        incarnation: Uuid([9; 16]),
        endpoints: vec![("PLAINTEXT".to_owned(), "localhost".to_owned(), 9092, 0)],
        controller: ("CONTROLLER".to_owned(), "localhost".to_owned(), 9093),
        rack: None,
        log_dirs: vec![Uuid([7; 16])],
    }
}

/// Image of a cluster of only this node, as after a start.
fn cluster() -> Image {
    let mut image = Image::empty();
    apply(&mut image, &bootstrap::records(false));
    let next = image.offset + 1;
    let level = image.metadata_version();
    apply(
        &mut image,
        &registration_records(&registration(), next, level),
    );
    image
}

/// Nodes before 3.7 stop at the record of a controller. The broker's epoch is the offset of its own registration, wherever that
/// is.
#[test]
fn a_start_registers_what_the_level_of_the_metadata_has() {
    for (level, epoch) in [
        (7, 20),
        (14, 20),
        (15, 21),
        (bootstrap::METADATA_VERSION, 21),
    ] {
        let records = registration_records(&registration(), 20, level);
        let (at, broker) = (20..)
            .zip(&records)
            .find_map(|(at, record)| match record {
                Record::RegisterBroker(broker) => Some((at, broker)),
                _ => None,
            })
            .unwrap();
        assert_eq!((at, broker.broker_epoch), (epoch, epoch));
    }
}

fn context<'a>(settings: &'a BrokerSettings, ids: &'a [Uuid]) -> Context<'a> {
    Context {
        now: NOW,
        node_id: 1,
        settings,
        ids,
        clamp_replication: false,
    }
}

/// Decision about a CreateTopics request. The ids differ from those of topics in the image.
fn decided(image: &Image, request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
    let ids = [Uuid([99; 16]), Uuid([100 + image.offset as u8; 16])];
    topics::create(image, request, &context(&BrokerSettings::default(), &ids))
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

/// Creates one topic; returns its number of partitions or the error.
fn create(image: &mut Image, topic: CreatableTopic) -> Result<usize, ErrorCode> {
    let name = topic.name.clone();
    let request = CreateTopicsRequest {
        topics: vec![topic],
        ..Default::default()
    };
    let decision = decided(image, &request);
    apply(image, &decision.records);
    match ErrorCode::from_code(decision.answer.topics[0].error_code).unwrap() {
        ErrorCode::None => Ok(image.topics.by_name(&name).unwrap().partitions.len()),
        error => Err(error),
    }
}

#[test]
fn each_mistake_of_a_new_topic_has_kafkas_error() {
    let mut image = cluster();
    assert_eq!(create(&mut image, topic("a.b", 3, 1)), Ok(3));
    assert_eq!(create(&mut image, topic("defaults", -1, -1)), Ok(1));
    let mut refused = |topic| create(&mut image, topic).unwrap_err();
    assert_eq!(refused(topic("a.b", 1, 1)), ErrorCode::TopicAlreadyExists);
    assert_eq!(
        refused(topic("a_b", 1, 1)),
        ErrorCode::InvalidTopicException
    );
    assert_eq!(refused(topic("", 1, 1)), ErrorCode::InvalidTopicException);
    assert_eq!(refused(topic("..", 1, 1)), ErrorCode::InvalidTopicException);
    assert_eq!(
        refused(topic("x y", 1, 1)),
        ErrorCode::InvalidTopicException
    );
    assert_eq!(
        refused(topic(&"x".repeat(250), 1, 1)),
        ErrorCode::InvalidTopicException
    );
    assert_eq!(refused(topic("t", 0, 1)), ErrorCode::InvalidPartitions);
    assert_eq!(
        refused(topic("t", 1, 0)),
        ErrorCode::InvalidReplicationFactor
    );
    assert_eq!(
        refused(topic("t", 1, 2)),
        ErrorCode::InvalidReplicationFactor
    );
    assert_eq!(refused(topic("t", 10_001, 1)), ErrorCode::PolicyViolation);
    let with = |name: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: name.into(),
            value: value.map(Into::into),
        }],
        ..topic("t", 1, 1)
    };
    assert_eq!(
        refused(with("retention.ms", Some("abc"))),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        refused(with("no.such.setting", Some("1"))),
        ErrorCode::InvalidConfig
    );
    assert_eq!(
        refused(with("retention.ms", None)),
        ErrorCode::InvalidConfig
    );
    let assigned = |partition: i32, brokers: &[i32], count: i32| CreatableTopic {
        assignments: vec![CreatableReplicaAssignment {
            partition_index: partition,
            broker_ids: brokers.to_vec(),
        }],
        ..topic("t", count, -1)
    };
    assert_eq!(refused(assigned(0, &[1], 1)), ErrorCode::InvalidRequest);
    assert_eq!(
        refused(assigned(1, &[1], -1)),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(
        refused(assigned(0, &[1, 1], -1)),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(
        refused(assigned(0, &[5], -1)),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(
        refused(assigned(0, &[], -1)),
        ErrorCode::InvalidReplicaAssignment
    );
    assert_eq!(create(&mut image, assigned(0, &[1], -1)), Ok(1));
}

/// Metric names do not distinguish `.` from `_`. The lookup for many names differs from that for one.
#[test]
fn names_collide_however_many_a_request_has() {
    let mut image = cluster();
    create(&mut image, topic("a.b_c", 1, 1)).unwrap();
    let settings = BrokerSettings::default();
    for more in [0, 50] {
        let names = ["a_b.c", "a.b.c", "a_b_c", "a-b-c", "a.b_d", "abc"];
        let names = names.map(str::to_owned).into_iter();
        let others = (0..more).map(|number| format!("x_{number}"));
        let request = CreateTopicsRequest {
            topics: names.chain(others).map(|name| topic(&name, 1, 1)).collect(),
            validate_only: true,
            ..Default::default()
        };
        let ids: Vec<_> = (0..100).map(|id| Uuid([id; 16])).collect();
        let answer = topics::create(&image, &request, &context(&settings, &ids)).answer;
        let codes: Vec<_> = answer.topics.iter().map(|one| one.error_code).collect();
        let collides = ErrorCode::InvalidTopicException.code();
        assert_eq!(codes[..6], [collides, collides, collides, 0, 0, 0]);
        assert!(codes[6..].iter().all(|code| *code == 0), "{codes:?}");
    }
}

/// The records of one request are one batch, and nothing else is decided until it is written.
#[test]
fn a_request_changes_ten_thousand_things_at_most_and_none_if_it_wants_more() {
    let mut image = cluster();
    let names = ["a", "b", "c"];
    for name in names {
        create(&mut image, topic(name, 1, 1)).unwrap();
    }
    let settings = BrokerSettings::default();
    let grown = |count| {
        let topics = names.map(|name| CreatePartitionsTopic {
            name: name.into(),
            count,
            ..Default::default()
        });
        let request = CreatePartitionsRequest {
            topics: topics.into(),
            ..Default::default()
        };
        let decision = topics::create_partitions(&image, &request, &context(&settings, &[]));
        let results = decision.answer.results.iter();
        let codes: Vec<_> = results.map(|one| one.error_code).collect();
        (decision.records.len(), codes)
    };
    let refused = ErrorCode::PolicyViolation.code();
    assert_eq!(grown(3_001), (9_000, vec![0; 3]));
    assert_eq!(grown(4_001), (0, vec![refused; 3]));

    let set = |resources: Vec<AlterConfigsResource>| {
        let request = IncrementalAlterConfigsRequest {
            resources,
            ..Default::default()
        };
        let context = context(&settings, &[]);
        let decision = settings::incremental_alter(&image, &request, &context);
        let responses = decision.answer.responses.iter();
        let codes: BTreeSet<_> = responses.map(|one| one.error_code).collect();
        (decision.records.len(), codes)
    };
    let resource = |kind, resource_name: String, name: &'static str, value: String| {
        let config = AlterableConfig {
            name: name.into(),
            config_operation: 0,
            value: Some(value.into()),
        };
        AlterConfigsResource {
            resource_type: kind,
            resource_name: resource_name.into(),
            configs: vec![config],
        }
    };
    let group = |number| {
        let (name, value) = ("consumer.session.timeout.ms", "50000");
        resource(GROUP_RESOURCE, format!("g{number}"), name, value.to_owned())
    };
    let fits = (10_000, BTreeSet::from([0]));
    assert_eq!(set((0..10_000).map(group).collect()), fits);
    let too_much = (0, BTreeSet::from([refused]));
    assert_eq!(set((0..10_001).map(group).collect()), too_much);
    // Each name is long, so that a few names have many bytes.
    let long = |number| {
        let (name, value) = ("consumer.session.timeout.ms", "50000".to_owned());
        let group = format!("{number}-{}", "g".repeat(30_000));
        resource(GROUP_RESOURCE, group, name, value)
    };
    assert_eq!(set((0..200).map(long).collect()).0, 200);
    assert_eq!(set((0..300).map(long).collect()), too_much);
}

#[test]
fn two_entries_of_one_name_fail_together_and_validation_changes_nothing() {
    let image = cluster();
    let twice = CreateTopicsRequest {
        topics: vec![topic("t", 1, 1), topic("t", 1, 1)],
        ..Default::default()
    };
    let decision = decided(&image, &twice);
    let codes: Vec<_> = decision
        .answer
        .topics
        .iter()
        .map(|topic| topic.error_code)
        .collect();
    assert_eq!(
        (codes, decision.records.len()),
        (vec![ErrorCode::InvalidRequest.code()], 0)
    );
    let checked = CreateTopicsRequest {
        topics: vec![topic("t", 4, 1)],
        validate_only: true,
        ..Default::default()
    };
    let decision = decided(&image, &checked);
    assert_eq!(
        (
            decision.answer.topics[0].num_partitions,
            decision.records.len()
        ),
        (4, 0)
    );
}

#[test]
fn a_feature_is_raised_by_an_upgrade_and_lowered_by_a_downgrade() {
    let (upgrade, safe, unsafe_) = (1, 2, 3);
    let mut image = cluster();
    for (level, kind, done) in [
        (1, upgrade, false),
        (2, safe, true),
        (1, safe, true),
        (2, safe, false),
        (2, unsafe_, false),
        (2, 4, false),
        (2, upgrade, true),
        (0, unsafe_, true),
        (3, upgrade, false),
    ] {
        let request = UpdateFeaturesRequest {
            feature_updates: vec![FeatureUpdateKey {
                feature: "transaction.version".into(),
                max_version_level: level,
                upgrade_type: kind,
                ..Default::default()
            }],
            ..Default::default()
        };
        let decision = settings::update_features(&image, &request, 1);
        apply(&mut image, &decision.records);
        let error = ErrorCode::from_code(decision.answer.error_code).unwrap();
        let expected = match done {
            true => ErrorCode::None,
            false => ErrorCode::InvalidUpdateVersion,
        };
        assert_eq!(error, expected, "to {level} by {kind}");
        assert!(!done || image.feature("transaction.version") == level);
    }
}

#[test]
fn a_downgrade_that_loses_metadata_is_refused() {
    let with = |metadata_version: i16| {
        let mut image = cluster();
        let record = FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: metadata_version,
        };
        apply(&mut image, &[record.into()]);
        image
    };
    let (upgrade, safe, unsafe_) = (1, 2, 3);
    let elr = "eligible.leader.replicas.version";
    for (from, feature, to, kind, done) in [
        (33, "metadata.version", 32, safe, false),
        (33, "metadata.version", 30, unsafe_, false),
        (33, "metadata.version", 7, unsafe_, false),
        (31, "metadata.version", 30, safe, true),
        (31, "metadata.version", 30, upgrade, false),
        (29, "metadata.version", 25, unsafe_, true),
        (30, "metadata.version", 33, upgrade, true),
        (25, elr, 1, upgrade, true),
        (22, elr, 1, upgrade, false),
        (22, elr, 0, safe, true),
    ] {
        let request = UpdateFeaturesRequest {
            feature_updates: vec![FeatureUpdateKey {
                feature: feature.into(),
                max_version_level: to,
                upgrade_type: kind,
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = settings::update_features(&with(from), &request, 1).answer;
        assert_eq!(
            answer.error_code == 0,
            done,
            "{feature} to {to} by {kind} at {from}: {:?}",
            answer.error_message
        );
    }
}

#[test]
fn a_feature_that_clients_are_not_told_of_is_unknown_to_updates() {
    let image = cluster();
    assert_eq!(image.feature("group.version"), 1);
    for (feature, level, kind) in [("streams.version", 1, 1), ("no.such", 1, 1)] {
        let request = UpdateFeaturesRequest {
            feature_updates: vec![FeatureUpdateKey {
                feature: feature.into(),
                max_version_level: level,
                upgrade_type: kind,
                ..Default::default()
            }],
            validate_only: true,
            ..Default::default()
        };
        let answer = settings::update_features(&image, &request, 1).answer;
        assert_eq!(
            answer.error_code,
            ErrorCode::InvalidUpdateVersion.code(),
            "{feature}"
        );
        let why = answer.error_message.unwrap();
        assert!(why.ends_with("does not support this feature."), "{why}");
    }
}

/// Records of a start of a node whose replicas are in this state.
fn stands(image: &Image, node_id: i32, standing: impl Fn(i32) -> Standing) -> Vec<Record> {
    let topics = found(image, node_id, |_, index, _| standing(index));
    brokers::found(image, &FoundReplicas { node_id, topics }).records
}

fn heartbeat(image: &Image) -> BrokerHeartbeatRequest {
    BrokerHeartbeatRequest {
        broker_id: 1,
        broker_epoch: image.brokers[&1].epoch,
        ..Default::default()
    }
}

/// Records of a stop.
fn fence(image: &Image) -> Vec<Record> {
    let request = BrokerHeartbeatRequest {
        want_fence: true,
        want_shut_down: true,
        ..heartbeat(image)
    };
    let Decision { records, answer } = brokers::heartbeat(image, &request);
    assert_eq!((answer.error_code, answer.is_fenced), (0, true));
    records
}

#[test]
fn a_node_takes_back_partitions_that_were_fenced_with_it() {
    let mut image = cluster();
    create(&mut image, topic("kept", 1, 1)).unwrap();
    create(&mut image, topic("emptied", 1, 1)).unwrap();
    let stopped = fence(&image);
    apply(&mut image, &stopped);
    assert_eq!(image.live_brokers().count(), 0);
    // Apache Kafka with eligible leader replicas leaves the ISR empty.
    let id = image.topics.by_name("emptied").unwrap().id;
    let change = PartitionChangeRecord {
        partition_id: 0,
        topic_id: id,
        leader: -1,
        isr: Some(Vec::new()),
        eligible_leader_replicas: Some(vec![1]),
        ..Default::default()
    };
    apply(&mut image, &[change.into()]);
    let taken = stands(&image, 1, |_| Standing::Absent);
    assert_eq!(taken.len(), 2);
    apply(&mut image, &taken);
    for topic in image.topics.iter() {
        let partition = &topic.partitions[0];
        assert_eq!(
            (partition.leader, partition.isr.as_slice()),
            (1, [1].as_slice()),
            "{}",
            topic.name
        );
        assert!(partition.elr.is_empty());
    }
    // Partitions of other nodes do not change.
    assert_eq!(stands(&image, 2, |_| Standing::Absent).len(), 0);
}

#[test]
fn replicas_that_are_not_here_leave_the_isr() {
    let mut image = cluster();
    create(&mut image, topic("t", 2, 1)).unwrap();
    let topic_id = image.topics.by_name("t").unwrap().id;
    let change = |partition_id, leader| PartitionChangeRecord {
        partition_id,
        topic_id,
        leader,
        replicas: Some(vec![1, 2, 3]),
        isr: Some(vec![1, 2]),
        directories: Some(vec![image.brokers[&1].log_dirs[0]; 3]),
        ..Default::default()
    };
    let changes = [change(0, 1).into(), change(1, 2).into()];
    let directory = image.brokers[&1].log_dirs[0];
    apply(&mut image, &changes);
    let records = stands(&image, 1, |_| Standing::In(directory));
    apply(&mut image, &records);
    for partition in image.topics.by_name("t").unwrap().partitions.iter() {
        assert_eq!((partition.leader, &partition.isr[..]), (1, &[1][..]));
        assert_eq!(partition.replicas, [1, 2, 3]);
    }
    assert!(stands(&image, 1, |_| Standing::In(directory)).is_empty());
}

/// Apache Kafka raises leader epochs at every stop and start. Here they change only if records may be lost.
#[test]
fn who_may_have_lost_the_end_of_a_log_leads_in_a_new_epoch() {
    let mut image = cluster();
    create(&mut image, topic("t", 4, 1)).unwrap();
    let directory = image.brokers[&1].log_dirs[0];
    let records = stands(&image, 1, |index| match index {
        0 => Standing::In(directory),
        1 => Standing::Recovered(directory),
        2 => Standing::Absent,
        _ => Standing::Unreachable,
    });
    apply(&mut image, &records);
    let topic = image.topics.by_name("t").unwrap();
    let led: Vec<_> = topic
        .partitions
        .iter()
        .map(|p| (p.leader, p.leader_epoch))
        .collect();
    assert_eq!(led, [(1, 0), (1, 1), (1, 1), (-1, 1)]);
}

#[test]
fn a_snapshot_says_what_the_image_says() {
    let mut image = cluster();
    for name in ["t", "u", "v"] {
        create(&mut image, topic(name, 2, 1)).unwrap();
    }
    let own = ConfigRecord {
        resource_type: 2,
        resource_name: "u".into(),
        name: "retention.ms".into(),
        value: Some("5".into()),
    };
    apply(&mut image, &[own.into()]);
    let mut again = Image::empty();
    apply(&mut again, &records_of(&image));
    (again.offset, again.features_epoch) = (image.offset, image.features_epoch);
    assert_eq!(again, image);
}

#[test]
fn the_metadata_log_is_the_truth_after_stops_crashes_and_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::open(dir.path(), true, upkeep()).unwrap();
    let mut expected = cluster();
    member.commit(&records_of(&expected));
    for (round, name) in ["a", "b", "c", "d"].iter().enumerate() {
        drop(member);
        let clean = round % 2 == 0;
        member = Member::open(dir.path(), clean, upkeep()).unwrap();
        let loaded = member.image();
        assert_eq!(member.quorum.leadership().epoch, round as i32 + 2);
        assert_eq!(loaded.topics, expected.topics);
        assert_eq!(
            (&loaded.configs, &loaded.brokers),
            (&expected.configs, &expected.brokers)
        );
        let before = expected.clone();
        create(&mut expected, topic(name, 2, 1)).unwrap();
        let request = CreateTopicsRequest {
            topics: vec![topic(name, 2, 1)],
            ..Default::default()
        };
        member.commit(&decided(&before, &request).records);
        if round == 1 {
            member.snapshot();
        }
    }
}

#[test]
fn snapshots_take_the_place_of_records_that_nobody_needs() {
    let dir = tempfile::tempdir().unwrap();
    let upkeep = Upkeep {
        snapshot_bytes: 1,
        segment_bytes: 1_000,
        retention_bytes: 0,
        ..upkeep()
    };
    let mut member = Member::open(dir.path(), true, upkeep).unwrap();
    let mut image = cluster();
    member.commit(&records_of(&image));
    for name in ["a", "b", "c", "d", "e", "f"] {
        let request = CreateTopicsRequest {
            topics: vec![topic(name, 9, 1)],
            ..Default::default()
        };
        let records = decided(&image, &request).records;
        member.commit(&records);
        apply(&mut image, &records);
        assert_eq!(member.quorum.snapshot_wait(NOW), Some(0));
        member.snapshot();
        assert_eq!(member.quorum.snapshot_wait(NOW), None);
    }
    let names = |suffix: &str| {
        std::fs::read_dir(dir.path().join("__cluster_metadata-0"))
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_str().unwrap().ends_with(suffix)
            })
            .count()
    };
    assert_eq!((names(".checkpoint"), names(".deleted")), (1, 0));
    assert!(names(".log") <= 2, "{} segments are left", names(".log"));
    drop(member);
    let member = Member::open(dir.path(), false, upkeep).unwrap();
    assert_eq!(member.image().topics, image.topics);
}

#[test]
fn a_broker_that_is_gone_is_forgotten_and_the_one_that_runs_is_not() {
    let mut image = cluster();
    let other = Registration {
        node_id: 2,
        ..registration()
    };
    let next = image.offset + 1;
    apply(&mut image, &registration_records(&other, next, 7));
    for (id, expected) in [(1, 42), (2, 0), (2, 102), (9, 102)] {
        let decision = unregister(&image, id, 1);
        assert_eq!(decision.answer.error_code, expected, "{id}");
        apply(&mut image, &decision.records);
    }
    assert_eq!(image.brokers.keys().copied().collect::<Vec<_>>(), [1]);
}

/// Changes of the metadata after a directory's failure and a move; requests of a broker with another id or epoch change
/// nothing.
#[test]
fn a_broker_tells_where_its_replicas_are() {
    let mut image = cluster();
    create(&mut image, topic("t", 2, 1)).unwrap();
    let id = image.topics.by_name("t").unwrap().id;
    let (other, epoch) = (Uuid([8; 16]), image.brokers[&1].epoch);
    let at = |topic_id: Uuid, partition: i32| Assignment {
        topic_id,
        partition,
        directory: other,
    };
    let all = [at(id, 1), at(id, 2), at(Uuid([77; 16]), 0)];
    for (broker, epoch, code) in [(1, epoch + 1, 77), (2, epoch, 102)] {
        let decision = brokers::assign(&image, &assign_request(broker, epoch, &all));
        assert_eq!(
            (decision.answer.error_code, decision.records.len()),
            (code, 0)
        );
        let stale = BrokerHeartbeatRequest {
            broker_id: broker,
            broker_epoch: epoch,
            want_fence: true,
            ..Default::default()
        };
        let decision = brokers::heartbeat(&image, &stale);
        assert_eq!(
            (decision.answer.error_code, decision.records.len()),
            (code, 0)
        );
        let ids = AllocateProducerIdsRequest {
            broker_id: broker,
            broker_epoch: epoch,
        };
        let decision = brokers::allocate_producer_ids(&image, &ids);
        assert_eq!(
            (decision.answer.error_code, decision.records.len()),
            (code, 0)
        );
    }
    let request = assign_request(1, epoch, &all);
    let Decision { records, answer } = brokers::assign(&image, &request);
    let codes = answer.directories.iter().flat_map(|directory| {
        let topics = directory.topics.iter();
        topics.flat_map(|topic| topic.partitions.iter().map(|one| one.error_code))
    });
    // The codes are in the order of topic ids, so they are sorted.
    let mut codes: Vec<_> = codes.collect();
    codes.sort_unstable();
    assert_eq!((codes, records.len()), (vec![0, 3, 100], 1));
    apply(&mut image, &records);
    // Assignments that the metadata already have make no records.
    assert_eq!(brokers::assign(&image, &request).records.len(), 0);

    let own = image.brokers[&1].log_dirs[0];
    let failed = BrokerHeartbeatRequest {
        offline_log_dirs: vec![own],
        ..heartbeat(&image)
    };
    let led = |image: &Image| -> Vec<_> {
        let partitions = image.topics.by_id(id).unwrap().partitions.iter();
        partitions.map(|one| one.leader).collect()
    };
    // The only directory of a registration stays in it, because a registration needs at least one.
    let place = image.topics.by_id(id).unwrap().partitions[0].directory_of(1);
    assert_eq!(place, own);
    let records = brokers::heartbeat(&image, &failed).records;
    apply(&mut image, &records);
    assert_eq!(led(&image), [-1, 1]);
}

/// One request of each kind, in an order that a cluster may see.
fn journal() -> Vec<Request> {
    let topic_partitions = CreatePartitionsTopic {
        name: "t".into(),
        count: 3,
        ..Default::default()
    };
    let quota = AlterClientQuotasRequestEntryData {
        entity: vec![EntityData {
            entity_type: "user".into(),
            entity_name: None,
        }],
        ops: vec![OpData {
            key: "producer_byte_rate".into(),
            value: 1_000.0,
            remove: false,
        }],
    };
    let user = ScramCredentialUpsertion {
        name: "u".into(),
        mechanism: 1,
        iterations: 4_096,
        salt: "salt".into(),
        salted_password: "password".into(),
    };
    let setting = AlterConfigsResource {
        resource_type: 2,
        resource_name: "t".into(),
        configs: vec![AlterableConfig {
            name: "retention.ms".into(),
            config_operation: 0,
            value: Some("5".into()),
        }],
    };
    let feature = FeatureUpdateKey {
        feature: "transaction.version".into(),
        max_version_level: 1,
        upgrade_type: 2,
        ..Default::default()
    };
    let moved = Assignment {
        topic_id: Uuid([2; 16]),
        partition: 0,
        directory: Uuid([8; 16]),
    };
    vec![
        Activation {
            records: bootstrap::records(false),
        }
        .into(),
        registration().into(),
        CreateTopicsRequest {
            topics: vec![topic("t", 2, 1), topic("u", 1, 1), topic("t u", 1, 1)],
            ..Default::default()
        }
        .into(),
        FoundReplicas {
            node_id: 1,
            topics: vec![],
        }
        .into(),
        assign_request(1, EPOCH, &[moved]).into(),
        AllocateProducerIdsRequest {
            broker_id: 1,
            broker_epoch: EPOCH,
        }
        .into(),
        CreatePartitionsRequest {
            topics: vec![topic_partitions],
            ..Default::default()
        }
        .into(),
        IncrementalAlterConfigsRequest {
            resources: vec![setting],
            ..Default::default()
        }
        .into(),
        AlterConfigsRequest::default().into(),
        AlterClientQuotasRequest {
            entries: vec![quota],
            ..Default::default()
        }
        .into(),
        AlterUserScramCredentialsRequest {
            upsertions: vec![user],
            ..Default::default()
        }
        .into(),
        UpdateFeaturesRequest {
            feature_updates: vec![feature],
            ..Default::default()
        }
        .into(),
        AlterPartitionReassignmentsRequest::default().into(),
        ElectLeadersRequest::default().into(),
        UnregisterBrokerRequest { broker_id: 9 }.into(),
        DeleteTopicsRequest {
            topic_names: vec!["u".into()],
            ..Default::default()
        }
        .into(),
        BrokerHeartbeatRequest {
            broker_id: 1,
            broker_epoch: EPOCH,
            want_fence: true,
            ..Default::default()
        }
        .into(),
    ]
}

/// Epoch of the broker in the journal: the offset of its registration.
const EPOCH: i64 = 8;

/// First word of a value's `Debug` text.
fn word(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let is_name = |letter: &char| letter.is_alphanumeric();
    text.chars().take_while(is_name).collect()
}

/// The same requests give the same records and answers on every node and at any time.
#[test]
fn a_journal_of_requests_gives_the_same_records_again() {
    let asked = |(index, request): (usize, Request)| Asked {
        ids: (0..request.ids_max())
            .map(|id| Uuid([id as u8 + 1; 16]))
            .collect(),
        request,
        now: NOW + index as i64,
    };
    let asked: Vec<Asked> = journal().into_iter().enumerate().map(asked).collect();
    let told = |asked: &[Asked]| {
        let mut image = Image::empty();
        let mut told = Vec::new();
        for Asked { request, now, ids } in asked {
            let settings = BrokerSettings::default();
            let context = Context {
                now: *now,
                ..context(&settings, ids)
            };
            let decision = request.decide(&image, &context);
            apply(&mut image, &decision.records);
            told.push(decision);
        }
        (told, image)
    };
    let (decisions, image) = told(&asked);
    let kinds = asked.iter().zip(&decisions).map(|(asked, decision)| {
        let records: Vec<_> = decision.records.iter().map(word).collect();
        format!("{}: {}", word(&asked.request), records.join(" "))
    });
    let expected = [
        "Activate: FeatureLevel FeatureLevel FeatureLevel FeatureLevel FeatureLevel FeatureLevel Config",
        "Register: RegisterController RegisterBroker BrokerRegistrationChange",
        "CreateTopics: Topic Partition Partition Topic Partition",
        "FoundReplicas: ",
        "AssignReplicasToDirs: PartitionChange",
        "AllocateProducerIds: ProducerIds",
        "CreatePartitions: Partition",
        "IncrementalAlterConfigs: Config",
        "AlterConfigs: ",
        "AlterClientQuotas: ClientQuota",
        "AlterUserScramCredentials: UserScramCredential",
        "UpdateFeatures: FeatureLevel",
        "AlterPartitionReassignments: ",
        "ElectLeaders: ",
        "UnregisterBroker: ",
        "DeleteTopics: RemoveTopic",
        "BrokerHeartbeat: BrokerRegistrationChange",
    ];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);
    assert_eq!(image.brokers[&1].epoch, EPOCH);
    let copy: Vec<Asked> = asked.clone();
    assert_eq!(told(&copy), (decisions, image));
}
