//! Groups of the consumer protocol (KIP-848), and requests of other protocols about them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use monedula::wire::message::consumer_group_describe::ConsumerGroupDescribeRequest;
use monedula::wire::message::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest as Beat, TopicPartitions,
};
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::delete_groups::DeleteGroupsRequest;
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::heartbeat::HeartbeatRequest;
use monedula::wire::message::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use monedula::wire::message::leave_group::{LeaveGroupRequest, MemberIdentity};
use monedula::wire::message::list_groups::ListGroupsRequest;
use monedula::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use monedula::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use monedula::wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use monedula::wire::message::sync_group::SyncGroupRequest;

use super::pair::{Broker, Pair};

/// Topic of four partitions that only these groups read.
const TOPIC: &str = "shared-out";
const PARTITIONS: i32 = 4;
/// Time limit for a group to become stable. Brokers compute assignments once a second.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Pause between two looks at a group.
const PAUSE: Duration = Duration::from_millis(50);

pub fn play(pair: &mut Pair) -> Result<()> {
    let topic = CreatableTopic {
        name: TOPIC.into(),
        num_partitions: PARTITIONS,
        replication_factor: 1,
        ..Default::default()
    };
    let create = CreateTopicsRequest {
        topics: vec![topic],
        ..Default::default()
    };
    pair.both(7, &create)?;
    mistakes(pair)?;
    one_member(pair)?;
    two_members(pair)?;
    static_members(pair)?;
    expressions(pair)?;
    other_protocols(pair)
}

fn joins(group: &str, member: &str) -> Beat {
    Beat {
        group_id: group.into(),
        member_id: member.into(),
        rebalance_timeout_ms: 300_000,
        subscribed_topic_names: Some(vec![TOPIC.into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// A heartbeat with only the partitions that the member owns.
fn beats(broker: &mut Broker, group: &str, member: &str, epoch: i32, has: &[i32]) -> Beat {
    let has = TopicPartitions {
        topic_id: broker.id(TOPIC),
        partitions: has.to_vec(),
    };
    Beat {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        topic_partitions: Some(match has.partitions.is_empty() {
            true => Vec::new(),
            false => vec![has],
        }),
        ..Default::default()
    }
}

fn leaves(group: &str, member: &str, epoch: i32) -> Beat {
    Beat {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch: epoch,
        ..Default::default()
    }
}

fn mistakes(pair: &mut Pair) -> Result<()> {
    let with = |change: fn(&mut Beat)| {
        let mut beat = joins("mistaken", "m");
        change(&mut beat);
        beat
    };
    let scenes: [(&str, Beat); 24] = [
        ("without a group", joins("", "m")),
        ("of a blank group", joins("  ", "m")),
        ("of an unknown group", leaves("nowhere", "m", 3)),
        ("that leaves an unknown group", leaves("nowhere", "m", -1)),
        ("of an epoch below all", leaves("mistaken", "m", -3)),
        (
            "without a member at a later epoch",
            leaves("mistaken", "", 1),
        ),
        ("that leaves without a member", leaves("mistaken", "", -1)),
        (
            "that leaves for a while without an instance",
            leaves("mistaken", "m", -2),
        ),
        (
            "with a blank instance",
            with(|beat| beat.instance_id = Some(" ".into())),
        ),
        (
            "with an empty instance",
            with(|beat| beat.instance_id = Some("".into())),
        ),
        (
            "with an empty rack",
            with(|beat| beat.rack_id = Some("".into())),
        ),
        (
            "without a timeout",
            with(|beat| beat.rebalance_timeout_ms = -1),
        ),
        (
            "with a timeout of zero",
            with(|beat| beat.rebalance_timeout_ms = 0),
        ),
        (
            "with a timeout below zero",
            with(|beat| beat.rebalance_timeout_ms = -7),
        ),
        (
            "without partitions",
            with(|beat| beat.topic_partitions = None),
        ),
        (
            "with partitions",
            with(|beat| {
                beat.topic_partitions = Some(vec![TopicPartitions {
                    topic_id: Default::default(),
                    partitions: vec![0],
                }]);
            }),
        ),
        (
            "without topics",
            with(|beat| beat.subscribed_topic_names = None),
        ),
        (
            "with an unknown assignor",
            with(|beat| beat.server_assignor = Some("mine".into())),
        ),
        (
            "with a blank assignor",
            with(|beat| beat.server_assignor = Some("".into())),
        ),
        (
            "of no topics",
            with(|beat| {
                beat.group_id = "mistaken-1".into();
                beat.subscribed_topic_names = Some(Vec::new());
            }),
        ),
        (
            "of an unknown topic",
            with(|beat| {
                beat.group_id = "mistaken-2".into();
                beat.subscribed_topic_names = Some(vec!["nope".into()]);
            }),
        ),
        (
            "of a topic that cannot be",
            with(|beat| {
                beat.group_id = "mistaken-3".into();
                beat.subscribed_topic_names = Some(vec!["".into(), "a b".into()]);
            }),
        ),
        (
            "of a topic twice",
            with(|beat| {
                beat.group_id = "mistaken-4".into();
                beat.subscribed_topic_names = Some(vec![TOPIC.into(), TOPIC.into()]);
            }),
        ),
        (
            "by the assignor range",
            with(|beat| {
                beat.group_id = "mistaken-5".into();
                beat.server_assignor = Some("range".into());
            }),
        ),
    ];
    for (name, beat) in scenes {
        for version in 0..=1 {
            pair.once(name, version, |_| Beat {
                // Each version joins a group of its own.
                group_id: match beat.group_id.strip_prefix("mistaken-") {
                    Some(number) => format!("mistaken-{number}-{version}").into(),
                    None => beat.group_id.clone(),
                },
                ..beat.clone()
            })?;
        }
    }
    Ok(())
}

fn describe(groups: &[&str]) -> ConsumerGroupDescribeRequest {
    ConsumerGroupDescribeRequest {
        group_ids: groups.iter().map(|group| (*group).into()).collect(),
        include_authorized_operations: false,
    }
}

/// Repeats a step until it says that all is as it should be.
fn repeat(mut step: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !step()? {
        ensure!(begun.elapsed() < SETTLED_WITHIN, "it never comes to this");
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Sends heartbeats for the members of a group, with the partitions assigned to them, until the group is stable on both
/// brokers.
fn settle(pair: &mut Pair, group: &str, members: &[&str]) -> Result<()> {
    for broker in pair.each() {
        let mut has: Vec<(i32, Vec<i32>)> = vec![(0, Vec::new()); members.len()];
        repeat(|| {
            let described = broker.answered(&describe(&[group]), 1)?;
            let described = &described.groups[0];
            for (member, (epoch, _)) in members.iter().zip(&mut has) {
                let mut known = described.members.iter();
                let found = known.find(|one| one.member_id == *member);
                *epoch = found.map_or(*epoch, |found| found.member_epoch);
            }
            if described.group_state == "Stable" {
                return Ok(true);
            }
            for (member, (epoch, has)) in members.iter().zip(&mut has) {
                let beat = beats(broker, group, member, *epoch, has);
                if let Some(given) = broker.answered(&beat, 1)?.assignment {
                    let topics = given.topic_partitions.into_iter();
                    *has = topics.flat_map(|topic| topic.partitions).collect();
                }
            }
            Ok(false)
        })
        .with_context(|| format!("{group} settles on {}", broker.address()))?;
    }
    Ok(())
}

fn commit(group: &str, member: &str, epoch: i32) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: epoch,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: vec![OffsetCommitRequestPartition {
                committed_offset: 3,
                committed_metadata: Some("".into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch(group: &str, member: Option<&str>, epoch: i32) -> OffsetFetchRequest {
    OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            member_id: member.map(Into::into),
            member_epoch: epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: TOPIC.into(),
                partition_indexes: vec![0, 1],
                ..Default::default()
            }]),
        }],
        ..Default::default()
    }
}

fn one_member(pair: &mut Pair) -> Result<()> {
    for version in 0..=1 {
        let group = &*format!("alone-{version}");
        pair.once("that joins", version, |_| joins(group, "m"))?;
        settle(pair, group, &["m"])?;
        pair.once("that joins again", version, |_| joins(group, "m"))?;
        settle(pair, group, &["m"])?;
        let all: Vec<i32> = (0..PARTITIONS).collect();
        for (name, epoch, has) in [
            ("with all that it was given", 2, &all[..]),
            ("of an epoch ahead", 9, &all[..]),
            ("of the epoch before", 1, &all[..]),
            ("of the epoch before with less", 1, &all[..1]),
            ("with less than it was given", 2, &all[..1]),
        ] {
            pair.once(name, version, |broker| {
                beats(broker, group, "m", epoch, has)
            })?;
        }
        pair.once("of a stranger", version, |broker| {
            beats(broker, group, "who", 2, &[])
        })?;
        pair.once("that leaves as a stranger", version, |_| {
            leaves(group, "who", -1)
        })?;
        pair.once("a settled group", version, |_| describe(&[group]))?;
        pair.once("unknown groups", version, |_| {
            describe(&["nowhere", "", group, group])
        })?;
    }
    let group = "alone-1";
    for (name, member, epoch) in [
        ("of a member", "m", 2),
        ("of a member's epoch before", "m", 1),
        ("of a member's epoch to come", "m", 3),
        ("of a stranger's epoch", "who", 2),
        ("of nobody", "", -1),
    ] {
        for version in 8..=9 {
            pair.once(name, version, |_| commit(group, member, epoch))?;
            let member = Some(member).filter(|member| !member.is_empty());
            pair.once(name, 9, |_| fetch(group, member, epoch))?;
        }
        pair.once(name, 6, |_| commit(group, member, epoch))?;
    }
    pair.scene("that a member of the consumer protocol reads", |_| {
        OffsetDeleteRequest {
            group_id: group.into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: TOPIC.into(),
                partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
            }],
        }
    })?;
    let delete = DeleteGroupsRequest {
        groups_names: vec![group.into()],
    };
    pair.scene("a consumer group with members", |_| delete.clone())?;
    pair.once("that leaves", 1, |_| leaves(group, "m", -1))?;
    pair.once("that leaves twice", 1, |_| leaves(group, "m", -1))?;
    pair.once("a group that was left", 1, |_| describe(&[group]))?;
    pair.once("of a consumer group that was left", 9, |_| {
        commit(group, "", -1)
    })?;
    pair.once("a consumer group that was left", 2, |_| delete.clone())?;
    pair.once("a group that was deleted", 1, |_| describe(&[group]))
}

fn two_members(pair: &mut Pair) -> Result<()> {
    let group = "two";
    for assignor in ["uniform", "range"] {
        let group = &*format!("{group}-{assignor}");
        let by = |member: &str| Beat {
            server_assignor: Some(assignor.into()),
            ..joins(group, member)
        };
        pair.once("the first of two", 1, |_| by("a"))?;
        settle(pair, group, &["a"])?;
        pair.once("the second of two", 1, |_| by("b"))?;
        settle(pair, group, &["a", "b"])?;
        pair.once("a group of two", 1, |_| describe(&[group]))?;
        pair.once("the second of two leaves", 1, |_| leaves(group, "b", -1))?;
        settle(pair, group, &["a"])?;
        pair.once("the first of two is left", 1, |_| describe(&[group]))?;
    }
    Ok(())
}

fn static_members(pair: &mut Pair) -> Result<()> {
    let group = "with-instances";
    let named = |member: &str, instance: &str, epoch: i32| Beat {
        instance_id: Some(instance.into()),
        member_epoch: epoch,
        ..joins(group, member)
    };
    let short = |member: &str, instance: &str, epoch: i32| Beat {
        instance_id: Some(instance.into()),
        ..leaves(group, member, epoch)
    };
    pair.once("an instance", 1, |_| named("a", "i", 0))?;
    settle(pair, group, &["a"])?;
    pair.once("an instance that another member has", 1, |_| {
        named("b", "i", 0)
    })?;
    pair.once("another member's instance", 1, |_| short("b", "i", 2))?;
    pair.once("a member without its instance", 1, |broker| {
        beats(broker, group, "a", 2, &[])
    })?;
    pair.once("an unknown instance", 1, |_| short("a", "j", 2))?;
    pair.once("an instance that leaves for a while", 1, |_| {
        short("a", "i", -2)
    })?;
    pair.once("an instance away", 1, |_| describe(&[group]))?;
    pair.once("an instance that comes back", 1, |_| named("b", "i", 0))?;
    settle(pair, group, &["b"])?;
    pair.once("an instance that is back", 1, |_| describe(&[group]))?;
    pair.once("an instance that was replaced", 1, |_| short("a", "i", 2))?;
    for version in 3..=5 {
        pair.once("an unknown instance of a consumer group", version, |_| {
            LeaveGroupRequest {
                group_id: group.into(),
                members: vec![MemberIdentity {
                    member_id: "".into(),
                    group_instance_id: Some("j".into()),
                    reason: None,
                }],
                ..Default::default()
            }
        })?;
    }
    pair.once("an instance of a consumer group", 5, |_| {
        LeaveGroupRequest {
            group_id: group.into(),
            members: vec![MemberIdentity {
                member_id: "".into(),
                group_instance_id: Some("i".into()),
                reason: None,
            }],
            ..Default::default()
        }
    })?;
    pair.once("an instance that an administrator removed", 1, |_| {
        describe(&[group])
    })
}

fn expressions(pair: &mut Pair) -> Result<()> {
    for (number, pattern) in [
        "shared-.*",
        "(",
        "a{2000}",
        "",
        "\\Qshared-out\\E",
        "(?P<n>x)",
        "x*+",
        "\\p{Greek}",
    ]
    .into_iter()
    .enumerate()
    {
        let group = format!("by-expression-{number}");
        let name = format!("by the expression {pattern:?}");
        pair.once(&name, 1, |_| Beat {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some(pattern.into()),
            ..joins(&group, "m")
        })?;
    }
    let group = "by-expression-0";
    // The broker resolves the topic names after its response.
    // The topic names are looked up after the answer to the heartbeat.
    for broker in pair.each() {
        repeat(|| {
            let described = broker.answered(&describe(&[group]), 1)?;
            let member = &described.groups[0].members[0];
            if !member.target_assignment.topic_partitions.is_empty() {
                return Ok(true);
            }
            let beat = beats(broker, group, "m", member.member_epoch, &[]);
            broker.answered(&beat, 1)?;
            Ok(false)
        })
        .with_context(|| format!("the expression finds topics on {}", broker.address()))?;
    }
    settle(pair, group, &["m"])?;
    for number in 0..8 {
        let group = format!("by-expression-{number}");
        let name = format!("members by the expression {number}");
        pair.once(&name, 1, |_| describe(&[&group]))?;
    }
    Ok(())
}

/// Requests of the classic protocol about these groups.
fn other_protocols(pair: &mut Pair) -> Result<()> {
    let group = "two-uniform";
    let join = |protocol_type: &str, metadata: &'static [u8]| JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id: "".into(),
        protocol_type: protocol_type.into(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: Bytes::from_static(metadata),
        }],
        ..Default::default()
    };
    const READS: &[u8] = b"\0\0\0\0\0\x01\0\x0ashared-out\xff\xff\xff\xff";
    pair.once("of another type to a consumer group", 9, |_| {
        join("connect", READS)
    })?;
    pair.once("of strange metadata to a consumer group", 3, |_| {
        join("consumer", b"!")
    })?;
    pair.once("the first time to a consumer group", 9, |_| {
        join("consumer", READS)
    })?;
    pair.scene("to a consumer group", |_| HeartbeatRequest {
        group_id: group.into(),
        generation_id: 2,
        member_id: "a".into(),
        ..Default::default()
    })?;
    pair.scene("to a consumer group as a stranger", |_| HeartbeatRequest {
        group_id: group.into(),
        generation_id: 2,
        member_id: "who".into(),
        ..Default::default()
    })?;
    pair.scene("to a consumer group", |_| SyncGroupRequest {
        group_id: group.into(),
        generation_id: 2,
        member_id: "a".into(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    })?;
    pair.scene("a consumer group", |_| DescribeGroupsRequest {
        groups: vec![group.into()],
        include_authorized_operations: false,
    })?;
    pair.scene("a classic group", |_| describe(&["static-9"]))?;
    for kind in ["consumer", "Consumer", "classic"] {
        let name = format!("of the type {kind} that are reconciling or stable");
        pair.once(&name, 5, |_| ListGroupsRequest {
            states_filter: vec!["Reconciling".into(), "Stable".into(), "assigning".into()],
            types_filter: vec![kind.into()],
        })?;
    }
    pair.once("by a heartbeat of a member of the classic group", 1, |_| {
        Beat {
            member_epoch: 1,
            ..joins("static-9", "m")
        }
    })
}
