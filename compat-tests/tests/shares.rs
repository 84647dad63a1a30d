//! Share groups work with Apache Kafka's consumer and tools as they do on Apache Kafka. Whenever the process is killed, no
//! acknowledged record is delivered again, and no record is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use compat_tests::admin::create;
use compat_tests::apache::{Apache, PRESENT, Run, SETTINGS, tools};
use compat_tests::chance::{Chance, seed};
use compat_tests::exchange::Connection;
use compat_tests::node::Node;
use compat_tests::programs::eventually;
use monedula::base::ids::Uuid;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::codec::Records;
use monedula::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use monedula::wire::message::share_acknowledge::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
};
use monedula::wire::message::share_fetch::{FetchPartition, FetchTopic, ShareFetchRequest};
use monedula::wire::message::share_group_heartbeat::ShareGroupHeartbeatRequest;

const GROUP: &str = "sharers";
const TOPIC: &str = "shared";
const GROUP_RESOURCE: i8 = 32;
const LIMIT: Duration = Duration::from_secs(120);
const ROUNDS: usize = 8;
const RECORDS: usize = 200;
const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;

fn begin_early(connection: &mut Connection) -> Result<()> {
    let set = |name: &'static str, value: &'static str| AlterableConfig {
        name: name.into(),
        config_operation: 0,
        value: Some(value.into()),
    };
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: GROUP_RESOURCE,
            resource_name: GROUP.into(),
            // The delivery limit is high enough that released records are not archived.
            configs: vec![
                set("share.auto.offset.reset", "earliest"),
                set("share.delivery.count.limit", "10"),
            ],
        }],
        validate_only: false,
    };
    let answer = connection.answered(&request, 1)?;
    ensure!(
        answer.responses.iter().all(|one| one.error_code == 0),
        "{answer:?}"
    );
    Ok(())
}

fn produce(connection: &mut Connection, count: usize) -> Result<()> {
    let mut batch = BatchBuilder::default();
    for number in 0..count {
        let value = Bytes::from(format!("record {number}"));
        batch.push(1_700_000_000_000, None, Some(&value));
    }
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 60_000,
        topic_data: vec![TopicProduceData {
            name: TOPIC.into(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(Records::Bytes(batch.build())),
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = connection.answered(&request, 7)?;
    let error = answer.responses[0].partition_responses[0].error_code;
    ensure!(error == 0, "produce: {error}");
    Ok(())
}

/// A member that accepts, releases or keeps records at random.
struct Member {
    connection: Connection,
    topic: Uuid,
    epoch: i32,
}

impl Member {
    fn join(address: &str) -> Result<Self> {
        let mut connection = Connection::open(address)?;
        let mut request = ShareGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: "member".into(),
            subscribed_topic_names: Some(vec![TOPIC.into()]),
            ..Default::default()
        };
        let mut topic = None;
        let joined = eventually(LIMIT, || {
            let Ok(answer) = connection.answered(&request, 1) else {
                return false;
            };
            if answer.error_code == 0 {
                request.member_epoch = answer.member_epoch;
                request.subscribed_topic_names = None;
                let given = answer.assignment.map(|given| given.topic_partitions);
                topic = given.unwrap_or_default().first().map(|one| one.topic_id);
            }
            topic.is_some()
        });
        ensure!(joined, "nothing was assigned");
        Ok(Self {
            connection,
            topic: topic.unwrap_or_default(),
            epoch: 0,
        })
    }

    /// Fetches records: their offsets and delivery counts.
    fn fetch(&mut self, wait: Duration) -> Result<Vec<(i64, i16)>> {
        let topics = vec![FetchTopic {
            topic_id: self.topic,
            partitions: vec![FetchPartition::default()],
        }];
        let request = ShareFetchRequest {
            group_id: Some(GROUP.into()),
            member_id: Some("member".into()),
            share_session_epoch: self.epoch,
            max_wait_ms: i32::try_from(wait.as_millis())?,
            min_bytes: 1,
            max_records: 50,
            batch_size: 50,
            share_acquire_mode: 1,
            topics,
            ..Default::default()
        };
        let answer = self.connection.answered(&request, 2)?;
        ensure!(answer.error_code == 0, "{answer:?}");
        self.epoch += 1;
        let mut taken = Vec::new();
        for data in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            ensure!(data.error_code == 0, "{data:?}");
            for run in &data.acquired_records {
                taken.extend(
                    (run.first_offset..=run.last_offset).map(|at| (at, run.delivery_count)),
                );
            }
        }
        Ok(taken)
    }

    fn said(&self, offsets: &[i64], kind: i8) -> ShareAcknowledgeRequest {
        let batches = offsets.iter().map(|offset| AcknowledgementBatch {
            first_offset: *offset,
            last_offset: *offset,
            acknowledge_types: vec![kind],
        });
        ShareAcknowledgeRequest {
            group_id: Some(GROUP.into()),
            member_id: Some("member".into()),
            share_session_epoch: self.epoch,
            topics: vec![AcknowledgeTopic {
                topic_id: self.topic,
                partitions: vec![AcknowledgePartition {
                    partition_index: 0,
                    acknowledgement_batches: batches.collect(),
                }],
            }],
            ..Default::default()
        }
    }

    fn say(&mut self, offsets: &[i64], kind: i8) -> Result<()> {
        let answer = self.connection.answered(&self.said(offsets, kind), 2)?;
        self.epoch += 1;
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        let is_fine = partitions.fold(answer.error_code == 0, |all, one| {
            all && one.error_code == 0
        });
        ensure!(is_fine, "{answer:?}");
        Ok(())
    }
}

#[test]
#[ignore = "needs the broker's binary"]
fn nothing_acknowledged_comes_again_and_nothing_is_lost_when_the_process_is_killed() -> Result<()> {
    let mut node = Node::start()?;
    let seed = seed("SHARES_SEED");
    let mut chance = Chance::new(seed);
    let told = story(&mut node, &mut chance);
    if told.is_err() {
        println!("SHARES_SEED={seed}; files in {:?}", node.keep());
    }
    told
}

fn story(node: &mut Node, chance: &mut Chance) -> Result<()> {
    let mut client = Connection::open(&node.address())?;
    create(&mut client, &[TOPIC], 1)?;
    begin_early(&mut client)?;
    compat_tests::admin::load_coordinators(&mut client)?;
    let mut done: BTreeSet<i64> = BTreeSet::new();
    // Records whose acknowledgement was sent but not answered.
    let mut doubtful: BTreeSet<i64> = BTreeSet::new();
    for _ in 0..ROUNDS {
        produce(&mut Connection::open(&node.address())?, RECORDS)?;
        let mut member = Member::join(&node.address())?;
        for _ in 0..chance.below(8) {
            let taken = member.fetch(Duration::from_millis(200))?;
            for (offset, _) in &taken {
                ensure!(!done.contains(offset), "{offset} comes again");
            }
            let some = |chance: &mut Chance| -> Vec<i64> {
                let taken = taken.iter().map(|(offset, _)| *offset);
                taken.filter(|_| chance.below(2) == 0).collect()
            };
            let accepted = some(chance);
            if chance.below(6) == 0 {
                doubtful.extend(&accepted);
                member.connection.send(&member.said(&accepted, ACCEPT), 2)?;
                break;
            }
            if !accepted.is_empty() {
                member.say(&accepted, ACCEPT)?;
                done.extend(&accepted);
            }
            let released: Vec<i64> = some(chance)
                .into_iter()
                .filter(|offset| !accepted.contains(offset))
                .collect();
            if !released.is_empty() {
                member.say(&released, RELEASE)?;
            }
        }
        node.kill()?;
        node.resume()?;
    }
    let mut seen = done.clone();
    let mut member = Member::join(&node.address())?;
    loop {
        let taken = member.fetch(Duration::from_secs(2))?;
        if taken.is_empty() {
            break;
        }
        let offsets: Vec<i64> = taken.iter().map(|(offset, _)| *offset).collect();
        for offset in &offsets {
            ensure!(!done.contains(offset), "{offset} comes again at the end");
        }
        seen.extend(&offsets);
        member.say(&offsets, ACCEPT)?;
    }
    let all = 0..i64::try_from(ROUNDS * RECORDS)?;
    let mut lost = all.filter(|offset| !seen.contains(offset) && !doubtful.contains(offset));
    ensure!(lost.next().is_none(), "some were lost");
    Ok(())
}

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ShareGroupCommand";

/// Output and exit codes of Apache Kafka's tools that use a share group.
fn told(address: &str) -> Result<Vec<(String, i32)>> {
    let mut connection = Connection::open(address)?;
    create(&mut connection, &[TOPIC], 1)?;
    begin_early(&mut connection)?;
    let server = ["--bootstrap-server", address];
    let words = |more: &[&'static str]| -> Vec<&str> { [&server[..], more].concat() };
    let group = |more: &[&'static str]| words(&[&["--group", GROUP], more].concat());
    let lines: String = (0..30).map(|number| format!("line {number}\n")).collect();
    let consume = || {
        let more = [
            "--topic",
            TOPIC,
            "--max-messages",
            "30",
            "--timeout-ms",
            "60000",
        ];
        (CONSUMER, group(&more), "")
    };
    let describe = || (GROUPS, group(&["--describe"]), "");
    let reset = [
        "--reset-offsets",
        "--to-earliest",
        "--topic",
        TOPIC,
        "--execute",
    ];
    let runs: Vec<Run<'_>> = vec![
        (PRODUCER, words(&["--topic", TOPIC]), &lines),
        consume(),
        describe(),
        (GROUPS, words(&["--list"]), ""),
        (GROUPS, group(&["--describe", "--state"]), ""),
        (GROUPS, group(&["--describe", "--members"]), ""),
        (GROUPS, group(&reset), ""),
        describe(),
        consume(),
        describe(),
        (GROUPS, group(&["--delete-offsets", "--topic", TOPIC]), ""),
        (GROUPS, group(&["--delete"]), ""),
        (GROUPS, words(&["--list"]), ""),
    ];
    let (_, port) = address.rsplit_once(':').unwrap_or_default();
    let pages = tools(&runs)?.into_iter();
    Ok(pages
        .map(|(page, code)| (page.replace(port, "PORT"), code))
        .collect())
}

#[test]
#[ignore = "needs java and maven"]
fn javas_share_consumer_and_its_tools_see_what_they_see_with_apache_kafka() -> Result<()> {
    let node = Node::start()?;
    let ours = told(&node.address())?;
    let scratch = tempfile::tempdir()?;
    let settings = format!(
        "{SETTINGS}share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n"
    );
    let apache = Apache::start_with(
        PRESENT,
        &settings,
        scratch.path(),
        &scratch.path().join("data"),
    )?;
    let theirs = told(&apache.address());
    apache.stop()?;
    for (ours, theirs) in ours.iter().zip(&theirs?) {
        ensure!(ours == theirs, "ours: {ours:?}\ntheirs: {theirs:?}");
    }
    Ok(())
}
