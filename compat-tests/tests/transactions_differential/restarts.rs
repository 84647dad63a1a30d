//! Restarts of the coordinator between any two steps of a transaction. State that is only in its memory is lost then; the
//! responses show which state that is, and must be the same for both brokers.

use std::path::Path;

use compat_tests::apache::Apache;
use compat_tests::node::Node;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use crate::teller::{NOBODY, Producer, Teller};
use crate::{CLIENTS, Client, compare};

const IDS: [&str; 7] = [
    "commits", "aborts", "zombie", "recovers", "twice", "gives up", "late",
];
const GROUPS: [&str; 2] = ["g commits", "g aborts"];

/// Either broker, with restarts.
enum Broker {
    Kafka(Option<Apache>),
    Monedula(Node, usize),
}

impl Broker {
    fn start(kafka: bool, scratch: &Path) -> Self {
        if kafka {
            Self::Kafka(Some(Apache::start(scratch, &scratch.join("data")).unwrap()))
        } else {
            Self::Monedula(Node::start().unwrap(), 0)
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Kafka(broker) => broker.as_ref().unwrap().address(),
            Self::Monedula(node, _) => node.address(),
        }
    }

    /// Restarts the broker. monedula is killed every other time; Apache Kafka would have to wait for the end of its own
    /// session.
    fn restart(&mut self, scratch: &Path) {
        match self {
            Self::Kafka(broker) => {
                broker.take().unwrap().stop().unwrap();
                *broker = Some(Apache::start(scratch, &scratch.join("data")).unwrap());
            }
            Self::Monedula(node, times) => {
                if *times % 2 == 0 {
                    node.kill().unwrap();
                } else {
                    node.stop().unwrap();
                }
                *times += 1;
                node.resume().unwrap();
            }
        }
    }
}

/// Waits until everything that the story needs has been loaded.
fn ready(teller: &mut Teller) {
    // COORDINATOR_LOAD_IN_PROGRESS and other temporary errors.
    let passing = |error: i16| [3, 5, 6, 14, 15, 16].contains(&error);
    for id in IDS {
        teller.until(|teller| {
            let request = DescribeTransactionsRequest::default()
                .with_transactional_ids(vec![TransactionalId(text(id))]);
            !passing(teller.call(0, &request).transaction_states[0].error_code)
        });
        teller.settle(id);
    }
    for group in GROUPS {
        teller.until(|teller| {
            let request = OffsetFetchRequest::default()
                .with_group_id(GroupId(text(group)))
                .with_topics(None);
            !passing(teller.call(5, &request).error_code)
        });
    }
    for (topic, partitions) in [("t", 3), ("u", 1)] {
        for partition in 0..partitions {
            teller.until(|teller| !passing(teller.producers_error(topic, partition)));
        }
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn story(kafka: bool, version: i16) -> Vec<String> {
    let client = &CLIENTS[match version {
        0 => 1,
        1 => 4,
        _ => 5,
    }];
    let scratch = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(kafka, scratch.path());
    let mut teller = Teller::new(&broker.address());
    teller.set_version(version);
    teller.letters.clear();
    let mut cast = Cast {
        joins: client.produce >= 12,
        client,
        me: [NOBODY; IDS.len()],
        zombie: NOBODY,
        before: [NOBODY; 2],
    };
    for step in 0..STEPS {
        teller.chapter(&format!("step {step}"));
        cast.step(step, &mut teller);
        broker.restart(scratch.path());
        teller.connect(&broker.address());
        ready(&mut teller);
    }
    teller.chapter("in the end");
    for id in IDS {
        teller.describe(id);
    }
    for group in GROUPS {
        teller.offset(group);
    }
    for partition in 0..3 {
        teller.committed("t", partition);
        teller.producers("t", partition);
    }
    teller.committed("u", 0);
    teller.producers("u", 0);
    // Apache Kafka leads with a new epoch after each restart; monedula needs none, because no other broker could lead.
    teller
        .lines
        .iter()
        .map(|line| without_epoch(line))
        .collect()
}

fn without_epoch(line: &str) -> String {
    let mut parts = line.split(" coordinator ");
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told += " coordinator";
        told += part.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    told
}

const STEPS: usize = 8;
/// Longer than all restarts take together.
const TIMEOUT_MS: i32 = 900_000;

/// The producers of the story, each with a history of its own. All of them take their next step between the same two restarts.
struct Cast {
    client: &'static Client,
    joins: bool,
    me: [Producer; IDS.len()],
    /// Previous producer of the transactional id "zombie".
    zombie: Producer,
    /// Producers of "commits" and "aborts" before their transactions ended.
    before: [Producer; 2],
}

impl Cast {
    fn step(&mut self, step: usize, teller: &mut Teller) {
        let client = self.client;
        for (index, commit) in [(0, true), (1, false)] {
            self.live(step, teller, index, commit);
        }
        let [_, _, zombie, recovers, twice, gives_up, late] = &mut self.me;
        let add = |teller: &mut Teller, id: &str, me: Producer, partition: i32| {
            if client.produce < 12 {
                teller.add(client.add, id, me, &[("t", &[partition])]);
            }
        };
        let produce = |teller: &mut Teller, id: &str, me: Producer, sequence: i32| {
            teller.produce(client.produce, Some(id), me, sequence, ("t", 2));
        };
        // A second producer with the id starts while the first one has an open transaction.
        match step {
            0 => *zombie = teller.init(client.init, Some("zombie"), TIMEOUT_MS, NOBODY),
            1 => add(teller, "zombie", *zombie, 2),
            2 => produce(teller, "zombie", *zombie, 0),
            3 => {
                self.zombie = *zombie;
                teller.init(client.init, Some("zombie"), TIMEOUT_MS, NOBODY);
            }
            4 => *zombie = teller.init(client.init, Some("zombie"), TIMEOUT_MS, NOBODY),
            _ => {
                let old = self.zombie;
                produce(teller, "zombie", old, 1);
                teller.add(client.add, "zombie", old, &[("t", &[2])]);
                teller.add_offsets(client.offsets, "zombie", old, "g commits");
                teller.commit_offset(
                    client.commit,
                    "zombie",
                    old,
                    "g commits",
                    ("", -1),
                    ("t", 0),
                    99,
                );
                teller.end(client.end, "zombie", old, true);
                teller.end(client.end, "zombie", old, false);
                match step {
                    5 => add(teller, "zombie", *zombie, 2),
                    6 => produce(teller, "zombie", *zombie, 0),
                    _ => *zombie = teller.end(client.end, "zombie", *zombie, true),
                }
            }
        }
        // A producer that initializes again with its own epoch (KIP-360) and does not get the response.
        if client.init >= 3 {
            let was = *recovers;
            match step {
                0 => *recovers = teller.init(client.init, Some("recovers"), TIMEOUT_MS, NOBODY),
                1 | 4 => {
                    teller.init(client.init, Some("recovers"), TIMEOUT_MS, was);
                    teller.init(client.init, Some("recovers"), TIMEOUT_MS, was);
                }
                2 | 5 => {
                    teller.init(client.init, Some("recovers"), TIMEOUT_MS, was);
                    *recovers = teller.init(
                        client.init,
                        Some("recovers"),
                        TIMEOUT_MS,
                        (was.0, was.1 + 1),
                    );
                }
                3 => {
                    teller.init(client.init, Some("recovers"), TIMEOUT_MS, was);
                    teller.init(
                        client.init,
                        Some("recovers"),
                        TIMEOUT_MS,
                        (was.0, was.1 + 7),
                    );
                }
                _ => {
                    teller.init(
                        client.init,
                        Some("recovers"),
                        TIMEOUT_MS,
                        (was.0, was.1 - 1),
                    );
                }
            }
        }
        // Two producers with the same id start at the same time, repeatedly.
        teller.init(client.init, Some("twice"), TIMEOUT_MS, NOBODY);
        *twice = teller.init(client.init, Some("twice"), TIMEOUT_MS, NOBODY);
        add(teller, "twice", *twice, 2);
        // A producer that ends its own transaction by initializing again.
        let was = *gives_up;
        match step {
            0 => *gives_up = teller.init(client.init, Some("gives up"), TIMEOUT_MS, NOBODY),
            1 => add(teller, "gives up", was, 2),
            2 => produce(teller, "gives up", was, 0),
            3 | 4 if client.init >= 3 => {
                teller.init(client.init, Some("gives up"), TIMEOUT_MS, was);
            }
            _ => {
                teller.end(client.end, "gives up", was, true);
                teller.describe("gives up");
            }
        }
        // A transaction that only its timeout ends.
        match step {
            0 => *late = teller.init(client.init, Some("late"), TIMEOUT_MS, NOBODY),
            1 => *late = teller.init(client.init, Some("late"), 5_000, NOBODY),
            2 => {
                add(teller, "late", *late, 2);
                produce(teller, "late", *late, 0);
            }
            // Both brokers look for expired transactions every ten seconds; monedula also does so when it starts.
            3 => teller.until(|teller| teller.described("late").contains("Complete")),
            _ => {
                produce(teller, "late", *late, 1);
                teller.end(client.end, "late", *late, false);
                teller.describe("late");
            }
        }
    }

    /// A producer with a transaction from the first step to the last, and some requests after it.
    fn live(&mut self, step: usize, teller: &mut Teller, index: usize, commit: bool) {
        let client = self.client;
        let (id, group, partition) = (IDS[index], GROUPS[index], index as i32);
        let me = self.me[index];
        match step {
            0 => self.me[index] = teller.init(client.init, Some(id), TIMEOUT_MS, NOBODY),
            1 if !self.joins => teller.add(client.add, id, me, &[("t", &[partition])]),
            1 => {}
            2 => {
                teller.produce(client.produce, Some(id), me, 0, ("t", partition));
                teller.produce(client.produce, Some(id), me, 0, ("t", partition));
            }
            3 if !self.joins => teller.add_offsets(client.offsets, id, me, group),
            3 => {}
            4 => {
                teller.produce(client.produce, Some(id), me, 0, ("t", partition));
                teller.produce(client.produce, Some(id), me, 1, ("t", partition));
                let nobody = ("", -1);
                teller.commit_offset(client.commit, id, me, group, nobody, ("t", 0), 40);
                teller.offset(group);
            }
            5 => {
                teller.offset(group);
                teller.committed("t", partition);
                self.before[index] = me;
                self.me[index] = teller.end(client.end, id, me, commit);
            }
            6 => {
                let old = self.before[index];
                teller.end(client.end, id, old, commit);
                teller.end(client.end, id, old, !commit);
                teller.offset(group);
                teller.committed("t", partition);
                if !self.joins {
                    teller.add(client.add, id, me, &[("t", &[partition])]);
                }
            }
            _ => {
                let next = if self.joins { 0 } else { 2 };
                teller.produce(client.produce, Some(id), me, next, ("t", partition));
                self.me[index] = teller.end(client.end, id, me, commit);
            }
        }
        teller.describe(id);
    }
}

fn same_story(version: i16) {
    let theirs = story(true, version);
    let ours = story(false, version);
    compare(&format!("restarts-{version}"), &theirs, &ours);
}

#[test]
#[ignore = "needs java and maven"]
fn a_coordinator_that_restarts_between_each_two_steps_with_version_0() {
    same_story(0);
}

#[test]
#[ignore = "needs java and maven"]
fn a_coordinator_that_restarts_between_each_two_steps_with_version_1() {
    same_story(1);
}

#[test]
#[ignore = "needs java and maven"]
fn a_coordinator_that_restarts_between_each_two_steps_with_version_2() {
    same_story(2);
}
