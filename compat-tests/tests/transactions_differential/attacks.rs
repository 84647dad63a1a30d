//! Transactions without verification, expired state, and removals during a transaction: verification is switched off, producers
//! and transactional ids expire, topics are deleted and records truncated while a transaction is open.

use bytes::Bytes;
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::node::{Node, free_port};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use crate::compare;
use crate::teller::{NOBODY, Producer, Teller, batch, name, now};

/// Longer than a story takes.
const TIMEOUT_MS: i32 = 600_000;

/// Tells the same story to both brokers, with additional settings.
fn same_story(title: &str, settings: &str, story: impl Fn(&mut Teller)) {
    let settings = format!("{SETTINGS}{settings}");
    let told = |address: &str| {
        let mut teller = Teller::new(address);
        teller.timestamp = now();
        teller.letters.clear();
        story(&mut teller);
        teller.lines
    };
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let kafka = Apache::start_with(PRESENT, &settings, scratch.path(), &data).unwrap();
    let theirs = told(&kafka.address());
    kafka.stop().unwrap();
    let controller = free_port().unwrap().to_string();
    let node = Node::with_settings(&settings.replace("{controller}", &controller)).unwrap();
    let ours = told(&node.address());
    compare(title, &theirs, &ours);
}

/// The version that joins a transaction implicitly. Without the feature no client sends it, and Apache Kafka's coordinator gets
/// stuck if one does.
fn newest(transactions: i16, joins: i16) -> i16 {
    if transactions == 0 { joins - 1 } else { joins }
}

/// Batches and offsets that were not added to the transaction.
fn not_added(teller: &mut Teller, transactions: i16, verified: bool) {
    for version in 3..=newest(transactions, 12) {
        teller.chapter(&format!("produce v{version}, not added"));
        let id = &format!("produce {version}");
        // Not the first epoch, so that there is an older one.
        teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
        let me = teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
        let (stranger, ahead, behind) =
            ((me.0 + 1_000_000, me.1), (me.0, me.1 + 1), (me.0, me.1 - 1));
        let u = ("u", 0);
        for who in [stranger, ahead, behind, me] {
            teller.produce(version, Some("nobody"), who, 0, u);
        }
        for who in [stranger, behind] {
            teller.produce(version, Some(id), who, 0, u);
        }
        // One partition is in the transaction, the other one is not.
        teller.add(3, id, me, &[("t", &[0])]);
        teller.produce(version, Some(id), me, 0, ("t", 0));
        teller.produce(version, Some(id), me, 3, ("t", 1));
        teller.produce(version, Some(id), me, 0, ("t", 1));
        teller.produce(version, Some(id), me, 1, ("t", 1));
        teller.describe(id);
        for who in [ahead, behind, stranger] {
            // An accepted batch with a later epoch would leave the coordinator with a marker that the partition never accepts.
            if verified || version >= 12 || who != ahead {
                teller.produce(version, Some(id), who, 1, ("t", 0));
                teller.produce(version, Some(id), who, 0, ("t", 0));
            }
            teller.produce(version, Some(id), who, 0, ("t", 2));
        }
        for partition in 0..3 {
            teller.producers("t", partition);
            teller.committed("t", partition);
        }
        teller.describe(id);
        teller.end(3, id, me, version % 2 == 0);
        // The transaction is over, and the partition has not been added again.
        teller.produce(version, Some(id), me, 1, ("t", 0));
        teller.produce(version, Some(id), me, 2, ("t", 1));
        teller.describe(id);
        for partition in 0..3 {
            teller.producers("t", partition);
            teller.committed("t", partition);
        }
        // Hanging transactions are ended, so that the next client starts with partitions that nothing holds up.
        for who in [ahead, stranger] {
            for place in [("t", 0), ("t", 1), ("t", 2), ("u", 0)] {
                teller.markers(who, 0, false, &[place]);
            }
        }
        teller.producers("u", 0);
    }
    for version in 0..=newest(transactions, 5) {
        teller.chapter(&format!("offsets v{version}, not added"));
        let (id, group) = (&format!("offsets {version}"), "g");
        teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
        let me = teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
        let others = [(me.0 + 1_000_000, me.1), (me.0, me.1 + 1), (me.0, me.1 - 1)];
        let commit = |teller: &mut Teller, id: &str, who: Producer, offset: i64| {
            teller.commit_offset(version, id, who, group, ("", -1), ("t", 0), offset);
        };
        commit(teller, "nobody", me, 1);
        for who in others {
            commit(teller, id, who, 2);
        }
        commit(teller, id, me, 3);
        teller.offset(group);
        teller.describe(id);
        teller.add(3, id, me, &[("t", &[0])]);
        commit(teller, id, me, 4);
        for who in others {
            commit(teller, id, who, 5);
        }
        teller.offset(group);
        teller.end(3, id, me, true);
        teller.offset(group);
        commit(teller, id, me, 6);
        teller.offset(group);
        commit_some(
            teller,
            version,
            id,
            me,
            &[("t", 9), ("t", 0), ("nope", 1), ("nope", 0), ("u", 0)],
        );
        commit_some(
            teller,
            version,
            id,
            me,
            &[("nope", 1), ("nope", 0), ("t", 9), ("t", 8)],
        );
        for who in [others[0], (me.0, me.1 + 2)] {
            teller.markers(who, 0, false, &[("__consumer_offsets", 3)]);
        }
        teller.offset(group);
        teller.producers("__consumer_offsets", 3);
    }
}

/// Commits offsets of several partitions, some of which do not exist. Each has an entry of its own in the request.
fn commit_some(teller: &mut Teller, version: i16, id: &str, me: Producer, to: &[(&str, i32)]) {
    use txn_offset_commit_request::*;
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let topics = to.iter().map(|(topic, partition)| {
        TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![
                TxnOffsetCommitRequestPartition::default().with_partition_index(*partition),
            ])
    });
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(text(id)))
        .with_group_id(GroupId(text("g")))
        .with_producer_id(ProducerId(me.0))
        .with_producer_epoch(me.1)
        .with_topics(topics.collect());
    let answer = teller.call(version, &request);
    let told: Vec<String> = answer
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter();
            let told = partitions.map(|one| (one.partition_index, name(one.error_code)));
            format!("{} {:?}", &*topic.name.0, told.collect::<Vec<_>>())
        })
        .collect();
    teller.say(format!("commit offsets v{version} {id} {to:?}: {told:?}"));
}

/// Requests with batches of two producers, for partitions of which only some are in the transaction.
fn mixed(teller: &mut Teller, transactions: i16) {
    for version in [3, 9, newest(transactions, 12)] {
        teller.chapter(&format!("produce v{version} of two producers"));
        let (one, two) = (&format!("one {version}"), &format!("two {version}"));
        let me = teller.init(4, Some(one), TIMEOUT_MS, NOBODY);
        let other = teller.init(4, Some(two), TIMEOUT_MS, NOBODY);
        teller.add(3, one, me, &[("t", &[0])]);
        teller.add(3, two, other, &[("t", &[1])]);
        let time = teller.timestamp;
        let of = |who: Producer, transactional| batch(who, 0, transactional, time);
        let plain = |teller: &mut Teller, what, parts| produce(teller, version, one, what, parts);
        plain(
            teller,
            "both",
            vec![("t", 0, of(me, true)), ("t", 1, of(other, true))],
        );
        plain(
            teller,
            "one idempotent",
            vec![("t", 0, of(me, true)), ("t", 2, of(other, false))],
        );
        plain(
            teller,
            "one not added",
            vec![("t", 0, of(me, true)), ("u", 0, of(me, true))],
        );
        plain(
            teller,
            "one missing",
            vec![("t", 9, of(me, true)), ("u", 0, of(me, true))],
        );
        plain(
            teller,
            "two epochs",
            vec![("t", 0, of(me, true)), ("u", 0, of((me.0, me.1 + 1), true))],
        );
        teller.describe(one);
        for (topic, partition) in [("t", 0), ("t", 1), ("t", 2), ("u", 0)] {
            teller.producers(topic, partition);
        }
        teller.end(3, one, me, true);
        teller.end(3, two, other, false);
        for (topic, partition) in [("t", 0), ("t", 1), ("t", 2), ("u", 0)] {
            teller.committed(topic, partition);
        }
    }
}

fn produce(
    teller: &mut Teller,
    version: i16,
    id: &str,
    what: &str,
    parts: Vec<(&'static str, i32, Bytes)>,
) {
    let topics = parts.into_iter().map(|(topic, index, records)| {
        TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partition_data(vec![
                PartitionProduceData::default()
                    .with_index(index)
                    .with_records(Some(records)),
            ])
    });
    let request = ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_string(id.to_owned()))))
        .with_acks(-1)
        .with_timeout_ms(5_000)
        .with_topic_data(topics.collect());
    let answer = teller.call(version, &request);
    let mut told: Vec<String> = answer
        .responses
        .iter()
        .flat_map(|topic| {
            topic.partition_responses.iter().map(|one| {
                let (error, at) = (name(one.error_code), one.base_offset);
                format!("{}-{} {error} at {at}", &*topic.name.0, one.index)
            })
        })
        .collect();
    told.sort();
    teller.say(format!("produce v{version} {id}, {what}: {told:?}"));
}

/// Topics are deleted, and records are deleted, while a transaction is open.
fn taken_away(teller: &mut Teller) {
    for (version, produce, end) in [(2, 12, 5), (0, 9, 3)] {
        for commit in [true, false] {
            teller.set_version(version);
            let joins = produce >= 12;
            let group = &format!("g {version} {commit}");
            let begin = |teller: &mut Teller, what: &str, to: &[(&str, &[i32])]| {
                teller.chapter(&format!("{what}, version {version}, commit {commit}"));
                let id = format!("{what} {version} {commit}");
                let me = teller.init(4, Some(&id), TIMEOUT_MS, NOBODY);
                if !joins {
                    teller.add(3, &id, me, to);
                }
                (id, me)
            };

            teller.create("gone", 1);
            let (id, me) = begin(teller, "deleted", &[("t", &[0]), ("gone", &[0])]);
            teller.produce(produce, Some(&id), me, 0, ("t", 0));
            teller.produce(produce, Some(&id), me, 0, ("gone", 0));
            if !joins {
                teller.add_offsets(3, &id, me, group);
            }
            for topic in ["t", "gone"] {
                let version = if joins { 5 } else { 3 };
                teller.commit_offset(version, &id, me, group, ("", -1), (topic, 0), 7);
            }
            teller.delete("gone");
            teller.produce(produce, Some(&id), me, 1, ("gone", 0));
            teller.add(3, &id, me, &[("gone", &[0])]);
            teller.describe(&id);
            // The group coordinator applies the deletion a moment later.
            teller.until(|teller| teller.is_stable(group, "gone"));
            teller.offset_of(group, "gone");
            let me = teller.end(end, &id, me, commit);
            teller.describe(&id);
            teller.committed("t", 0);
            teller.offset(group);
            teller.create("gone", 1);
            teller.offset_of(group, "gone");
            teller.committed("gone", 0);
            teller.producers("gone", 0);
            teller.end(end, &id, me, commit);

            let (id, me) = begin(teller, "recreated", &[("t", &[0]), ("gone", &[0])]);
            teller.produce(produce, Some(&id), me, 0, ("t", 0));
            teller.produce(produce, Some(&id), me, 0, ("gone", 0));
            teller.delete("gone");
            teller.create("gone", 1);
            teller.describe(&id);
            teller.producers("gone", 0);
            teller.end(end, &id, me, commit);
            teller.describe(&id);
            teller.committed("gone", 0);
            teller.producers("gone", 0);
            teller.delete("gone");
            teller.create("gone", 1);

            let (id, me) = begin(teller, "recreated and used", &[("gone", &[0])]);
            teller.produce(produce, Some(&id), me, 0, ("gone", 0));
            teller.delete("gone");
            teller.create("gone", 2);
            teller.produce(produce, Some(&id), me, 1, ("gone", 0));
            teller.produce(produce, Some(&id), me, 0, ("gone", 0));
            teller.produce(produce, Some(&id), me, 0, ("gone", 1));
            teller.end(end, &id, me, commit);
            for partition in 0..2 {
                teller.committed("gone", partition);
                teller.producers("gone", partition);
            }
            teller.delete("gone");
            teller.create("gone", 1);

            let (id, me) = begin(teller, "cut", &[("gone", &[0])]);
            for sequence in 0..3 {
                teller.produce(produce, Some(&id), me, sequence, ("gone", 0));
            }
            for before in [1, 2, 9, -1] {
                teller.delete_records("gone", 0, before);
                teller.offsets("gone", 0);
                for from in 0..4 {
                    teller.committed_from("gone", 0, from);
                }
                teller.producers("gone", 0);
            }
            teller.produce(produce, Some(&id), me, 3, ("gone", 0));
            teller.offsets("gone", 0);
            teller.committed_from("gone", 0, 3);
            let me = teller.end(end, &id, me, commit);
            teller.offsets("gone", 0);
            for from in 3..6 {
                teller.committed_from("gone", 0, from);
            }
            teller.producers("gone", 0);
            teller.delete_records("gone", 0, -1);
            teller.offsets("gone", 0);
            teller.producers("gone", 0);
            if !joins {
                teller.add(3, &id, me, &[("gone", &[0])]);
            }
            teller.produce(
                produce,
                Some(&id),
                me,
                if joins { 0 } else { 4 },
                ("gone", 0),
            );
            teller.producers("gone", 0);
            teller.end(end, &id, me, !commit);
            teller.offsets("gone", 0);
            teller.committed_from("gone", 0, 5);
            teller.delete("gone");
        }
    }
}

/// Partitions forget producers whose last batch is old, unless these have an open transaction.
fn producers_expire(teller: &mut Teller) {
    let forgotten = |teller: &mut Teller, topic: &str, partition: i32, kept: usize| {
        teller.until(|teller| teller.producers_of(topic, partition) == kept);
        teller.producers(topic, partition);
    };
    for (version, produce, end) in [(2, 12, 5), (0, 9, 3)] {
        teller.set_version(version);
        teller.chapter(&format!("producers expire, version {version}"));
        let joins = produce >= 12;
        let id = &format!("expires {version}");
        teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
        let me = teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
        let plain = teller.init(4, None, TIMEOUT_MS, NOBODY);
        teller.produce(produce, None, plain, 0, ("t", 0));
        if !joins {
            teller.add(3, id, me, &[("t", &[0])]);
        }
        teller.produce(produce, Some(id), me, 0, ("t", 0));
        forgotten(teller, "t", 0, 1);
        teller.produce(produce, Some(id), me, 0, ("t", 0));
        teller.produce(produce, Some(id), me, 2, ("t", 0));
        teller.produce(produce, Some(id), me, 1, ("t", 0));
        let was = me;
        let me = teller.end(end, id, me, true);
        forgotten(teller, "t", 0, 0);
        teller.committed("t", 0);
        // An unknown producer may begin with any sequence number.
        teller.produce(produce, None, plain, 7, ("t", 0));
        teller.produce(produce, None, plain, 0, ("t", 0));
        teller.produce(produce, None, (plain.0, plain.1 - 1), 0, ("t", 0));
        if !joins {
            teller.add(3, id, me, &[("t", &[0])]);
        }
        teller.produce(produce, Some(id), (was.0, was.1 - 1), 0, ("t", 0));
        teller.produce(produce, Some(id), me, 5, ("t", 0));
        teller.produce(produce, Some(id), me, 0, ("t", 0));
        teller.markers((me.0, me.1 - 1), 0, false, &[("t", 0)]);
        teller.end(end, id, me, false);
        forgotten(teller, "t", 0, 0);
        // The epoch is no longer known.
        teller.markers((was.0, was.1 - 1), 0, false, &[("t", 0)]);
        teller.producers("t", 0);
        forgotten(teller, "t", 0, 0);
        // With old record timestamps, the producer expires in the next round.
        let time = std::mem::replace(&mut teller.timestamp, crate::teller::OLD);
        teller.produce(produce, None, plain, 0, ("u", 0));
        teller.timestamp = time;
        forgotten(teller, "u", 0, 0);
    }
}

/// The coordinator forgets unused transactional ids, unless these have an open transaction.
fn names_expire(teller: &mut Teller) {
    for (version, produce, end) in [(2, 12, 5), (0, 9, 3)] {
        teller.set_version(version);
        teller.chapter(&format!("names expire, version {version}"));
        let joins = produce >= 12;
        let id = |what: &str| format!("{what} {version}");
        let mut me = Vec::new();
        for what in ["open", "idle", "commits", "aborts"] {
            let mine = teller.init(4, Some(&id(what)), TIMEOUT_MS, NOBODY);
            if what != "idle" {
                if !joins {
                    teller.add(3, &id(what), mine, &[("t", &[0])]);
                }
                teller.produce(produce, Some(&id(what)), mine, 0, ("t", 0));
            }
            me.push(match what {
                "commits" => teller.end(end, &id(what), mine, true),
                "aborts" => teller.end(end, &id(what), mine, false),
                _ => mine,
            });
        }
        for what in ["idle", "commits", "aborts"] {
            teller.until(|teller| teller.described(&id(what)).contains("NotFound"));
            teller.describe(&id(what));
        }
        teller.describe(&id("open"));
        teller.list(0, &[], &[], -1, None);
        for (what, me) in ["open", "idle", "commits", "aborts"].into_iter().zip(me) {
            let id = &id(what);
            teller.add(3, id, me, &[("t", &[1])]);
            teller.add_offsets(3, id, me, "g");
            teller.commit_offset(3, id, me, "g", ("", -1), ("t", 0), 1);
            teller.produce(produce, Some(id), me, 1, ("t", 0));
            teller.produce(produce, Some(id), me, 0, ("t", 1));
            if what != "open" {
                teller.end(end, id, me, true);
                teller.init(4, Some(id), TIMEOUT_MS, me);
                // The id has another producer now.
                teller.init(4, Some(id), TIMEOUT_MS, NOBODY);
            }
        }
        let open = producer_of(teller, &id("open"));
        teller.end(end, &id("open"), open, false);
        for partition in 0..2 {
            teller.committed("t", partition);
        }
    }
}

/// Current producer of a transactional id.
fn producer_of(teller: &mut Teller, id: &str) -> Producer {
    let request = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![TransactionalId(StrBytes::from_string(id.to_owned()))]);
    let answer = teller.call(0, &request);
    let one = &answer.transaction_states[0];
    (one.producer_id.0, one.producer_epoch)
}

const VERIFICATION: &str = "transaction.partition.verification.enable";

fn without_being_added(transactions: i16, verified: bool) {
    let title = format!("verification-{transactions}-{verified}");
    same_story(&title, &format!("{VERIFICATION}={verified}\n"), |teller| {
        teller.set_version(transactions);
        not_added(teller, transactions, verified);
        mixed(teller, transactions);
    });
}

#[test]
#[ignore = "needs java and maven"]
fn what_nobody_added_is_verified() {
    without_being_added(2, true);
}

#[test]
#[ignore = "needs java and maven"]
fn what_nobody_added_is_not_verified() {
    without_being_added(2, false);
}

#[test]
#[ignore = "needs java and maven"]
fn what_nobody_added_is_verified_with_version_0() {
    without_being_added(0, true);
}

#[test]
#[ignore = "needs java and maven"]
fn topics_and_records_that_go_in_mid_transaction() {
    same_story("taken-away", "", taken_away);
}

#[test]
#[ignore = "needs java and maven"]
fn producers_that_expire() {
    let settings = "producer.id.expiration.ms=1500\nproducer.id.expiration.check.interval.ms=200\n";
    same_story("producers-expire", settings, producers_expire);
}

#[test]
#[ignore = "needs java and maven"]
fn names_that_expire() {
    let settings = "transactional.id.expiration.ms=1500\ntransaction.remove.expired.transaction.cleanup.interval.ms=200\n";
    same_story("names-expire", settings, names_expire);
}
