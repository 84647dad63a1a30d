//! ListOffsets (key 2), v0 to v11. KIP-79 (by time), KIP-734 (newest record), KIP-405 and KIP-1005 (tiers).
//!
//! Special timestamps: -1 latest, -2 earliest, -3 newest record (v7), -4 earliest local (v8), -5 latest tiered (v9),
//! -6 earliest not yet tiered (v11). Nothing is tiered here: -5 and -6 answer as Apache Kafka without tiers does.

use std::collections::BTreeMap;

use crate::api::context::{Reply, RequestContext};
use crate::base::file_range::{FileRange, Reach};
use crate::base::ids::Offset;
use crate::base::time::Timestamp;
use crate::log::error::StorageError;
use crate::log::partition_log::FoundOffset;
use crate::replica::partition::Partition;
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

pub fn handle(context: RequestContext, request: ListOffsetsRequest) -> Reply<ListOffsetsResponse> {
    let (response, cold) = answer(&context, &request, Reach::Cache);
    if cold.is_empty() {
        return response.into();
    }
    Reply::later(async move {
        let disk = context.services.disk.clone();
        let look = move |reach| answer(&context, &request, reach);
        // Nobody can read only while the node ends.
        disk.patiently(cold, look).await.unwrap_or(response)
    })
}

/// As far as `reach` allows, and what it would have taken besides: those partitions have KAFKA_STORAGE_ERROR.
fn answer(
    context: &RequestContext,
    request: &ListOffsetsRequest,
    reach: Reach,
) -> (ListOffsetsResponse, Vec<FileRange>) {
    let mut cold = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut seen = BTreeMap::new();
        for asked in &topic.partitions {
            *seen.entry(asked.partition_index).or_insert(0) += 1;
        }
        let partitions = topic
            .partitions
            .iter()
            .filter_map(|asked| {
                // A partition that is asked for twice is refused, once.
                match seen.get(&asked.partition_index) {
                    Some(1) => Some((asked, true)),
                    _ => seen.remove(&asked.partition_index).map(|_| (asked, false)),
                }
            })
            .map(|(asked, once)| {
                if !once {
                    return ListOffsetsPartitionResponse {
                        partition_index: asked.partition_index,
                        error_code: ErrorCode::InvalidRequest.code(),
                        ..Default::default()
                    };
                }
                let answered = context
                    .services
                    .replicas
                    .partition(&topic.name, asked.partition_index)
                    .and_then(|partition| {
                        find(
                            context,
                            &partition,
                            asked,
                            request.isolation_level,
                            reach,
                            &mut cold,
                        )
                    });
                match answered {
                    Ok(answer) => answer,
                    Err(error) => ListOffsetsPartitionResponse {
                        partition_index: asked.partition_index,
                        error_code: error.code(),
                        ..Default::default()
                    },
                }
            })
            .collect();
        topics.push(ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions,
        });
    }
    let response = ListOffsetsResponse {
        topics,
        ..Default::default()
    };
    (response, cold)
}

fn find(
    context: &RequestContext,
    partition: &Partition,
    asked: &ListOffsetsPartition,
    isolation: i8,
    reach: Reach,
    cold: &mut Vec<FileRange>,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    partition.check_epoch(asked.current_leader_epoch)?;
    if context.api_version == 0 {
        return Ok(old_style(partition, asked, context.now));
    }
    let since = match asked.timestamp {
        NEWEST => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    };
    if context.api_version < since || asked.timestamp < EARLIEST_PENDING_UPLOAD {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let marks = partition.log.watermarks();
    let end = if isolation == READ_COMMITTED {
        marks.last_stable
    } else {
        marks.high_watermark
    };
    let storage = |error: StorageError| {
        if let Some(range) = error.cold() {
            cold.push(range.clone());
            return ErrorCode::KafkaStorageError;
        }
        tracing::error!(partition = %partition.log.partition(), %error, "an offset lookup failed");
        ErrorCode::KafkaStorageError
    };
    // Of a record its batch tells the epoch, also where the log begins behind it.
    let told = |found: FoundOffset| (found.offset, found.timestamp, found.leader_epoch);
    let (offset, timestamp, epoch) = match asked.timestamp {
        LATEST => (end, -1, -1),
        EARLIEST | EARLIEST_LOCAL => (marks.log_start, -1, -1),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => (-1, -1, -1),
        NEWEST => {
            let found = partition.log.find_newest(reach).map_err(storage)?;
            found
                .filter(|found| found.offset < end)
                .map_or((-1, -1, -1), told)
        }
        timestamp => {
            let found = partition
                .log
                .find_timestamp(timestamp, end, reach)
                .map_err(storage)?;
            found.map_or((-1, -1, -1), told)
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

/// Latest names the leader's own epoch, everything else the epoch that wrote the offset.
fn epoch_at(partition: &Partition, timestamp: i64, offset: Offset) -> i32 {
    if offset < 0 {
        return -1;
    }
    if timestamp == LATEST {
        return partition.leader_epoch();
    }
    match partition.log.epoch_of(offset) {
        // Nothing was ever written there: with Kafka the epoch begins when its leader does.
        -1 if offset >= partition.log.watermarks().high_watermark => partition.leader_epoch(),
        epoch => epoch,
    }
}

/// Version 0 asked for the beginnings of segments that were last written to before a time, the newest first. It knew two
/// special times; before any other negative one nothing was written.
fn old_style(
    partition: &Partition,
    asked: &ListOffsetsPartition,
    now: Timestamp,
) -> ListOffsetsPartitionResponse {
    let starts = partition.log.segment_starts(now);
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
