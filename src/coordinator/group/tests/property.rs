//! Random requests, time and crashes: nothing panics, and the log holds the same state as the shard.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Stage, act};
use crate::coordinator::group::classic::group::State;
use crate::coordinator::group::settings::GroupSettings;

fn line() -> impl Strategy<Value = String> {
    let group = prop_oneof![Just("g"), Just("h"), Just("")];
    let member = prop_oneof![
        8 => (1..10u8).prop_map(|n| format!("c#{n}")),
        2 => (1..10u8).prop_map(|n| format!("i1#{n}")),
        1 => Just("ghost".to_owned())
    ];
    let generation = 0..4i32;
    let instance = prop_oneof![4 => Just(""), 1 => Just(" inst=i1"), 1 => Just(" inst=i2")];
    let protocols = prop_oneof![
        Just("range:t"),
        Just("range:t,rr:t"),
        Just("rr:t,range:u"),
        Just("x:junk"),
        Just("")
    ];
    (
        group,
        member,
        generation,
        instance,
        protocols,
        0..18u8,
        0..20_000i64,
        0..2u8,
    )
        .prop_map(
            |(group, member, generation, instance, protocols, verb, number, which)| {
                let g = format!("group={group}");
                match verb {
                    0 | 1 => format!("join {g}{instance} p={protocols} v={}", 3 + which * 6),
                    2 | 3 => format!("join {g} id={member}{instance} p={protocols} r={number}"),
                    4 | 5 => format!("sync {member} {generation} {g}{instance} a={member}:x"),
                    6 => format!("beat {member} {generation} {g}{instance}"),
                    7 => format!("leave {member} {g}"),
                    8 => format!("commit t-{which}={number} {g} id={member} gen={generation}"),
                    9 => format!("commit u-{which}={number} {g}"),
                    10 => format!("txn {which} t-{which}={number} {g}"),
                    11 => format!(
                        "end {which} {}",
                        if number % 2 == 0 { "commit" } else { "abort" }
                    ),
                    12 => format!("forget t-0,u-1 {g}"),
                    13 => format!("delete {g}"),
                    14 => "drop t".to_owned(),
                    15 => format!("+{}", number * 40_000),
                    16 => format!("+{number}"),
                    _ => {
                        if number % 4 == 0 {
                            "crash".to_owned()
                        } else {
                            format!("+{}", number / 4)
                        }
                    }
                }
            },
        )
}

/// Durable state of the groups, of the shard and of a shard that has replayed the log.
fn facts(stage: &Stage) -> (String, String) {
    let durable = |shard: &super::GroupShard| {
        let mut text = String::new();
        for (id, group) in shard.groups() {
            let Some(group) = group.as_classic() else {
                continue;
            };
            // During a rebalance the log still holds the last generation.
            let live = stage.shard.group(id).expect("it is in the log");
            if matches!(live.state, State::Empty | State::Stable) {
                let protocol = group.protocol.as_deref().unwrap_or_default();
                let members: Vec<(_, _, Bytes, _)> = group
                    .members()
                    .iter()
                    .map(|(id, m)| (id, &m.instance_id, m.metadata(protocol), &m.assignment))
                    .collect();
                text += &format!(
                    "{id} {:?} {:?} {:?} {} {:?} {members:?}\n",
                    group.state,
                    group.protocol_type,
                    group.protocol,
                    group.generation,
                    group.leader
                );
            }
        }
        text + &format!("{:?}", shard.offsets().facts())
    };
    (durable(&stage.shard), durable(&stage.replayed()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_knows_what_the_shard_knows(script in prop::collection::vec(line(), 1..120)) {
        let mut stage = Stage::new(GroupSettings::default());
        let mut asked = 0u64;
        let mut answered = std::collections::BTreeSet::new();
        for line in &script {
            for (ticket, _) in act(&mut stage, line) {
                prop_assert!(answered.insert(ticket), "{ticket:?} was answered twice");
            }
            asked = stage.tickets;
            let (live, replayed) = facts(&stage);
            prop_assert_eq!(live, replayed, "after {}", line);
        }
        // Every waiting request is answered in the end, unless a crash has dropped it.
        if !script.iter().any(|line| line == "crash") {
            for (ticket, _) in stage.advance(24 * 3_600_000) {
                prop_assert!(answered.insert(ticket));
            }
            prop_assert_eq!(answered.len() as u64, asked);
        }
    }
}
