//! Tests of the assignors: example assignments, and properties of all assignments.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn topic(number: u8, partitions: i32) -> TopicSpec {
    TopicSpec {
        id: Uuid([number; 16]),
        partitions,
    }
}

/// Checks one assignment. `a:12` is a member that subscribes to topics 1 and 2, and `a/i:12` a static one. `a:12=1-0,1-1` had
/// partitions 0 and 1 of topic 1 before.
fn check(assignor: Assignor, partitions: &[i32], members: &[&str], expected: Expect) {
    let mut held = Vec::new();
    for text in members {
        let had = text.split_once('=').map_or("", |(_, had)| had);
        let parts = had.split(',').filter(|text| !text.is_empty());
        held.push(Assignment::new(parts.map(|one| {
            let (topic, index) = one.split_once('-').unwrap();
            (
                Uuid([topic.parse().unwrap(); 16]),
                vec![index.parse().unwrap()],
            )
        })));
    }
    let specs = members.iter().zip(&held).map(|(text, target)| {
        let text = text.split_once('=').map_or(*text, |(text, _)| text);
        let (name, topics) = text.split_once(':').unwrap();
        let (id, instance_id) = match name.split_once('/') {
            Some((id, instance)) => (id, Some(instance)),
            None => (name, None),
        };
        MemberSpec {
            id,
            instance_id,
            topics: topics
                .chars()
                .map(|c| c.to_digit(10).unwrap() - 1)
                .collect(),
            target: Some(target),
        }
    });
    let spec = Spec {
        members: specs.collect(),
        topics: (1..)
            .zip(partitions)
            .map(|(number, count)| topic(number, *count))
            .collect(),
    };
    let told = spec
        .members
        .iter()
        .zip(assignor.assign(&spec))
        .map(|(member, all)| {
            let each: Vec<_> = all
                .each()
                .map(|(topic, index)| format!("{}-{index}", topic.0[0]))
                .collect();
            format!("{}: {}\n", member.id, each.join(" "))
        });
    expected.assert_eq(&told.collect::<String>());
}

#[test]
fn ranges_of_topics_lie_side_by_side() {
    check(
        Assignor::Range,
        &[3, 5],
        &["b:12", "a:12"],
        expect![[r#"
            b: 1-2 2-3 2-4
            a: 1-0 1-1 2-0 2-1 2-2
        "#]],
    );
}

#[test]
fn static_members_come_first_in_ranges_and_subscriptions_may_differ() {
    check(
        Assignor::Range,
        &[4, 2],
        &["a:1", "z/1:12", "b:2"],
        expect![[r#"
            a: 1-2 1-3
            z: 1-0 1-1 2-0
            b: 2-1
        "#]],
    );
}

#[test]
fn uniform_keeps_what_members_have() {
    check(
        Assignor::Uniform,
        &[3, 4],
        &["a:12=1-0,1-1,1-2,2-0,2-1,2-2,2-3", "b:12", "c:12"],
        expect![[r#"
            a: 1-0 1-1 1-2
            b: 2-0 2-1
            c: 2-2 2-3
        "#]],
    );
}

#[test]
fn uniform_gives_the_one_more_to_who_has_it() {
    check(
        Assignor::Uniform,
        &[5],
        &["a:1=1-0,1-1", "b:1=1-2,1-3,1-4"],
        expect![[r#"
            a: 1-0 1-1
            b: 1-2 1-3 1-4
        "#]],
    );
}

#[test]
fn partitions_that_are_gone_or_not_subscribed_to_are_kept_by_nobody() {
    check(
        Assignor::Uniform,
        &[2, 2],
        &["a:1=1-0,1-9,2-0,7-0", "b:1"],
        expect![[r#"
            a: 1-0
            b: 1-1
        "#]],
    );
}

#[test]
fn uniform_evens_out_as_far_as_subscriptions_allow() {
    check(
        Assignor::Uniform,
        &[3, 6],
        &["a:1", "b:12", "c:2"],
        expect![[r#"
            a: 1-0 1-1 1-2
            b: 2-0 2-2 2-4
            c: 2-1 2-3 2-5
        "#]],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every partition of a subscribed topic has one owner, which subscribes to the topic. No member could give a partition to
    /// a member with at least two fewer. A second assignment with the same input moves nothing.
    #[test]
    fn every_partition_has_one_owner_and_loads_are_even(
        partitions in prop::collection::vec(0..9i32, 1..5),
        subscriptions in prop::collection::vec(prop::collection::btree_set(0..5u32, 0..5), 1..7),
        same in any::<bool>(),
        uniform in any::<bool>(),
        before in prop::collection::vec((0..7usize, 0..5u8, 0..9i32), 0..40),
    ) {
        let topics: Vec<TopicSpec> = (0..).zip(&partitions).map(|(number, count)| topic(number, *count)).collect();
        let names: Vec<String> = (0..subscriptions.len()).map(|place| format!("m{place}")).collect();
        let held: Vec<Assignment> = (0..names.len()).map(|member| {
            let mine = before.iter().filter(|(of, ..)| *of == member);
            Assignment::new(mine.map(|(_, topic, index)| (Uuid([*topic; 16]), vec![*index])))
        }).collect();
        let spec = Spec {
            members: names.iter().enumerate().map(|(place, id)| MemberSpec {
                id,
                instance_id: None,
                topics: subscriptions[if same { 0 } else { place }].iter().copied().filter(|place| (*place as usize) < topics.len()).collect(),
                target: Some(&held[place]),
            }).collect(),
            topics: topics.clone(),
        };
        let assignor = if uniform { Assignor::Uniform } else { Assignor::Range };
        let assigned = assignor.assign(&spec);
        let mut owners = std::collections::BTreeMap::new();
        for (member, all) in assigned.iter().enumerate() {
            for (id, index) in all.each() {
                let place = spec.place_of(id).unwrap();
                prop_assert!(spec.members[member].topics.contains(&place));
                prop_assert!((0..topics[place as usize].partitions).contains(&index));
                prop_assert_eq!(owners.insert((place, index), member), None);
            }
        }
        let wanted: usize = topics.iter().enumerate()
            .filter(|(place, _)| spec.members.iter().any(|member| member.topics.contains(&(*place as u32))))
            .map(|(_, topic)| topic.partitions as usize).sum();
        prop_assert_eq!(owners.len(), wanted);
        if uniform {
            for ((place, _), owner) in &owners {
                for (other, member) in spec.members.iter().enumerate() {
                    if member.topics.contains(place) {
                        prop_assert!(assigned[*owner].count() <= assigned[other].count() + 1);
                    }
                }
            }
            let again = Spec {
                members: spec.members.iter().zip(&assigned).map(|(member, target)| MemberSpec { target: Some(target), ..member.clone() }).collect(),
                topics,
            };
            prop_assert_eq!(assignor.assign(&again), assigned);
        }
    }
}
