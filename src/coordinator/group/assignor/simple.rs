//! pure: assignor of share groups (Kafka: `SimpleAssignor`). A partition may have several members. Each partition gets as many
//! members as are needed for every member to have a partition, and the numbers of partitions per member are balanced. Members
//! keep their current partitions as far as the balance allows.

use std::collections::BTreeMap;

use super::MemberSpec;
use crate::base::ids::Uuid;
use crate::coordinator::group::consumer::assignment::Assignment;

/// A topic with its partitions that may be assigned.
#[derive(Clone, Debug, Default)]
pub struct SharedTopic {
    pub id: Uuid,
    pub partitions: Vec<i32>,
}

/// Assignment of each member, in the order of members. `MemberSpec::topics` are indexes into `topics`.
pub fn assign(members: &[MemberSpec<'_>], topics: &[SharedTopic]) -> Vec<Assignment> {
    let mut groups: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
    let same = members.windows(2).all(|two| two[0].topics == two[1].topics);
    let mut dealt: Vec<Vec<(Uuid, Vec<i32>)>> = vec![Vec::new(); members.len()];
    let all: Vec<usize> = (0..members.len()).collect();
    if same {
        let places = members.first().map(|first| first.topics.clone());
        groups.insert(places.unwrap_or_default(), all);
    } else {
        // Each topic is dealt separately among its subscribers. The first subscriber is another one for each topic.
        for place in 0..topics.len() as u32 {
            let mut those: Vec<usize> = all
                .iter()
                .copied()
                .filter(|member| members[*member].topics.binary_search(&place).is_ok())
                .collect();
            let by = place as usize % those.len().max(1);
            those.rotate_left(by);
            groups.insert(vec![place], those);
        }
    }
    for (places, those) in groups {
        let places = places
            .iter()
            .filter_map(|place| topics.get(*place as usize));
        let partitions: Vec<(Uuid, i32)> = places
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.id, *index)))
            .collect();
        let targets: Vec<Option<&Assignment>> =
            those.iter().map(|member| members[*member].target).collect();
        for (member, some) in those.iter().zip(deal(&targets, &partitions)) {
            for (topic, index) in some {
                dealt[*member].push((topic, vec![index]));
            }
        }
    }
    dealt.into_iter().map(Assignment::new).collect()
}

/// Deals partitions among members that all subscribe to each of them.
fn deal(targets: &[Option<&Assignment>], partitions: &[(Uuid, i32)]) -> Vec<Vec<(Uuid, i32)>> {
    let (members, count) = (targets.len(), partitions.len());
    let mut dealt = vec![Vec::new(); members];
    if members == 0 || count == 0 {
        return dealt;
    }
    let sharing = members.div_ceil(count);
    // Quota of each member. The quotas add up to the number of slots of all partitions.
    let slots = sharing * count;
    let upto = |member: usize| (slots * member).div_ceil(members);
    let quota = |member: usize| upto(member + 1) - upto(member);
    let mut left = vec![sharing; count];
    let mut has = vec![Vec::new(); members];
    let places = partitions.iter().enumerate();
    let place_of: BTreeMap<(Uuid, i32), usize> = places.map(|(place, of)| (*of, place)).collect();
    for (member, target) in targets.iter().enumerate() {
        let kept = target.iter().flat_map(|target| target.each());
        for place in kept.filter_map(|of| place_of.get(&of).copied()) {
            if has[member].len() >= quota(member) {
                break;
            }
            if left[place] > 0 {
                left[place] -= 1;
                has[member].push(place);
            }
        }
    }
    let mut next = 0;
    // The last member that has got each partition.
    let mut last = vec![members; count];
    for (member, has) in has.iter_mut().enumerate() {
        for place in &*has {
            last[*place] = member;
        }
        // Partitions that the member has already are skipped. Slots that are left at the end belong to partitions that the
        // member has already.
        let mut looked = 0;
        while has.len() < quota(member) && looked < count {
            let place = next % count;
            next += 1;
            if left[place] > 0 && last[place] != member {
                left[place] -= 1;
                last[place] = member;
                has.push(place);
                looked = 0;
            } else {
                looked += 1;
            }
        }
    }
    for (member, places) in has.into_iter().enumerate() {
        dealt[member] = places.into_iter().map(|place| partitions[place]).collect();
    }
    dealt
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(number: u8, partitions: i32) -> SharedTopic {
        SharedTopic {
            id: Uuid([number; 16]),
            partitions: (0..partitions).collect(),
        }
    }

    fn members<'a>(
        names: &'a [String],
        topics: &[Vec<u32>],
        targets: &'a [Assignment],
    ) -> Vec<MemberSpec<'a>> {
        let each = names.iter().zip(topics).enumerate();
        each.map(|(number, (id, topics))| MemberSpec {
            id,
            instance_id: None,
            topics: topics.clone(),
            target: targets.get(number),
        })
        .collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("m{number}")).collect()
    }

    #[test]
    fn members_share_partitions_evenly() {
        let topics = [topic(1, 3)];
        for (count, expected) in [
            (1, vec![3]),
            (2, vec![2, 1]),
            (3, vec![1, 1, 1]),
            (5, vec![2, 1, 1, 1, 1]),
        ] {
            let names = names(count);
            let subscriptions = vec![vec![0]; count];
            let assigned = assign(&members(&names, &subscriptions, &[]), &topics);
            let counts: Vec<usize> = assigned.iter().map(Assignment::count).collect();
            assert_eq!(counts, expected);
        }
    }

    #[test]
    fn a_hundred_thousand_partitions_take_no_time_that_grows_with_their_square() {
        let topics = [topic(1, 100_000), topic(2, 100_000)];
        let names = names(2);
        let assign = |targets: &[Assignment]| {
            let subscriptions = vec![vec![0, 1]; 2];
            assign(&members(&names, &subscriptions, targets), &topics)
        };
        let first = assign(&[]);
        assert_eq!(first[0].count(), 100_000);
        assert_eq!(assign(&first), first);
    }

    proptest! {
        #[test]
        fn everybody_has_some_and_every_partition_somebody(
            subscriptions in prop::collection::vec(prop::collection::btree_set(0..3u32, 1..=3), 1..12),
            partitions in prop::collection::vec(1..6i32, 3),
            more in 0..4usize,
        ) {
            let topics: Vec<SharedTopic> =
                (1u8..).zip(&partitions).map(|(number, count)| topic(number, *count)).collect();
            let subscriptions: Vec<Vec<u32>> =
                subscriptions.into_iter().map(|one| one.into_iter().collect()).collect();
            let names = names(subscriptions.len());
            let first = assign(&members(&names, &subscriptions, &[]), &topics);
            let again = assign(&members(&names, &subscriptions, &first), &topics);
            prop_assert_eq!(&first, &again);
            let fewer = subscriptions.len().saturating_sub(more).max(1);
            let then = assign(&members(&names[..fewer], &subscriptions[..fewer], &first), &topics);
            for (assigned, subscriptions) in [(&first, &subscriptions[..]), (&then, &subscriptions[..fewer])] {
                for (member, topic_places) in assigned.iter().zip(subscriptions) {
                    prop_assert!(!member.is_empty());
                    for (id, _) in member.each() {
                        prop_assert!(topic_places.iter().any(|place| topics[*place as usize].id == id));
                    }
                }
                for (place, topic) in topics.iter().enumerate() {
                    let is_wanted = subscriptions.iter().any(|one| one.contains(&(place as u32)));
                    for index in &topic.partitions {
                        let has = assigned.iter().any(|one| one.contains(topic.id, *index));
                        prop_assert_eq!(has, is_wanted);
                    }
                }
            }
        }
    }
}
