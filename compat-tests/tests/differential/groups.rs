//! Groups and their offsets.

use anyhow::Result;
use bytes::Bytes;
use monedula::wire::message::delete_groups::DeleteGroupsRequest;
use monedula::wire::message::describe_groups::DescribeGroupsRequest;
use monedula::wire::message::find_coordinator::FindCoordinatorRequest;
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
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use monedula::wire::message::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use super::pair::{Broker, Pair};

pub fn play(pair: &mut Pair) -> Result<()> {
    find(pair)?;
    commit(pair)?;
    join(pair)?;
    leave(pair)
}

fn find(pair: &mut Pair) -> Result<()> {
    for (name, key, kind) in [
        ("of a group", "g", 0),
        ("of a transaction", "tx", 1),
        ("of an unknown kind", "g", 9),
        ("of a share group's partition", "g", 2),
    ] {
        for version in 0..=6 {
            pair.once(name, version, |_| FindCoordinatorRequest {
                key: if version < 4 { key.into() } else { "".into() },
                key_type: if version < 1 { 0 } else { kind },
                coordinator_keys: if version < 4 {
                    Vec::new()
                } else {
                    vec![key.into()]
                },
            })?;
        }
    }
    Ok(())
}

fn commit(pair: &mut Pair) -> Result<()> {
    let commit =
        |broker: &mut Broker, group: &str, topic: &str, index, offset, generation, member: &str| {
            OffsetCommitRequest {
                group_id: group.into(),
                generation_id_or_member_epoch: generation,
                member_id: member.into(),
                topics: vec![OffsetCommitRequestTopic {
                    name: topic.into(),
                    topic_id: broker.id(topic),
                    partitions: vec![OffsetCommitRequestPartition {
                        partition_index: index,
                        committed_offset: offset,
                        committed_metadata: Some("m".into()),
                        ..Default::default()
                    }],
                }],
                ..Default::default()
            }
        };
    for (name, group, topic, index, offset, generation, member) in [
        ("by nobody", "simple", "t", 0, 5, -1, ""),
        ("of an unknown topic", "simple", "nope", 0, 5, -1, ""),
        ("of an unknown partition", "simple", "t", 99, 5, -1, ""),
        ("a negative offset", "simple", "t", 0, -9, -1, ""),
        ("by a stranger", "simple", "t", 0, 5, 3, "who"),
        ("by a stranger of a new group", "new", "t", 0, 5, 3, "who"),
        ("without a group", "", "t", 0, 5, -1, ""),
    ] {
        pair.scene(name, |broker| {
            commit(broker, group, topic, index, offset, generation, member)
        })?;
    }
    let long = "m".repeat(5_000);
    pair.scene("metadata that is too long", |broker| {
        let mut request = commit(broker, "simple", "t", 0, 5, -1, "");
        request.topics[0].partitions[0].committed_metadata = Some(long.as_str().into());
        request
    })?;

    let fetch = |broker: &mut Broker,
                 version: i16,
                 group: &str,
                 topics: Option<&[&str]>,
                 member: Option<&str>| {
        if version < 8 {
            return OffsetFetchRequest {
                group_id: group.into(),
                topics: topics.map(|topics| {
                    topics
                        .iter()
                        .map(|topic| OffsetFetchRequestTopic {
                            name: (*topic).into(),
                            partition_indexes: vec![0, 1, 99],
                        })
                        .collect()
                }),
                ..Default::default()
            };
        }
        OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                member_id: member.map(Into::into),
                member_epoch: if member.is_some() { 7 } else { -1 },
                topics: topics.map(|topics| {
                    topics
                        .iter()
                        .map(|topic| OffsetFetchRequestTopics {
                            name: (*topic).into(),
                            topic_id: broker.id(topic),
                            partition_indexes: vec![0, 1, 99],
                        })
                        .collect()
                }),
            }],
            ..Default::default()
        }
    };
    for (name, group, topics, member) in [
        ("some", "simple", Some(&["t", "nope"][..]), None),
        ("all", "simple", None, None),
        ("of an unknown group", "nope", Some(&["t"][..]), None),
        ("all of an unknown group", "nope", None, None),
        ("without a group", "", Some(&["t"][..]), None),
        ("as a member", "simple", Some(&["t"][..]), Some("who")),
    ] {
        for version in 1..=10 {
            if version > 1 || topics.is_some() {
                pair.once(name, version, |broker| {
                    fetch(broker, version, group, topics, member)
                })?;
            }
        }
    }
    Ok(())
}

fn protocol(name: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol {
        name: name.into(),
        metadata: Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff"),
    }
}

fn ask_to_join(group: &str, member: &str, instance: Option<&str>) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.into(),
        // Longer than all scenes take, because no member sends heartbeats.
        session_timeout_ms: 1_200_000,
        rebalance_timeout_ms: 1_200_000,
        member_id: member.into(),
        group_instance_id: instance.map(Into::into),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range")],
        ..Default::default()
    }
}

fn join(pair: &mut Pair) -> Result<()> {
    for (name, request) in [
        ("without a group", ask_to_join("", "", None)),
        ("as a stranger", ask_to_join("new", "who", None)),
        (
            "with a session that is too short",
            JoinGroupRequest {
                session_timeout_ms: 1,
                ..ask_to_join("new", "", None)
            },
        ),
        (
            "with a session that is too long",
            JoinGroupRequest {
                session_timeout_ms: i32::MAX,
                ..ask_to_join("new", "", None)
            },
        ),
        (
            "without protocols",
            JoinGroupRequest {
                protocols: Vec::new(),
                ..ask_to_join("new", "", None)
            },
        ),
        (
            "without a protocol type",
            JoinGroupRequest {
                protocol_type: "".into(),
                ..ask_to_join("new", "", None)
            },
        ),
    ] {
        pair.scene(name, |_| request.clone())?;
    }
    // From version 4 on, a new member must join again with the id that it gets, except for static members.
    for version in 4..=9 {
        let name = "the first time";
        pair.once(name, version, |_| ask_to_join("first", "", None))?;
    }
    for version in 5..=9 {
        let group = format!("static-{version}");
        pair.once("as a static member", version, |_| {
            ask_to_join(&group, "", Some("i"))
        })?;
    }
    for version in 0..=3 {
        let group = format!("old-{version}");
        pair.once("an old client", version, |_| ask_to_join(&group, "", None))?;
    }

    // A group of one static member.
    let (ours, theirs) = pair.both(9, &ask_to_join("whole", "", Some("i")))?;
    let ids = (ours.member_id, theirs.member_id);
    let our_address = pair.our_address();
    let member = |broker: &Broker| {
        if broker.address() == our_address {
            ids.0.clone()
        } else {
            ids.1.clone()
        }
    };
    let sync = |id, generation, assignment: &'static [u8]| SyncGroupRequest {
        group_id: "whole".into(),
        generation_id: generation,
        assignments: vec![SyncGroupRequestAssignment {
            member_id: bytestring::ByteString::clone(&id),
            assignment: Bytes::from_static(assignment),
        }],
        member_id: id,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    const ASSIGNED: &[u8] = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\xff\xff\xff\xff";
    pair.scene("a generation that is over", |broker| {
        sync(member(broker), 0, ASSIGNED)
    })?;
    pair.scene("as a stranger", |_| sync("who".into(), 1, ASSIGNED))?;
    pair.scene("the leader's assignment", |broker| {
        sync(member(broker), 1, ASSIGNED)
    })?;
    pair.scene("another protocol", |broker| SyncGroupRequest {
        protocol_name: Some("sticky".into()),
        ..sync(member(broker), 1, ASSIGNED)
    })?;
    let beat = |id, generation| HeartbeatRequest {
        group_id: "whole".into(),
        generation_id: generation,
        member_id: id,
        ..Default::default()
    };
    pair.scene("a beat", |broker| beat(member(broker), 1))?;
    pair.scene("a generation that is over", |broker| {
        beat(member(broker), 0)
    })?;
    pair.scene("as a stranger", |_| beat("who".into(), 1))?;
    pair.scene("to an unknown group", |_| HeartbeatRequest {
        group_id: "nope".into(),
        ..beat("who".into(), 1)
    })?;
    pair.scene("as another instance", |_| HeartbeatRequest {
        group_instance_id: Some("i".into()),
        ..beat("who".into(), 1)
    })?;
    let describe = |groups: &[&str]| DescribeGroupsRequest {
        groups: groups.iter().map(|group| (*group).into()).collect(),
        include_authorized_operations: false,
    };
    pair.scene("groups", |_| describe(&["whole", "simple", "nope", ""]))?;
    pair.scene("none", |_| describe(&[]))?;
    pair.scene("all that are empty", |_| ListGroupsRequest {
        states_filter: vec!["Empty".into()],
        ..Default::default()
    })?;
    pair.scene("of an unknown state", |_| ListGroupsRequest {
        states_filter: vec!["Asleep".into()],
        ..Default::default()
    })?;
    pair.scene("of an unknown type", |_| ListGroupsRequest {
        types_filter: vec!["strange".into()],
        ..Default::default()
    })
}

fn leave(pair: &mut Pair) -> Result<()> {
    let delete = |groups: &[&str]| DeleteGroupsRequest {
        groups_names: groups.iter().map(|group| (*group).into()).collect(),
    };
    pair.scene("a group with members", |_| delete(&["whole"]))?;
    pair.scene("unknown groups", |_| delete(&["nope", ""]))?;
    let offsets = |group: &str, topic: &str| OffsetDeleteRequest {
        group_id: group.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: topic.into(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index: 0 }],
        }],
    };
    pair.scene("that a member reads", |_| offsets("whole", "t"))?;
    pair.scene("of an unknown group", |_| offsets("nope", "t"))?;
    pair.scene("of an unknown topic", |_| offsets("simple", "nope"))?;
    pair.scene("of a simple group", |_| offsets("simple", "t"))?;
    let leave = |group: &str, instance: Option<&str>, member: &str| LeaveGroupRequest {
        group_id: group.into(),
        members: vec![MemberIdentity {
            member_id: member.into(),
            group_instance_id: instance.map(Into::into),
            reason: None,
        }],
        ..Default::default()
    };
    for version in 3..=5 {
        pair.once("a stranger", version, |_| leave("whole", None, "who"))?;
        pair.once("of an unknown group", version, |_| {
            leave("nope", None, "who")
        })?;
        pair.once("an unknown instance", version, |_| {
            leave("whole", Some("j"), "")
        })?;
    }
    pair.once("an instance", 5, |_| leave("whole", Some("i"), ""))?;
    for version in 0..=2 {
        pair.once("a stranger of old", version, |_| LeaveGroupRequest {
            group_id: "whole".into(),
            member_id: "who".into(),
            ..Default::default()
        })?;
    }
    pair.once("a group that is left", 2, |_| delete(&["whole", "simple"]))
}
