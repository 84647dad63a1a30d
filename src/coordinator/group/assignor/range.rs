//! pure: range assignor (Kafka: `RangeAssignor`). The partitions of each topic are divided into contiguous ranges, one per
//! subscriber, in the order of members. Topics with the same number of partitions and the same subscribers are therefore
//! co-partitioned.

use std::cmp::Ordering;

use super::{Dealt, MemberSpec, Spec, finished};
use crate::coordinator::group::consumer::assignment::Assignment;

pub fn assign(spec: &Spec<'_>) -> Vec<Assignment> {
    let mut order: Vec<usize> = (0..spec.members.len()).collect();
    order.sort_by(|a, b| match (spec.members.get(*a), spec.members.get(*b)) {
        (Some(a), Some(b)) => by_name(a, b),
        _ => Ordering::Equal,
    });
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); spec.topics.len()];
    for member in order {
        for topic in spec
            .members
            .get(member)
            .into_iter()
            .flat_map(|one| &one.topics)
        {
            if let Some(members) = subscribers.get_mut(*topic as usize) {
                members.push(member);
            }
        }
    }
    let mut dealt: Dealt = vec![Vec::new(); spec.members.len()];
    for (topic, members) in spec.topics.iter().zip(&subscribers) {
        let count = members.len() as i32;
        let mut next = 0;
        for (place, member) in (0..).zip(members) {
            let extra = i32::from(place < topic.partitions % count);
            let end = next + topic.partitions / count + extra;
            if let Some(all) = dealt.get_mut(*member) {
                all.push((topic.id, (next..end).collect()));
            }
            next = end;
        }
    }
    finished(dealt)
}

/// Order of members: static ones by instance id, then the others by member id.
fn by_name(a: &MemberSpec<'_>, b: &MemberSpec<'_>) -> Ordering {
    match (a.instance_id, b.instance_id) {
        (Some(a), Some(b)) => as_java(a, b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => as_java(a.id, b.id),
    }
}

/// Order of Java strings, by UTF-16 units.
fn as_java(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}
