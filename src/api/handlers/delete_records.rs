//! DeleteRecords (key 21), v0 to v2. KIP-107: moves a partition's log start; -1 means the high watermark.

use bytestring::ByteString;
use indexmap::IndexMap;

use crate::api::context::{Reply, RequestContext};
use crate::api::handlers::produce::INTERNAL_TOPICS;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

pub fn handle(
    context: RequestContext,
    request: DeleteRecordsRequest,
) -> Reply<DeleteRecordsResponse> {
    // Of a partition that is named twice the later wish counts.
    let mut wanted: IndexMap<ByteString, IndexMap<i32, i64>> = IndexMap::new();
    for topic in request.topics {
        for asked in topic.partitions {
            let partitions = wanted.entry(topic.name.clone()).or_default();
            partitions.insert(asked.partition_index, asked.offset);
        }
    }
    let topics = wanted
        .into_iter()
        .map(|(name, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(partition_index, offset)| {
                    let outcome = delete(&context, &name, partition_index, offset);
                    DeleteRecordsPartitionResult {
                        partition_index,
                        low_watermark: outcome.unwrap_or(-1),
                        error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                    }
                })
                .collect();
            DeleteRecordsTopicResult { name, partitions }
        })
        .collect();
    DeleteRecordsResponse {
        topics,
        ..Default::default()
    }
    .into()
}

fn delete(
    context: &RequestContext,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<i64, ErrorCode> {
    if INTERNAL_TOPICS.contains(&topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = context.services.replicas.partition(topic, index)?;
    let settings = partition.log.settings();
    if !settings.cleanup_delete && settings.cleanup_compact {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.log.watermarks().high_watermark;
    let target = if offset == -1 { high_watermark } else { offset };
    if target < 0 || target > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    partition.log.advance_start(target, context.now).map_err(|error| {
        tracing::error!(partition = %partition.log.partition(), %error, "records cannot be deleted");
        ErrorCode::KafkaStorageError
    })
}
