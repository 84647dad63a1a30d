//! pure: uniform assignor (Kafka: `UniformAssignor`, with one builder for members with the same subscriptions and one for
//! members with different ones). Members get equal numbers of partitions, as far as subscriptions allow, and keep their current
//! partitions where that is possible.
//!
//! Kafka differs: it iterates over hash tables, so the result depends on the hashes of names. Here members and topics are
//! visited in order. The numbers of partitions per member are the same.

use std::collections::BTreeSet;

use super::{Dealt, Spec, finished};
use crate::coordinator::group::consumer::assignment::Assignment;

/// Partition: index of its topic in [`Spec::topics`], and partition index.
type Place = (u32, i32);

pub fn assign(spec: &Spec<'_>) -> Vec<Assignment> {
    if spec.is_homogeneous() {
        homogeneous(spec)
    } else {
        heterogeneous(spec)
    }
}

/// Partitions of the member's current target that still exist and are still subscribed, in order.
fn kept(spec: &Spec<'_>, member: usize) -> Vec<Place> {
    let Some(member) = spec.members.get(member) else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    for (id, partitions) in member.target.into_iter().flat_map(Assignment::iter) {
        let Some(place) = spec.place_of(id) else {
            continue;
        };
        let Some(topic) = spec.topic(place) else {
            continue;
        };
        if member.topics.binary_search(&place).is_ok() {
            let there = partitions.iter().filter(|index| **index < topic.partitions);
            kept.extend(there.map(|index| (place, *index)));
        }
    }
    kept
}

/// Partitions of subscribed topics that no member has, in order.
fn free(spec: &Spec<'_>, taken: &[Vec<bool>], subscribed: &[bool]) -> Vec<Place> {
    let mut free = Vec::new();
    for ((place, topic), (taken, _)) in (0u32..)
        .zip(&spec.topics)
        .zip(taken.iter().zip(subscribed).collect::<Vec<_>>())
        .filter(|(_, (_, subscribed))| **subscribed)
    {
        let nobodys = (0..topic.partitions)
            .zip(taken)
            .filter(|(_, taken)| !**taken);
        free.extend(nobodys.map(|(index, _)| (place, index)));
    }
    free
}

fn none_taken(spec: &Spec<'_>) -> Vec<Vec<bool>> {
    let topics = spec.topics.iter();
    topics
        .map(|topic| vec![false; topic.partitions.max(0) as usize])
        .collect()
}

/// Marks a partition as taken. Returns false if it was taken already.
fn take(taken: &mut [Vec<bool>], (topic, index): Place) -> bool {
    let place = usize::try_from(index).ok();
    let slot = taken.get_mut(topic as usize).zip(place);
    match slot.and_then(|(topic, index)| topic.get_mut(index)) {
        Some(taken) if !*taken => {
            *taken = true;
            true
        }
        _ => false,
    }
}

fn subscribed(spec: &Spec<'_>) -> Vec<bool> {
    let mut subscribed = vec![false; spec.topics.len()];
    for topic in spec.members.iter().flat_map(|member| &member.topics) {
        if let Some(one) = subscribed.get_mut(*topic as usize) {
            *one = true;
        }
    }
    subscribed
}

fn by_topic(
    spec: &Spec<'_>,
    partitions: impl IntoIterator<Item = Place>,
) -> Vec<(crate::base::ids::Uuid, Vec<i32>)> {
    let mut sorted: Vec<Place> = partitions.into_iter().collect();
    sorted.sort_unstable();
    let runs = sorted.chunk_by(|a, b| a.0 == b.0);
    runs.filter_map(|run| {
        let topic = spec.topic(run.first()?.0)?;
        Some((topic.id, run.iter().map(|(_, index)| *index).collect()))
    })
    .collect()
}

/// Assignment if all members have the same subscriptions. Each gets the same number of partitions, and some get one more: first
/// the members that have more already, then the first ones in order.
fn homogeneous(spec: &Spec<'_>) -> Vec<Assignment> {
    let members = spec.members.len();
    let Some(first) = spec.members.first() else {
        return Vec::new();
    };
    let topics = first.topics.iter().filter_map(|place| spec.topic(*place));
    let total: usize = topics.map(|topic| topic.partitions.max(0) as usize).sum();
    let (quota, mut extras) = (total / members, total % members);

    let mut taken = none_taken(spec);
    let mut dealt: Vec<Vec<Place>> = Vec::with_capacity(members);
    let mut quotas = Vec::with_capacity(members);
    for member in 0..members {
        let mut all = kept(spec, member);
        // Targets overlap only if they were written by another tool.
        all.retain(|place| take(&mut taken, *place));
        let extra = all.len() > quota && extras > 0;
        extras -= usize::from(extra);
        quotas.push(quota + usize::from(extra));
        dealt.push(all);
    }
    for quota in &mut quotas {
        if extras > 0 && *quota == total / members {
            *quota += 1;
            extras -= 1;
        }
    }
    let mut rest = free(spec, &taken, &subscribed(spec));
    for (all, quota) in dealt.iter_mut().zip(&quotas) {
        rest.extend(all.drain((*quota).min(all.len())..));
    }
    let mut rest = rest.into_iter();
    for (all, quota) in dealt.iter_mut().zip(&quotas) {
        let missing = quota.saturating_sub(all.len());
        all.extend(rest.by_ref().take(missing));
    }
    let dealt: Dealt = dealt.into_iter().map(|all| by_topic(spec, all)).collect();
    finished(dealt)
}

/// Limit of the rounds in which loads are balanced topic by topic, the same as in Kafka.
const ROUNDS_MAX: usize = 16;

/// Assignment if members have different subscriptions. Partitions without an owner go to the subscriber with the fewest
/// partitions. Then, topic by topic, members with many partitions give some to members with few.
fn heterogeneous(spec: &Spec<'_>) -> Vec<Assignment> {
    let mut subscribers: Vec<Vec<usize>> = vec![Vec::new(); spec.topics.len()];
    for (member, of) in spec.members.iter().enumerate() {
        for topic in &of.topics {
            if let Some(all) = subscribers.get_mut(*topic as usize) {
                all.push(member);
            }
        }
    }
    let mut taken = none_taken(spec);
    // `dealt`: partitions by topic and subscriber. `loads`: number of partitions of each member.
    let mut dealt: Vec<Vec<BTreeSet<i32>>> = subscribers
        .iter()
        .map(|of| vec![BTreeSet::new(); of.len()])
        .collect();
    let mut loads = vec![0usize; spec.members.len()];
    for member in 0..spec.members.len() {
        for place in kept(spec, member) {
            if take(&mut taken, place) {
                give(&subscribers, &mut dealt, &mut loads, place, member);
            }
        }
    }
    // Topics with the most partitions per subscriber come first, because they leave the least choice.
    let mut order: Vec<u32> = (0..spec.topics.len() as u32).collect();
    order.sort_by(|a, b| {
        let facts = |place: &u32| {
            let partitions = spec
                .topic(*place)
                .map_or(0, |topic| topic.partitions.max(0) as u64);
            let members = subscribers
                .get(*place as usize)
                .map_or(0, |of| of.len() as u64);
            (partitions, members)
        };
        let ((pa, ma), (pb, mb)) = (facts(a), facts(b));
        (pb * ma).cmp(&(pa * mb)).then(ma.cmp(&mb)).then(a.cmp(b))
    });
    let unowned = free(spec, &taken, &subscribed(spec));
    let mut by_topic_free: Vec<Vec<i32>> = vec![Vec::new(); spec.topics.len()];
    for (topic, index) in unowned {
        if let Some(of) = by_topic_free.get_mut(topic as usize) {
            of.push(index);
        }
    }
    for topic in &order {
        let (Some(of), Some(free)) = (
            subscribers.get(*topic as usize),
            by_topic_free.get(*topic as usize),
        ) else {
            continue;
        };
        let mut queue: BTreeSet<(usize, usize)> = of
            .iter()
            .map(|member| (load(&loads, *member), *member))
            .collect();
        for index in free {
            let Some((_, member)) = queue.pop_first() else {
                break;
            };
            give(
                &subscribers,
                &mut dealt,
                &mut loads,
                (*topic, *index),
                member,
            );
            queue.insert((load(&loads, member), member));
        }
    }
    for _ in 0..ROUNDS_MAX {
        let mut moved = false;
        for topic in &order {
            moved |= level(&subscribers, &mut dealt, &mut loads, *topic);
        }
        if !moved {
            break;
        }
    }
    let mut all: Vec<Vec<Place>> = vec![Vec::new(); spec.members.len()];
    for ((topic, of), sets) in (0u32..).zip(&subscribers).zip(&dealt) {
        for (member, set) in of.iter().zip(sets) {
            if let Some(mine) = all.get_mut(*member) {
                mine.extend(set.iter().map(|index| (topic, *index)));
            }
        }
    }
    finished(all.into_iter().map(|mine| by_topic(spec, mine)).collect())
}

fn load(loads: &[usize], member: usize) -> usize {
    loads.get(member).copied().unwrap_or(0)
}

fn give(
    subscribers: &[Vec<usize>],
    dealt: &mut [Vec<BTreeSet<i32>>],
    loads: &mut [usize],
    (topic, index): Place,
    member: usize,
) {
    let Some(of) = subscribers.get(topic as usize) else {
        return;
    };
    let Ok(place) = of.binary_search(&member) else {
        return;
    };
    let set = dealt
        .get_mut(topic as usize)
        .and_then(|sets| sets.get_mut(place));
    if let (Some(set), Some(load)) = (set, loads.get_mut(member)) {
        set.insert(index);
        *load += 1;
    }
}

/// Moves partitions of one topic from the subscriber with the most partitions to the one with the fewest, as long as that
/// reduces the difference.
fn level(
    subscribers: &[Vec<usize>],
    dealt: &mut [Vec<BTreeSet<i32>>],
    loads: &mut [usize],
    topic: u32,
) -> bool {
    let (Some(of), Some(sets)) = (
        subscribers.get(topic as usize),
        dealt.get_mut(topic as usize),
    ) else {
        return false;
    };
    // Members that have partitions of the topic, and all subscribers, each ordered by load.
    let mut givers: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut takers: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (place, (member, set)) in of.iter().zip(sets.iter()).enumerate() {
        takers.insert((load(loads, *member), place));
        if !set.is_empty() {
            givers.insert((load(loads, *member), place));
        }
    }
    let mut moved = false;
    while let (Some(most), Some(least)) = (givers.last().copied(), takers.first().copied()) {
        if most.0 <= least.0 + 1 {
            break;
        }
        let Some(index) = sets.get_mut(most.1).and_then(BTreeSet::pop_last) else {
            givers.remove(&most);
            continue;
        };
        if let Some(set) = sets.get_mut(least.1) {
            set.insert(index);
        }
        for (place, was, now) in [
            (most.1, most.0, most.0 - 1),
            (least.1, least.0, least.0 + 1),
        ] {
            givers.remove(&(was, place));
            takers.remove(&(was, place));
            takers.insert((now, place));
            if sets.get(place).is_some_and(|set| !set.is_empty()) {
                givers.insert((now, place));
            }
            if let Some(load) = of.get(place).and_then(|member| loads.get_mut(*member)) {
                *load = now;
            }
        }
        moved = true;
    }
    moved
}
