//! DeleteRecords (key 21), v0 to v2. KIP-107: moves a partition's log start; -1 means the high watermark.

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};

pub fn handle(
    context: RequestContext,
    request: DeleteRecordsRequest,
) -> Reply<DeleteRecordsResponse> {
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let outcome =
                        delete(&context, &topic.name, asked.partition_index, asked.offset);
                    DeleteRecordsPartitionResult {
                        partition_index: asked.partition_index,
                        low_watermark: outcome.unwrap_or(-1),
                        error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                    }
                })
                .collect();
            DeleteRecordsTopicResult {
                name: topic.name,
                partitions,
            }
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
