//! Tells a story to one broker, request by request, and records the responses.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use compat_tests::admin::{create, set_transaction_version};
use compat_tests::exchange::{Answer, Connection};
use compat_tests::produced::Batch;
use compat_tests::programs::eventually;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

/// Topics with their numbers of partitions.
const TOPICS: &[(&str, i32)] = &[("t", 3), ("u", 1)];
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
const NOT_LEADER: i16 = 6;
const UNSTABLE_OFFSET: i16 = 88;

/// Producer id and epoch, as the producer knows them.
pub type Producer = (i64, i16);
/// An old timestamp, in milliseconds.
pub const OLD: i64 = 1_700_000_000_000;
pub const NOBODY: Producer = (-1, -1);

/// Teller of a story to one broker.
pub struct Teller {
    connection: Connection,
    address: String,
    pub lines: Vec<String>,
    pub letters: HashMap<i64, char>,
    topic_ids: HashMap<&'static str, Uuid>,
    /// Timestamp of records. Markers always have the current time, and therefore begin a new segment after old records.
    pub timestamp: i64,
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn now() -> i64 {
    monedula::host::clock::Clock::default().now()
}

pub fn name(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        None => "ok".to_owned(),
        Some(error) => format!("{error:?}"),
    }
}

impl Teller {
    pub fn new(address: &str) -> Self {
        let mut teller = Self {
            connection: Connection::open(address).unwrap(),
            address: address.to_owned(),
            lines: Vec::new(),
            letters: HashMap::new(),
            topic_ids: HashMap::new(),
            timestamp: OLD,
        };
        for (topic, partitions) in TOPICS {
            teller.create(topic, *partitions);
        }
        for key_type in [0, 1] {
            teller.until(|teller| {
                let request = FindCoordinatorRequest::default()
                    .with_key_type(key_type)
                    .with_coordinator_keys(vec![text("x")]);
                teller.call(4, &request).coordinators[0].error_code == 0
            });
        }
        // The coordinator's partition may still be loading.
        teller.until(|teller| teller.try_init(4, Some("first"), 60_000, NOBODY).0 == 0);
        teller.until(|teller| {
            let request = OffsetFetchRequest::default()
                .with_group_id(GroupId(text("g")))
                .with_topics(None);
            teller.call(5, &request).error_code == 0
        });
        teller
    }

    pub fn create(&mut self, topic: &'static str, partitions: i32) {
        let made = create(&mut self.connection, &[topic], partitions).unwrap();
        self.topic_ids.insert(topic, made[topic]);
    }

    /// Deletes a topic and waits until its partition is gone.
    pub fn delete(&mut self, topic: &str) {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(text(topic))])
            .with_timeout_ms(10_000);
        let deleted = self.call(5, &request);
        self.say(format!(
            "delete {topic}: {}",
            name(deleted.responses[0].error_code)
        ));
        self.until(|teller| teller.producers_error(topic, 0) != 0);
    }

    pub fn delete_records(&mut self, topic: &str, partition: i32, before: i64) {
        use delete_records_request::*;
        let request = DeleteRecordsRequest::default()
            .with_timeout_ms(10_000)
            .with_topics(vec![
                DeleteRecordsTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(vec![
                        DeleteRecordsPartition::default()
                            .with_partition_index(partition)
                            .with_offset(before),
                    ]),
            ]);
        let answer = self.call(2, &request);
        let one = &answer.topics[0].partitions[0];
        self.say(format!(
            "delete records of {topic}-{partition} before {before}: {} {}",
            name(one.error_code),
            one.low_watermark
        ));
    }

    /// First offset, and end offsets for both isolation levels.
    pub fn offsets(&mut self, topic: &str, partition: i32) {
        use list_offsets_request::*;
        for (isolation, timestamp) in [(0, -2), (0, -1), (1, -1), (1, -3)] {
            let request = ListOffsetsRequest::default()
                .with_isolation_level(isolation)
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![
                    ListOffsetsTopic::default()
                        .with_name(TopicName(text(topic)))
                        .with_partitions(vec![
                            ListOffsetsPartition::default()
                                .with_partition_index(partition)
                                .with_timestamp(timestamp),
                        ]),
                ]);
            let answer = self.call(7, &request);
            let one = &answer.topics[0].partitions[0];
            self.say(format!(
                "offset of {topic}-{partition} at {timestamp}, isolation {isolation}: {} {}",
                name(one.error_code),
                one.offset
            ));
        }
    }

    pub fn call<R: Request + Debug>(&mut self, version: i16, request: &R) -> R::Response {
        self.connection
            .call(version, request)
            .unwrap_or_else(|error| panic!("v{version} {request:?}: {error:#}\n{:#?}", self.lines))
    }

    pub fn until(&mut self, mut seen: impl FnMut(&mut Self) -> bool) {
        let done = eventually(SETTLE_LIMIT, || seen(self));
        assert!(done, "waited in vain: {:#?}", self.lines);
    }

    /// Continues with a connection to another address.
    pub fn connect(&mut self, address: &str) {
        self.connection = Connection::open(address).unwrap();
        address.clone_into(&mut self.address);
    }

    pub fn say(&mut self, line: String) {
        self.lines.push(line);
    }

    pub fn chapter(&mut self, title: &str) {
        self.say(format!("# {title}"));
    }

    pub fn letter(&mut self, id: i64) -> String {
        if id < 0 {
            return id.to_string();
        }
        let next = char::from_u32('A' as u32 + u32::try_from(self.letters.len()).unwrap()).unwrap();
        self.letters.entry(id).or_insert(next).to_string()
    }

    pub fn set_version(&mut self, version: i16) {
        set_transaction_version(&mut self.connection, version).unwrap();
        self.chapter(&format!("transaction.version {version}"));
    }

    /// Waits until the markers of a transaction have been written and are older than all later records: of equal maximum
    /// timestamps, ListOffsets returns the first one.
    pub fn settle(&mut self, id: &str) {
        self.until(|teller| !teller.described(id).contains("Prepare"));
        let written = now();
        self.until(|_| now() > written);
    }

    pub fn described(&mut self, id: &str) -> String {
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(text(id))]);
        let answer = self.call(0, &request);
        let one = &answer.transaction_states[0];
        let letter = self.letter(one.producer_id.0);
        let mut topics: Vec<String> = one
            .topics
            .iter()
            .map(|topic| {
                let mut partitions = topic.partitions.clone();
                partitions.sort_unstable();
                // The suites of groups test which partition stores a group.
                format!("{}{partitions:?}", &*topic.topic.0)
            })
            .collect();
        topics.sort();
        format!(
            "describe {id}: {} {} {letter}/{} timeout {} began {} {topics:?}",
            name(one.error_code),
            &*one.transaction_state,
            one.producer_epoch,
            one.transaction_timeout_ms,
            one.transaction_start_time_ms > 0,
        )
    }

    pub fn describe(&mut self, id: &str) {
        self.settle(id);
        let line = self.described(id);
        self.say(line);
    }

    pub fn try_init(
        &mut self,
        version: i16,
        id: Option<&str>,
        timeout_ms: i32,
        expected: Producer,
    ) -> (i16, Producer) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(text(id))))
            .with_transaction_timeout_ms(timeout_ms);
        let request = if version >= 3 {
            request
                .with_producer_id(ProducerId(expected.0))
                .with_producer_epoch(expected.1)
        } else {
            request
        };
        let answer = self.call(version, &request);
        (
            answer.error_code,
            (answer.producer_id.0, answer.producer_epoch),
        )
    }

    pub fn init(
        &mut self,
        version: i16,
        id: Option<&str>,
        timeout_ms: i32,
        expected: Producer,
    ) -> Producer {
        let (error, (producer_id, epoch)) = self.try_init(version, id, timeout_ms, expected);
        let (was, is) = (self.letter(expected.0), self.letter(producer_id));
        self.say(format!(
            "init v{version} {id:?} {timeout_ms} ms as {was}/{}: {} {is}/{epoch}",
            expected.1,
            name(error)
        ));
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.settle(id);
        }
        (producer_id, epoch)
    }

    pub fn add(
        &mut self,
        version: i16,
        id: &str,
        (producer, epoch): Producer,
        to: &[(&str, &[i32])],
    ) {
        self.add_or_verify(version, false, id, (producer, epoch), to);
    }

    pub fn add_or_verify(
        &mut self,
        version: i16,
        verify: bool,
        id: &str,
        (producer, epoch): Producer,
        to: &[(&str, &[i32])],
    ) {
        use add_partitions_to_txn_request::*;
        let topics = to
            .iter()
            .map(|(topic, partitions)| {
                AddPartitionsToTxnTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(partitions.to_vec())
            })
            .collect();
        let id = TransactionalId(text(id));
        let request = if version < 4 {
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(id.clone())
                .with_v3_and_below_producer_id(ProducerId(producer))
                .with_v3_and_below_producer_epoch(epoch)
                .with_v3_and_below_topics(topics)
        } else {
            AddPartitionsToTxnRequest::default().with_transactions(vec![
                AddPartitionsToTxnTransaction::default()
                    .with_transactional_id(id.clone())
                    .with_producer_id(ProducerId(producer))
                    .with_producer_epoch(epoch)
                    .with_verify_only(verify)
                    .with_topics(topics),
            ])
        };
        let answer = self.call(version, &request);
        let mut results = answer.results_by_topic_v3_and_below;
        results.extend(
            answer
                .results_by_transaction
                .into_iter()
                .flat_map(|one| one.topic_results),
        );
        let mut verdicts: Vec<String> = results
            .iter()
            .flat_map(|topic| {
                topic.results_by_partition.iter().map(|one| {
                    format!(
                        "{}-{} {}",
                        &*topic.name.0,
                        one.partition_index,
                        name(one.partition_error_code)
                    )
                })
            })
            .collect();
        verdicts.sort();
        let letter = self.letter(producer);
        let verb = if verify { "verify" } else { "add" };
        self.say(format!(
            "{verb} v{version} {} {letter}/{epoch} {to:?}: {} {verdicts:?}",
            &*id.0,
            name(answer.error_code)
        ));
    }

    pub fn add_offsets(
        &mut self,
        version: i16,
        id: &str,
        (producer, epoch): Producer,
        group: &str,
    ) {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(ProducerId(producer))
            .with_producer_epoch(epoch)
            .with_group_id(GroupId(text(group)));
        let answer = self.call(version, &request);
        let letter = self.letter(producer);
        self.say(format!(
            "add offsets v{version} {id} {letter}/{epoch} {group}: {}",
            name(answer.error_code)
        ));
    }

    #[expect(clippy::too_many_arguments, reason = "as the request")]
    pub fn commit_offset(
        &mut self,
        version: i16,
        id: &str,
        (producer, epoch): Producer,
        group: &str,
        (member, generation): (&str, i32),
        (topic, partition): (&str, i32),
        offset: i64,
    ) {
        use txn_offset_commit_request::*;
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_group_id(GroupId(text(group)))
            .with_producer_id(ProducerId(producer))
            .with_producer_epoch(epoch)
            .with_topics(vec![
                TxnOffsetCommitRequestTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(vec![
                        TxnOffsetCommitRequestPartition::default()
                            .with_partition_index(partition)
                            .with_committed_offset(offset)
                            .with_committed_metadata(Some(text("m"))),
                    ]),
            ]);
        let request = if version >= 3 {
            request
                .with_member_id(text(member))
                .with_generation_id(generation)
        } else {
            request
        };
        let answer = self.call(version, &request);
        let errors: Vec<String> = answer
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|one| name(one.error_code)))
            .collect();
        let letter = self.letter(producer);
        self.say(format!(
            "commit offset v{version} {id} {letter}/{epoch} {group} {member:?}/{generation} {topic}-{partition}: {errors:?}"
        ));
    }

    /// Records the group's offset, with and without `require_stable`.
    pub fn offset(&mut self, group: &str) {
        self.offset_of(group, "t");
    }

    pub fn offset_of(&mut self, group: &str, topic: &str) {
        for stable in [false, true] {
            let (whole, error, offset) = self.fetch_offset(group, topic, stable);
            self.say(format!(
                "offset of {group} in {topic}, stable {stable}: {} {} {offset}",
                name(whole),
                name(error),
            ));
        }
    }

    /// Whether no open transaction has a pending offset of the group.
    pub fn is_stable(&mut self, group: &str, topic: &str) -> bool {
        self.fetch_offset(group, topic, true).1 != UNSTABLE_OFFSET
    }

    /// Error codes of the group and of the partition, and the offset.
    fn fetch_offset(&mut self, group: &str, topic: &str, stable: bool) -> (i16, i16, i64) {
        use offset_fetch_request::*;
        let request = OffsetFetchRequest::default()
            .with_require_stable(stable)
            .with_groups(vec![
                OffsetFetchRequestGroup::default()
                    .with_group_id(GroupId(text(group)))
                    .with_topics(Some(vec![
                        OffsetFetchRequestTopics::default()
                            .with_name(TopicName(text(topic)))
                            .with_partition_indexes(vec![0]),
                    ])),
            ]);
        let answer = self.call(8, &request);
        let group = &answer.groups[0];
        let one = &group.topics[0].partitions[0];
        (group.error_code, one.error_code, one.committed_offset)
    }

    pub fn end(
        &mut self,
        version: i16,
        id: &str,
        (producer, epoch): Producer,
        commit: bool,
    ) -> Producer {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(id)))
            .with_producer_id(ProducerId(producer))
            .with_producer_epoch(epoch)
            .with_committed(commit);
        let answer = self.call(version, &request);
        let (was, is) = (self.letter(producer), self.letter(answer.producer_id.0));
        let verb = if commit { "commit" } else { "abort" };
        self.say(format!(
            "{verb} v{version} {id} {was}/{epoch}: {} {is}/{}",
            name(answer.error_code),
            answer.producer_epoch
        ));
        if !id.is_empty() {
            self.settle(id);
        }
        if version >= 5 && answer.error_code == 0 {
            (answer.producer_id.0, answer.producer_epoch)
        } else {
            (producer, epoch)
        }
    }

    pub fn produce(
        &mut self,
        version: i16,
        id: Option<&str>,
        (producer, epoch): Producer,
        sequence: i32,
        (topic, partition): (&'static str, i32),
    ) {
        use produce_request::*;
        let records = batch((producer, epoch), sequence, id.is_some(), self.timestamp);
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records));
        let topic_data = TopicProduceData::default().with_partition_data(vec![data]);
        let topic_data = if version >= 13 {
            topic_data.with_topic_id(self.topic_ids.get(topic).copied().unwrap_or_default())
        } else {
            topic_data.with_name(TopicName(text(topic)))
        };
        let request = ProduceRequest::default()
            .with_transactional_id(id.map(|id| TransactionalId(text(id))))
            .with_acks(-1)
            .with_timeout_ms(5_000)
            .with_topic_data(vec![topic_data]);
        // A topic that was just created may not have a leader yet.
        let mut answer = self.call(version, &request);
        self.until(|teller| {
            let passes = answer.responses[0].partition_responses[0].error_code == NOT_LEADER;
            if passes {
                answer = teller.call(version, &request);
            }
            !passes
        });
        let one = &answer.responses[0].partition_responses[0];
        let letter = self.letter(producer);
        self.say(format!(
            "produce v{version} {id:?} {letter}/{epoch} sequence {sequence} to {topic}-{partition}: {} at {}",
            name(one.error_code),
            one.base_offset
        ));
    }

    pub fn markers(
        &mut self,
        (producer, epoch): Producer,
        coordinator_epoch: i32,
        commit: bool,
        to: &[(&str, i32)],
    ) {
        use write_txn_markers_request::*;
        let topics = to
            .iter()
            .map(|(topic, partition)| {
                WritableTxnMarkerTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partition_indexes(vec![*partition])
            })
            .collect();
        let request = WriteTxnMarkersRequest::default().with_markers(vec![
            WritableTxnMarker::default()
                .with_producer_id(ProducerId(producer))
                .with_producer_epoch(epoch)
                .with_transaction_result(commit)
                .with_coordinator_epoch(coordinator_epoch)
                .with_topics(topics),
        ]);
        let answer = self.call(1, &request);
        let mut errors: Vec<String> = answer
            .markers
            .iter()
            .flat_map(|marker| &marker.topics)
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|one| format!("{} {}", &*topic.name.0, name(one.error_code)))
            })
            .collect();
        errors.sort();
        let letter = self.letter(producer);
        self.say(format!(
            "marker {letter}/{epoch} of coordinator {coordinator_epoch}, commit {commit}, {to:?}: {errors:?}"
        ));
    }

    /// Writes markers in version 2, which has the transaction's version (KIP-1228).
    pub fn markers_by_rules(
        &mut self,
        (producer, epoch): Producer,
        rules: i8,
        commit: bool,
        (topic, partition): (&str, i32),
    ) {
        use monedula::wire::message::write_txn_markers::*;
        let request = WriteTxnMarkersRequest {
            markers: vec![WritableTxnMarker {
                producer_id: producer,
                producer_epoch: epoch,
                transaction_result: commit,
                topics: vec![WritableTxnMarkerTopic {
                    name: topic.to_owned().into(),
                    partition_indexes: vec![partition],
                }],
                coordinator_epoch: 0,
                transaction_version: rules,
            }],
        };
        let answer = Connection::open(&self.address)
            .and_then(|mut connection| connection.ask(&request, 2))
            .unwrap();
        let told = match answer {
            Some(Answer::Response(answer)) => {
                name(answer.markers[0].topics[0].partitions[0].error_code)
            }
            other => format!("{other:?}"),
        };
        let letter = self.letter(producer);
        self.say(format!(
            "marker v2 {letter}/{epoch} by rules {rules}, commit {commit}, {topic}-{partition}: {told}"
        ));
    }

    pub fn list(
        &mut self,
        version: i16,
        states: &[&str],
        producers: &[i64],
        duration_ms: i64,
        pattern: Option<&str>,
    ) {
        let mut request = ListTransactionsRequest::default()
            .with_state_filters(states.iter().map(|one| text(one)).collect())
            .with_producer_id_filters(producers.iter().map(|id| ProducerId(*id)).collect());
        if version >= 1 {
            request = request.with_duration_filter(duration_ms);
        }
        if version >= 2 {
            request = request.with_transactional_id_pattern(pattern.map(text));
        }
        let answer = self.call(version, &request);
        let mut states_found = answer.transaction_states;
        states_found.sort_by(|one, other| one.transactional_id.0.cmp(&other.transactional_id.0));
        let found: Vec<String> = states_found
            .iter()
            .map(|one| {
                format!(
                    "{} {} {}",
                    &*one.transactional_id.0,
                    self.letter(one.producer_id.0),
                    &*one.transaction_state
                )
            })
            .collect();
        let unknown: Vec<&str> = answer
            .unknown_state_filters
            .iter()
            .map(|one| &**one)
            .collect();
        let letters: Vec<String> = producers.iter().map(|id| self.letter(*id)).collect();
        self.say(format!(
            "list v{version} {states:?} {letters:?} {duration_ms} {pattern:?}: {} {found:?} unknown {unknown:?}",
            name(answer.error_code)
        ));
    }

    pub fn producers(&mut self, topic: &str, partition: i32) {
        use describe_producers_request::*;
        let request = DescribeProducersRequest::default().with_topics(vec![
            TopicRequest::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(vec![partition]),
        ]);
        let answer = self.call(0, &request);
        let one = &answer.topics[0].partitions[0];
        let mut producers = one.active_producers.clone();
        // Sorted for the letters; Kafka keeps producers in a hash table.
        producers.sort_by_key(|producer| producer.producer_id);
        let mut found: Vec<String> = producers
            .iter()
            .map(|producer| {
                format!(
                    "{}/{} sequence {} coordinator {} open at {}",
                    self.letter(producer.producer_id.0),
                    producer.producer_epoch,
                    producer.last_sequence,
                    producer.coordinator_epoch,
                    producer.current_txn_start_offset
                )
            })
            .collect();
        found.sort();
        self.say(format!(
            "producers of {topic}-{partition}: {} {found:?}",
            name(one.error_code)
        ));
    }

    /// Number of producers that a partition knows.
    pub fn producers_of(&mut self, topic: &str, partition: i32) -> usize {
        use describe_producers_request::*;
        let request = DescribeProducersRequest::default().with_topics(vec![
            TopicRequest::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(vec![partition]),
        ]);
        let answer = self.call(0, &request);
        answer.topics[0].partitions[0].active_producers.len()
    }

    /// Error code of DescribeProducers for a partition.
    pub fn producers_error(&mut self, topic: &str, partition: i32) -> i16 {
        use describe_producers_request::*;
        let request = DescribeProducersRequest::default().with_topics(vec![
            TopicRequest::default()
                .with_name(TopicName(text(topic)))
                .with_partition_indexes(vec![partition]),
        ]);
        self.call(0, &request).topics[0].partitions[0].error_code
    }

    /// Records what a consumer of committed records gets.
    pub fn committed(&mut self, topic: &str, partition: i32) {
        self.committed_from(topic, partition, 0);
    }

    pub fn committed_from(&mut self, topic: &str, partition: i32, from: i64) {
        use fetch_request::*;
        let request = FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(0)
            .with_max_bytes(1 << 20)
            .with_isolation_level(1)
            .with_topics(vec![
                FetchTopic::default()
                    .with_topic(TopicName(text(topic)))
                    .with_partitions(vec![
                        FetchPartition::default()
                            .with_partition(partition)
                            .with_fetch_offset(from)
                            .with_partition_max_bytes(1 << 20),
                    ]),
            ]);
        let answer = self.call(11, &request);
        let one = &answer.responses[0].partitions[0];
        let mut aborted: Vec<String> = one
            .aborted_transactions
            .iter()
            .flatten()
            .map(|aborted| {
                format!(
                    "{} from {}",
                    self.letter(aborted.producer_id.0),
                    aborted.first_offset
                )
            })
            .collect();
        aborted.sort();
        self.say(format!(
            "fetch {topic}-{partition} from {from}: {} start {} high watermark {} stable {} aborted {aborted:?} {} bytes",
            name(one.error_code),
            one.log_start_offset,
            one.high_watermark,
            one.last_stable_offset,
            one.records.as_ref().map_or(0, Bytes::len)
        ));
    }
}

pub fn batch(
    (producer_id, producer_epoch): Producer,
    sequence: i32,
    transactional: bool,
    timestamp: i64,
) -> Bytes {
    let batch = Batch {
        producer_id,
        producer_epoch,
        sequence,
        transactional,
        timestamp,
    };
    let value = Bytes::from_static(b"value");
    batch.of([(None, value)]).unwrap()
}
