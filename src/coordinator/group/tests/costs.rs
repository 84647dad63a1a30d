//! Costs: which requests and timers exceed what may be done in place on a serving thread.

use super::*;
use crate::coordinator::runtime::shard::IN_PLACE_MAX;

const GROUP: &str = "g";
/// A number of items whose cost exceeds the limit of work in place.
const MANY: i32 = IN_PLACE_MAX as i32 + 1;

fn commit(partitions: std::ops::Range<i32>) -> GroupRequest {
    let one = |partition_index| OffsetCommitRequestPartition {
        partition_index,
        ..Default::default()
    };
    let request = OffsetCommitRequest {
        group_id: GROUP.into(),
        generation_id_or_member_epoch: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: partitions.map(one).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    GroupRequest::Commit(Commit::new(request, true))
}

fn commit_in_transaction(partitions: std::ops::Range<i32>) -> GroupRequest {
    let one = |partition_index| TxnOffsetCommitRequestPartition {
        partition_index,
        ..Default::default()
    };
    let request = TxnOffsetCommitRequest {
        group_id: GROUP.into(),
        producer_id: 5,
        generation_id_or_member_epoch: -1,
        topics: vec![TxnOffsetCommitRequestTopic {
            name: "t".into(),
            partitions: partitions.map(one).collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    GroupRequest::Commit(Commit::in_transaction(request, ADMISSION))
}

fn fetch(partitions: Option<i32>) -> GroupRequest {
    let topics = partitions.map(|count| {
        vec![OffsetFetchRequestTopics {
            name: "t".into(),
            partition_indexes: (0..count).collect(),
            ..Default::default()
        }]
    });
    GroupRequest::FetchOffsets {
        group: OffsetFetchRequestGroup {
            group_id: GROUP.into(),
            topics,
            ..Default::default()
        },
        require_stable: false,
    }
}

fn forget(partitions: i32) -> GroupRequest {
    let one = |partition_index| OffsetDeleteRequestPartition { partition_index };
    GroupRequest::DeleteOffsets(OffsetDeleteRequest {
        group_id: GROUP.into(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "t".into(),
            partitions: (0..partitions).map(one).collect(),
        }],
    })
}

fn join(metadata: usize) -> GroupRequest {
    GroupRequest::Join(Box::new(Join {
        request: JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 6_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".into(),
                metadata: vec![0; metadata].into(),
            }],
            ..Default::default()
        },
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        member_id_required: false,
        may_skip_assignment: false,
        fresh: [0; 16],
    }))
}

fn sync(assignments: i32) -> GroupRequest {
    let one = |number: i32| SyncGroupRequestAssignment {
        member_id: number.to_string().into(),
        ..Default::default()
    };
    GroupRequest::Sync(SyncGroupRequest {
        group_id: GROUP.into(),
        assignments: (0..assignments).map(one).collect(),
        ..Default::default()
    })
}

fn leave(members: i32) -> GroupRequest {
    let one = |number: i32| MemberIdentity {
        member_id: number.to_string().into(),
        ..Default::default()
    };
    GroupRequest::Leave(LeaveGroupRequest {
        group_id: GROUP.into(),
        members: (0..members).map(one).collect(),
        ..Default::default()
    })
}

fn of_the_group() -> Vec<(&'static str, GroupRequest)> {
    let marker = Marker {
        producer_id: 5,
        producer_epoch: 0,
        coordinator_epoch: 0,
        commit: true,
    };
    vec![
        ("fetch all", fetch(None)),
        ("delete", GroupRequest::Delete(GROUP.into())),
        (
            "raise",
            GroupRequest::RaiseOffsets {
                group: GROUP.into(),
                starts: Arc::default(),
            },
        ),
        (
            "end of a transaction",
            GroupRequest::EndTransaction(marker, MarkerRules::Old),
        ),
    ]
}

#[test]
fn a_request_that_names_much_costs_much() {
    let stage = Stage::new(GroupSettings::default());
    for (what, little, much) in [
        ("commit", commit(0..100), commit(0..MANY)),
        (
            "commit in a transaction",
            commit_in_transaction(0..100),
            commit_in_transaction(0..MANY),
        ),
        ("fetch", fetch(Some(100)), fetch(Some(MANY))),
        ("forget", forget(100), forget(MANY)),
        ("join", join(10_000), join(3 << 20)),
        ("sync", sync(100), sync(MANY)),
        ("leave", leave(100), leave(MANY)),
        (
            "topics",
            GroupRequest::TopicsDeleted(vec!["t".into()]),
            GroupRequest::TopicsDeleted(vec!["t".into(); MANY as usize]),
        ),
    ] {
        let mut stage = stage.shard.clone();
        let mut out = Output::new(100_000);
        let now = Moment::default();
        stage.handle(now, Ticket(1), commit(0..1), Ok(()), &mut out);
        assert!(stage.cost(&little) <= IN_PLACE_MAX, "{what}");
        assert!(stage.cost(&much) > IN_PLACE_MAX, "{what}");
    }
}

/// The cost depends on the number of the group's offsets, not on the size of the request.
#[test]
fn a_request_about_a_group_of_many_offsets_costs_much() {
    let mut stage = Stage::new(GroupSettings::default());
    let later = Moment {
        wall: 0,
        steady: i64::MAX,
    };
    stage.ask(commit(0..10));
    stage.ask(commit_in_transaction(0..10));
    for (what, request) in of_the_group() {
        assert!(stage.shard.cost(&request) <= IN_PLACE_MAX, "{what}");
    }
    assert!(stage.shard.wake_cost(later) <= IN_PLACE_MAX);
    assert_eq!(stage.shard.wake_cost(stage.moment()), 0);
    for part in (0..=MANY).step_by(500) {
        stage.ask(commit(part..part + 500));
        stage.ask(commit_in_transaction(part..part + 500));
    }
    for (what, request) in of_the_group() {
        assert!(stage.shard.cost(&request) > IN_PLACE_MAX, "{what}");
    }
    assert!(stage.shard.wake_cost(later) > IN_PLACE_MAX);
    assert!(stage.shard.cost(&commit(0..10)) <= IN_PLACE_MAX);
}

#[test]
fn a_group_of_many_members_and_many_groups_cost_much() {
    let mut stage = Stage::new(GroupSettings::default());
    let describe = GroupRequest::Describe {
        group: GROUP.into(),
        unknown_is_error: false,
    };
    let list = || GroupRequest::List {
        states: vec![],
        types: vec![],
    };
    stage.ask(join(1));
    for request in [&describe, &join(1), &sync(1), &leave(1), &list()] {
        assert!(stage.shard.cost(request) <= IN_PLACE_MAX, "{request:?}");
    }
    for number in 0..MANY as u32 {
        let GroupRequest::Join(mut one) = join(1) else {
            unreachable!()
        };
        one.fresh[..4].copy_from_slice(&number.to_be_bytes());
        one.client_id = "d".into();
        stage.ask(GroupRequest::Join(one));
    }
    for request in [&describe, &join(1), &sync(1), &leave(1)] {
        assert!(stage.shard.cost(request) > IN_PLACE_MAX, "{request:?}");
    }
    // Time at which the first rebalance is over.
    let join_timer = Moment {
        wall: 0,
        steady: stage.now + 3_000,
    };
    assert!(stage.shard.wake_cost(join_timer) > IN_PLACE_MAX);
    assert!(stage.shard.cost(&list()) <= IN_PLACE_MAX);
    for number in 0..MANY {
        let GroupRequest::Commit(mut one) = commit(0..1) else {
            unreachable!()
        };
        one.group = number.to_string().into();
        stage.ask(GroupRequest::Commit(one));
    }
    assert!(stage.shard.cost(&list()) > IN_PLACE_MAX);
}
