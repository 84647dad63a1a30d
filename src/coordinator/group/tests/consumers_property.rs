//! Random tests of the consumer protocol. The clients follow the coordinator, and some answers get lost. No client may own a
//! partition that the coordinator does not ascribe to it, and in the end every partition of a subscribed topic is assigned.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::coordinator::group::consumer::group::State;

const MEMBERS: usize = 5;
const TOPICS: [&str; 4] = ["t:3", "t:3,u:2", "u:4", "t:5,u:1"];
const SUBSCRIPTIONS: [&[&str]; 3] = [&["t"], &["t", "u"], &["u"]];

#[derive(Clone, Debug, Default)]
struct Client {
    epoch: i32,
    owned: BTreeSet<(Uuid, i32)>,
    topics: usize,
    is_in: bool,
    /// Whether the last heartbeat had no answer, so that the next one must hold all fields and gets the whole assignment.
    says_all: bool,
}

struct World {
    stage: Stage,
    clients: [Client; MEMBERS],
}

fn name(client: usize) -> ByteString {
    format!("m{client}").into()
}

impl World {
    fn new() -> Self {
        let mut stage = Stage::new(GroupSettings::default());
        stage.topics(TOPICS[0]);
        Self {
            stage,
            clients: Default::default(),
        }
    }

    fn beat(&mut self, client: usize, epoch: i32, is_lost: bool) {
        let this = &mut self.clients[client];
        let joins = epoch == 0;
        let mut owned: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
        for (topic, index) in &this.owned {
            owned.entry(*topic).or_default().push(*index);
        }
        let owned = owned
            .into_iter()
            .map(|(topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions,
            });
        let topics = SUBSCRIPTIONS[this.topics].iter().map(|name| (*name).into());
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: name(client),
            member_epoch: epoch,
            rebalance_timeout_ms: if joins || this.says_all { 60_000 } else { -1 },
            subscribed_topic_names: (epoch >= 0).then(|| topics.collect()),
            topic_partitions: Some(owned.collect()),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answers = self.stage.ask(GroupRequest::ConsumerHeartbeat(Box::new(
            ConsumerHeartbeat {
                request,
                client_id: "c".into(),
                client_host: "/h".into(),
                names_itself: true,
                regex_fault: None,
                classic: None,
            },
        )));
        let Some((_, GroupAnswer::ConsumerHeartbeat(answer))) = answers.into_iter().next() else {
            panic!("a heartbeat is answered at once");
        };
        if epoch < 0 {
            *this = Client {
                topics: this.topics,
                ..Client::default()
            };
            return;
        }
        this.says_all = is_lost;
        if is_lost {
            return;
        }
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => {
                this.is_in = true;
                this.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    let topics = assignment.topic_partitions.iter();
                    let each = topics.flat_map(|topic| {
                        topic
                            .partitions
                            .iter()
                            .map(|index| (topic.topic_id, *index))
                    });
                    this.owned = each.collect();
                }
            }
            Some(
                ErrorCode::UnknownMemberId
                | ErrorCode::FencedMemberEpoch
                | ErrorCode::GroupIdNotFound,
            ) => {
                *this = Client {
                    topics: this.topics,
                    ..Client::default()
                };
            }
            other => panic!("{other:?}"),
        }
    }

    fn act(&mut self, (what, client, number): (u8, usize, usize)) {
        let client = client % MEMBERS;
        let is_lost = number.is_multiple_of(3);
        let this = &self.clients[client];
        match what {
            0..=2 => {
                self.clients[client].owned.clear();
                self.beat(client, 0, is_lost);
            }
            3..=10 if this.is_in => self.beat(client, this.epoch, is_lost),
            11 if this.is_in => self.beat(client, -1, false),
            12 => self.clients[client].topics = number % SUBSCRIPTIONS.len(),
            13 => drop(self.stage.topics(TOPICS[number % TOPICS.len()])),
            14 => self.stage.crash(),
            15 => drop(self.stage.advance(700 * number as i64)),
            _ => {}
        }
    }

    /// Checks that every partition which a client may read is assigned to it by the coordinator, unless the client is no longer
    /// in the group.
    fn check(&self) {
        let replayed = self.stage.replayed();
        let of = |shard: &GroupShard| {
            shard
                .groups()
                .get("g")
                .and_then(Group::as_consumer)
                .map(|group| group.facts())
        };
        assert_eq!(
            format!("{:?}", of(&self.stage.shard)),
            format!("{:?}", of(&replayed))
        );
        let Some(group) = self
            .stage
            .shard
            .groups()
            .get("g")
            .and_then(Group::as_consumer)
        else {
            return;
        };
        for (client, this) in self.clients.iter().enumerate() {
            let Some(member) = group.member(&name(client)) else {
                continue;
            };
            // After a join whose answer got lost, `owned` is empty: a joining client gives up all partitions.
            for (topic, index) in &this.owned {
                let current = &member.current;
                let known = current.assigned.contains(*topic, *index)
                    || current.pending.contains(*topic, *index);
                assert!(
                    known,
                    "{} reads {topic} {index}, and has {current:?}",
                    name(client)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_read_twice_and_in_the_end_all_of_it(
        actions in prop::collection::vec((0..17u8, 0..MEMBERS, 0..12usize), 1..150),
    ) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
            world.check();
        }
        // From every state the group becomes stable once all clients send heartbeats.
        for _ in 0..8 {
            world.stage.advance(2_000);
            for client in 0..MEMBERS {
                if world.clients[client].is_in {
                    let epoch = world.clients[client].epoch;
                    world.beat(client, epoch, false);
                }
                world.check();
            }
        }
        let Some(group) = world.stage.shard.groups().get("g").and_then(Group::as_consumer) else {
            return Ok(());
        };
        // Members whose client is gone keep the group from becoming stable until their session ends.
        let all_speak = (0..MEMBERS).all(|client| group.member(&name(client)).is_none() || world.clients[client].is_in);
        if all_speak && !group.members().is_empty() {
            prop_assert_eq!(group.state(), State::Stable);
            for topic in world.stage.image.topics.iter() {
                let is_read = group.is_subscribed_to(&topic.name);
                for index in 0..topic.partitions.len() as i32 {
                    prop_assert_eq!(group.is_taken(topic.id, index), is_read);
                }
            }
        }
    }
}
