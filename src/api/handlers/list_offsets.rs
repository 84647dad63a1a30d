//! ListOffsets (key 2), v0 to v11. KIP-79 (by timestamp), KIP-734 (maximum timestamp), KIP-405 and KIP-1005 (tiered storage).
//!
//! Special timestamps: -1 latest, -2 earliest, -3 maximum timestamp (v7), -4 earliest local (v8), -5 latest tiered (v9), -6
//! earliest pending upload (v11). There is no tiered storage: -5 and -6 are answered as by Apache Kafka without it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytestring::ByteString;
use indexmap::IndexMap;

use crate::api::context::{Reply, RequestContext};
use crate::base::ids::{Offset, PartitionIndex};
use crate::base::time::Timestamp;
use crate::host::file::Reach;
use crate::log::partition_log::lookup::{Effort, LookupError};
use crate::log::partition_log::{FoundOffset, ReadEnd};
use crate::replica::partition::Partition;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
const READ_COMMITTED: i8 = 1;
/// Replica id of consumers.
const CONSUMER: i32 = -1;
const OFFSET_NOT_AVAILABLE_SINCE: i16 = 5;
/// Number of bytes that one turn of a request's lookups reads from disk and decompresses before other requests have the thread.
const TURN: usize = 8 << 20;

/// Results of one topic, in the order in which the request names the partitions.
type Answers = IndexMap<PartitionIndex, ListOffsetsPartitionResponse>;

/// A lookup that takes too long for the connection's thread.
struct Long {
    topic: ByteString,
    partition: Arc<Partition>,
    asked: ListOffsetsPartition,
}

pub fn handle(context: RequestContext, request: ListOffsetsRequest) -> Reply<ListOffsetsResponse> {
    let end = end_for(&request);
    let (mut answers, long) = answer(&context, request, end);
    if long.is_empty() {
        return respond(answers).into();
    }
    Reply::later(async move {
        look_long(&context, end, long, &mut answers).await;
        respond(answers)
    })
}

fn respond(answers: IndexMap<ByteString, Answers>) -> ListOffsetsResponse {
    let topic = |(name, partitions): (ByteString, Answers)| ListOffsetsTopicResponse {
        name,
        partitions: partitions.into_values().collect(),
    };
    ListOffsetsResponse {
        topics: answers.into_iter().map(topic).collect(),
        ..Default::default()
    }
}

/// Results that are known at once, and the lookups that remain. Until its lookup, a partition has KAFKA_STORAGE_ERROR. A
/// partition that is named twice has one result, an error.
fn answer(
    context: &RequestContext,
    request: ListOffsetsRequest,
    end: ReadEnd,
) -> (IndexMap<ByteString, Answers>, VecDeque<Long>) {
    let mut named: IndexMap<ByteString, IndexMap<PartitionIndex, Option<ListOffsetsPartition>>> =
        IndexMap::new();
    for topic in request.topics {
        for asked in topic.partitions {
            let partitions = named.entry(topic.name.clone()).or_default();
            let index = asked.partition_index;
            let mut asked = Some(asked);
            let first = partitions.entry(index).or_insert_with(|| asked.take());
            if asked.is_some() {
                *first = None;
            }
        }
    }
    let effort = Effort::small();
    let rights = context.rights();
    let mut long = VecDeque::new();
    let mut answers = IndexMap::with_capacity(named.len());
    for (topic, partitions) in named {
        let mut answered = Answers::with_capacity(partitions.len());
        let described = rights.require(Operation::Describe, ResourceType::Topic, &topic);
        if let Err(error) = described {
            let denied = partitions
                .into_keys()
                .map(|index| (index, refused(index, error)));
            answered.extend(denied);
            answers.insert(topic, answered);
            continue;
        }
        for (index, asked) in partitions {
            let answer = match asked {
                None => refused(index, ErrorCode::InvalidRequest),
                Some(asked) => match context.services.replicas.partition(&topic, index) {
                    Err(error) => refused(index, error),
                    Ok(partition) => find(context, &partition, &asked, end, &effort)
                        .unwrap_or_else(|| {
                            let topic = topic.clone();
                            long.push_back(Long {
                                topic,
                                partition,
                                asked,
                            });
                            refused(index, ErrorCode::KafkaStorageError)
                        }),
                },
            };
            answered.insert(index, answer);
        }
        answers.insert(topic, answered);
    }
    (answers, long)
}

/// End of the offsets that are considered. Replicas, and clients that debug a replica, see the whole log.
fn end_for(request: &ListOffsetsRequest) -> ReadEnd {
    match request.replica_id {
        CONSUMER if request.isolation_level == READ_COMMITTED => ReadEnd::LastStable,
        CONSUMER => ReadEnd::HighWatermark,
        _ => ReadEnd::LogEnd,
    }
}

fn refused(partition_index: PartitionIndex, error: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        ..Default::default()
    }
}

/// Runs long lookups off the connection's thread: on the work pool, and those that wait for a disk on the disk pool, one turn
/// at a time. Only a window of each batch's decompressed records is in memory.
async fn look_long(
    context: &RequestContext,
    end: ReadEnd,
    long: VecDeque<Long>,
    answers: &mut IndexMap<ByteString, Answers>,
) {
    let surroundings = context.clone();
    let computed = context
        .services
        .work
        .drive(async move { look(&surroundings, end, long, &Effort::long(), usize::MAX) });
    // The work pool refuses work only while the node stops.
    let Some(mut looked) = computed.await else {
        return;
    };
    let mut cold = std::mem::take(&mut looked.cold);
    note(answers, looked.found);
    while !cold.is_empty() {
        let surroundings = context.clone();
        let turn = move || look(&surroundings, end, cold, &Effort::any(), TURN);
        let Some(looked) = context.services.disk.run(turn).await else {
            return;
        };
        cold = looked.left;
        note(answers, looked.found);
    }
}

/// Result of one turn of lookups.
struct Looked {
    found: Vec<(ByteString, ListOffsetsPartitionResponse)>,
    /// Lookups whose records are not in the page cache.
    cold: VecDeque<Long>,
    left: VecDeque<Long>,
}

/// Runs lookups until `turn` bytes have been read and decompressed.
fn look(
    context: &RequestContext,
    end: ReadEnd,
    mut left: VecDeque<Long>,
    effort: &Effort,
    turn: usize,
) -> Looked {
    let (mut found, mut cold) = (Vec::new(), VecDeque::new());
    while effort.spent() < turn
        && let Some(long) = left.pop_front()
    {
        match find(context, &long.partition, &long.asked, end, effort) {
            Some(answer) => found.push((long.topic, answer)),
            None => cold.push_back(long),
        }
    }
    Looked { found, cold, left }
}

fn note(
    answers: &mut IndexMap<ByteString, Answers>,
    found: Vec<(ByteString, ListOffsetsPartitionResponse)>,
) {
    for (topic, answer) in found {
        let of_topic = answers.get_mut(&topic);
        if let Some(place) = of_topic.and_then(|of| of.get_mut(&answer.partition_index)) {
            *place = answer;
        }
    }
}

/// Result of one lookup; `None` if it takes more than `effort`.
fn find(
    context: &RequestContext,
    partition: &Partition,
    asked: &ListOffsetsPartition,
    end: ReadEnd,
    effort: &Effort,
) -> Option<ListOffsetsPartitionResponse> {
    match try_find(context, partition, asked, end, effort) {
        Ok(answer) => Some(answer),
        Err(Failure::Long) => None,
        Err(Failure::Refused(error)) => Some(refused(asked.partition_index, error)),
    }
}

/// Reason why a lookup has no result.
enum Failure {
    Refused(ErrorCode),
    Long,
}

impl From<ErrorCode> for Failure {
    fn from(error: ErrorCode) -> Self {
        Self::Refused(error)
    }
}

fn try_find(
    context: &RequestContext,
    partition: &Partition,
    asked: &ListOffsetsPartition,
    end: ReadEnd,
    effort: &Effort,
) -> Result<ListOffsetsPartitionResponse, Failure> {
    partition.check_epoch(asked.current_leader_epoch)?;
    if context.api_version == 0 {
        return match effort.reach() {
            Reach::Cache => Err(Failure::Long),
            Reach::Disk => Ok(old_style(partition, asked, context.now)),
        };
    }
    let since = match asked.timestamp {
        NEWEST => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    };
    if context.api_version < since || asked.timestamp < EARLIEST_PENDING_UPLOAD {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    let marks = partition.log().watermarks();
    // A new leader may not know yet which of its records are committed. Replicas ask for the log end offset instead.
    let may_be_unknown = end != ReadEnd::LogEnd;
    let end = marks.at(end);
    let is_known = || match may_be_unknown && !partition.knows_what_is_committed() {
        false => Ok(()),
        true if context.api_version >= OFFSET_NOT_AVAILABLE_SINCE => {
            Err(ErrorCode::OffsetNotAvailable)
        }
        true => Err(ErrorCode::LeaderNotAvailable),
    };
    let failed = |error: LookupError| match error {
        LookupError::TooMuch => Failure::Long,
        LookupError::Storage(error) if error.cold().is_some() => Failure::Long,
        LookupError::Storage(error) => {
            tracing::error!(partition = %partition.name(), %error, "an offset lookup failed");
            ErrorCode::KafkaStorageError.into()
        }
    };
    // The leader epoch is that of the record's batch, even if the log's start offset lies after that batch.
    let told = |found: FoundOffset| (found.offset, found.timestamp, found.leader_epoch);
    let (offset, timestamp, epoch) = match asked.timestamp {
        LATEST => {
            is_known()?;
            (end, -1, -1)
        }
        EARLIEST | EARLIEST_LOCAL => (marks.log_start, -1, -1),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => (-1, -1, -1),
        NEWEST => {
            let found = partition.log().find_newest(effort).map_err(failed)?;
            found
                .filter(|found| found.offset < end)
                .map_or((-1, -1, -1), told)
        }
        timestamp => {
            let found = partition.log().find_timestamp(timestamp, end, effort);
            match found.map_err(failed)? {
                Some(found) => told(found),
                None => {
                    is_known()?;
                    (-1, -1, -1)
                }
            }
        }
    };
    Ok(ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        offset,
        timestamp,
        leader_epoch: match epoch {
            -1 => epoch_at(partition, asked.timestamp, offset),
            told => told,
        },
        ..Default::default()
    })
}

/// Leader epoch of a result: for the latest offset the leader's current epoch, otherwise the epoch in which the offset was
/// written.
fn epoch_at(partition: &Partition, timestamp: i64, offset: Offset) -> i32 {
    if offset < 0 {
        return -1;
    }
    if timestamp == LATEST {
        return partition.leader_epoch();
    }
    match partition.log().epoch_of(offset) {
        // Nothing was written at this offset. In Kafka the leader's epoch begins there.
        -1 if offset >= partition.high_watermark() => partition.leader_epoch(),
        epoch => epoch,
    }
}

/// Version 0: base offsets of the segments that were last modified up to a time, newest first. It has two special timestamps;
/// no segment is older than any other negative one. Reads the modification times of the segment files.
fn old_style(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    now: Timestamp,
) -> ListOffsetsPartitionResponse {
    let starts = partition.log().segment_starts(now);
    let upto = match asked.timestamp {
        LATEST => starts.len(),
        EARLIEST => 1,
        time => starts.iter().take_while(|(_, at)| *at <= time).count(),
    };
    let offsets = starts.iter().take(upto).rev().map(|(offset, _)| *offset);
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        old_style_offsets: offsets
            .take(asked.max_num_offsets.max(0) as usize)
            .collect(),
        ..Default::default()
    }
}
