//! Records of every kind are applied to an image, written to a snapshot on disk and read back byte for byte.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::records::records_of;
use super::{Delta, Image};
use crate::base::ids::Uuid;
use crate::metadata::bootstrap::METADATA_VERSION;
use crate::metadata::quorum::Quorum;
use crate::metadata::quorum::tests::{Member, upkeep};
use crate::metadata::record::Record;
use crate::metadata::record::schema::*;
use crate::wire::codec::Layout;
use crate::wire::message::arbitrary::{Arbitrary, Dice};

const TOPIC: Uuid = Uuid([3; 16]);

/// One record of each kind that adds or sets something, with every field set.
fn full() -> Vec<Record> {
    let feature = |name: &str, level| FeatureLevelRecord {
        name: name.into(),
        feature_level: level,
    };
    let broker_feature = BrokerFeature {
        name: "metadata.version".into(),
        min_supported_version: 7,
        max_supported_version: METADATA_VERSION,
    };
    let entity = |kind: &str, name: Option<&str>| ClientQuotaEntityData {
        entity_type: kind.into(),
        entity_name: name.map(Into::into),
    };
    vec![
        feature("metadata.version", METADATA_VERSION).into(),
        feature("group.version", 1).into(),
        RegisterBrokerRecord {
            broker_id: 4,
            is_migrating_zk_broker: true,
            incarnation_id: Uuid([1; 16]),
            broker_epoch: 77,
            end_points: vec![BrokerEndpoint {
                name: "SASL".into(),
                host: "a.example".into(),
                port: 9_092,
                security_protocol: 3,
            }],
            features: vec![broker_feature],
            rack: Some("r".into()),
            fenced: false,
            in_controlled_shutdown: true,
            log_dirs: vec![Uuid([5; 16]), Uuid([6; 16])],
            cordoned_log_dirs: Some(vec![Uuid([6; 16])]),
        }
        .into(),
        RegisterControllerRecord {
            controller_id: 5,
            incarnation_id: Uuid([2; 16]),
            zk_migration_ready: true,
            end_points: vec![ControllerEndpoint {
                name: "CONTROLLER".into(),
                host: "b.example".into(),
                port: 9_093,
                security_protocol: 1,
            }],
            features: vec![ControllerFeature {
                name: "metadata.version".into(),
                min_supported_version: 7,
                max_supported_version: METADATA_VERSION,
            }],
        }
        .into(),
        TopicRecord {
            name: "t".into(),
            topic_id: TOPIC,
        }
        .into(),
        partition(0).into(),
        partition(1).into(),
        ConfigRecord {
            resource_type: 2,
            resource_name: "t".into(),
            name: "retention.ms".into(),
            value: Some("5".into()),
        }
        .into(),
        ClientQuotaRecord {
            entity: vec![entity("client-id", None), entity("user", Some("u"))],
            key: "producer_byte_rate".into(),
            value: 1.5,
            remove: false,
        }
        .into(),
        ProducerIdsRecord {
            broker_id: -1,
            broker_epoch: -1,
            next_producer_id: 9_000,
        }
        .into(),
        acl(1).into(),
        UserScramCredentialRecord {
            name: "u".into(),
            mechanism: 2,
            salt: Bytes::from_static(b"salt"),
            stored_key: Bytes::from_static(b"stored"),
            server_key: Bytes::from_static(b"server"),
            iterations: 4_096,
        }
        .into(),
        DelegationTokenRecord {
            owner: "User:o".into(),
            requester: "User:q".into(),
            renewers: vec!["User:r".into(), "User:s".into()],
            issue_timestamp: 1,
            max_timestamp: 3,
            expiration_timestamp: 2,
            token_id: "token".into(),
        }
        .into(),
    ]
}

fn partition(index: i32) -> PartitionRecord {
    PartitionRecord {
        partition_id: index,
        topic_id: TOPIC,
        replicas: vec![4, 8, 9],
        isr: vec![4],
        removing_replicas: vec![8],
        adding_replicas: vec![9],
        leader: 4,
        leader_recovery_state: 1,
        leader_epoch: 11,
        partition_epoch: 12,
        directories: vec![Uuid([5; 16]), Uuid([7; 16]), Uuid([8; 16])],
        eligible_leader_replicas: Some(vec![8]),
        last_known_elr: Some(vec![9]),
    }
}

fn acl(id: u8) -> AccessControlEntryRecord {
    AccessControlEntryRecord {
        id: Uuid([id; 16]),
        resource_type: 2,
        resource_name: "t".into(),
        pattern_type: 4,
        principal: "User:u".into(),
        host: "*".into(),
        operation: 3,
        permission_type: 2,
    }
}

/// Records that undo those of [`full`], in an order in which they can be applied.
fn removals() -> Vec<Record> {
    let gone = |name: &str| FeatureLevelRecord {
        name: name.into(),
        feature_level: 0,
    };
    let quota = full().into_iter().find_map(|record| match record {
        Record::ClientQuota(quota) => Some(ClientQuotaRecord {
            remove: true,
            ..quota
        }),
        _ => None,
    });
    vec![
        RemoveDelegationTokenRecord {
            token_id: "token".into(),
        }
        .into(),
        RemoveUserScramCredentialRecord {
            name: "u".into(),
            mechanism: 2,
        }
        .into(),
        RemoveAccessControlEntryRecord { id: Uuid([1; 16]) }.into(),
        quota.unwrap().into(),
        RemoveTopicRecord { topic_id: TOPIC }.into(),
        UnregisterControllerRecord { controller_id: 5 }.into(),
        UnregisterBrokerRecord {
            broker_id: 4,
            broker_epoch: 77,
        }
        .into(),
        gone("group.version").into(),
        gone("metadata.version").into(),
    ]
}

fn encoded(records: &[Record]) -> Vec<Bytes> {
    let encode = |record: &Record| record.encode(METADATA_VERSION).unwrap();
    let mut all: Vec<_> = records.iter().map(encode).collect();
    all.sort();
    all
}

fn fold(image: &mut Image, records: &[Record]) -> Delta {
    let mut delta = Delta::default();
    for record in records {
        image.apply(record, image.offset + 1, &mut delta);
    }
    delta
}

/// The image that a start reads from a snapshot of these records.
fn through_a_snapshot(records: &[Record]) -> Image {
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::open(dir.path(), true, upkeep()).unwrap();
    member.commit(records);
    member.snapshot();
    member.quorum.close().unwrap();
    drop(member);
    let log = dir.path().join("__cluster_metadata-0");
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "checkpoint") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let member = Member::open(dir.path(), true, upkeep()).unwrap();
    member.image().clone()
}

#[test]
fn records_of_every_kind_come_out_of_a_snapshot_as_they_went_in() {
    let loaded = through_a_snapshot(&full());
    assert_eq!(encoded(&records_of(&loaded)), encoded(&full()));
}

/// Unknown numbers, empty names and long keys: data used for authorization is never changed by a snapshot.
#[test]
fn entries_users_and_tokens_of_any_content_come_out_of_a_snapshot() {
    let layout = Layout::new(0, true);
    let mut known = BTreeSet::new();
    let mut records = full();
    for seed in 0..200 {
        let mut dice = Dice::new(seed);
        let acl = AccessControlEntryRecord::arbitrary(&mut dice, layout);
        if known.insert(format!("acl {}", acl.id)) {
            records.push(acl.into());
        }
        let user = UserScramCredentialRecord::arbitrary(&mut dice, layout);
        if known.insert(format!("user {} {}", user.name, user.mechanism)) {
            records.push(user.into());
        }
        let token = DelegationTokenRecord::arbitrary(&mut dice, layout);
        if known.insert(format!("token {}", token.token_id)) {
            records.push(token.into());
        }
    }
    assert!(records.len() > 300, "{}", records.len());
    let loaded = through_a_snapshot(&records);
    assert_eq!(encoded(&records_of(&loaded)), encoded(&records));
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    let mut image = Image::empty();
    fold(&mut image, &full());
    let delta = fold(&mut image, &removals());
    assert_eq!(
        (delta.acls, delta.scram, delta.tokens, delta.quotas),
        (true, true, true, true)
    );
    assert_eq!(delta.removed_topics.len(), 1);
    let left = records_of(&image);
    // Producer ids are never reused.
    assert!(
        matches!(left.as_slice(), [Record::ProducerIds(_)]),
        "{left:?}"
    );
    let ids = ProducerIdsRecord {
        next_producer_id: 9_000,
        ..Default::default()
    };
    let mut empty = Image::empty();
    fold(&mut empty, &[ids.into()]);
    (empty.offset, empty.features_epoch) = (image.offset, image.features_epoch);
    assert_eq!(image, empty);
}

/// A change of a broker's registration keeps the fields that it does not name.
#[test]
fn a_change_of_a_registration_leaves_the_rest() {
    let mut image = Image::empty();
    fold(&mut image, &full());
    let change = BrokerRegistrationChangeRecord {
        broker_id: 4,
        broker_epoch: 77,
        fenced: 1,
        cordoned_log_dirs: Some(Vec::new()),
        ..Default::default()
    };
    let mut expected = (*image.brokers[&4]).clone();
    let delta = fold(&mut image, &[change.into()]);
    assert!(delta.brokers.contains(&4));
    (expected.fenced, expected.cordoned_log_dirs) = (true, Some(Vec::new()));
    assert_eq!(*image.brokers[&4], expected);
}

/// The record that turns eligible leader replicas off, for one topic or for all (KIP-966).
#[test]
fn eligible_leaders_are_cleared_by_their_record() {
    for (name, cleared) in [("t", true), ("", true), ("u", false)] {
        let mut image = Image::empty();
        fold(&mut image, &full());
        let clear = ClearElrRecord {
            topic_name: name.into(),
        };
        let delta = fold(&mut image, &[clear.into()]);
        assert_eq!(delta.topics.contains(&TOPIC), cleared, "{name}");
        for partition in &image.topics.by_id(TOPIC).unwrap().partitions {
            let left = (partition.elr.len(), partition.last_known_elr.len());
            assert_eq!(left == (0, 0), cleared, "{name}");
            assert_eq!(partition.partition_epoch == 13, cleared, "{name}");
        }
    }
}

/// A follower of a topic with thousands of partitions has to look only at those that changed.
#[test]
fn a_delta_names_the_partitions_that_changed() {
    let mut image = Image::empty();
    let delta = fold(&mut image, &full());
    assert_eq!(delta.partitions_of(TOPIC).collect::<Vec<_>>(), [0, 1]);
    let change = |partition_id: i32, topic_id: Uuid| {
        let change = PartitionChangeRecord {
            partition_id,
            topic_id,
            isr: Some(vec![4, 8]),
            ..Default::default()
        };
        Record::from(change)
    };
    let delta = fold(
        &mut image,
        &[
            change(1, TOPIC),
            change(2, TOPIC),
            change(-1, TOPIC),
            change(0, Uuid([9; 16])),
        ],
    );
    assert_eq!(delta.topics, [TOPIC].into());
    assert_eq!(delta.partitions_of(TOPIC).collect::<Vec<_>>(), [1]);
    assert_eq!(delta.partitions_of(Uuid([9; 16])).count(), 0);
    let removed = RemoveTopicRecord { topic_id: TOPIC };
    let delta = fold(&mut image, &[change(0, TOPIC), removed.into()]);
    assert!(delta.partitions.is_empty() && delta.topics.is_empty());
}

/// Replacing the image by a snapshot gives the same delta as the records that lead to it.
#[test]
fn what_lies_between_two_images_is_what_records_would_have_changed() {
    let mut before = Image::empty();
    fold(&mut before, &full());
    let mut after = before.clone();
    let removed = fold(&mut after, &removals());
    let nothing = Delta::between(&before, &before);
    assert!(nothing.topics.is_empty() && nothing.configs.is_empty() && !nothing.features);
    let mut made = Image::empty();
    let applied = fold(&mut made, &full());
    for (found, expected) in [
        (Delta::between(&Image::empty(), &before), applied),
        (Delta::between(&before, &after), removed),
    ] {
        assert_eq!(found.topics, expected.topics);
        assert_eq!(found.partitions, expected.partitions);
        assert_eq!(found.brokers, expected.brokers);
        let ids = |delta: &Delta| -> Vec<Uuid> {
            delta.removed_topics.iter().map(|topic| topic.id).collect()
        };
        assert_eq!(ids(&found), ids(&expected));
        // A removed topic also changes its settings, which the records do not name.
        assert!(found.configs.is_superset(&expected.configs));
        let flags = |delta: &Delta| {
            (
                delta.features,
                delta.quotas,
                delta.acls,
                delta.scram,
                delta.tokens,
            )
        };
        assert_eq!(flags(&found), flags(&expected));
    }
}
