//! DeleteRecords (key 21), v0 to v2. KIP-107: advances a partition's log start offset; -1 means the high watermark.

use std::sync::Arc;

use bytestring::ByteString;

use crate::api::answer::once;
use crate::api::context::{Reply, RequestContext};
use crate::coordinator::topic::INTERNAL_TOPICS;
use crate::replica::partition::Partition;
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopicResult,
};

pub fn handle(
    context: RequestContext,
    request: DeleteRecordsRequest,
) -> Reply<DeleteRecordsResponse> {
    // If a partition is named twice, the last offset counts.
    let topics = once(
        request.topics,
        |topic| topic.name.clone(),
        |topic| &mut topic.partitions,
        |asked| asked.partition_index,
    );
    Reply::later(async move {
        let mut results = Vec::with_capacity(topics.len());
        let rights = context.rights();
        // As in Kafka, a topic without partitions is not in the response.
        for topic in topics
            .into_iter()
            .filter(|topic| !topic.partitions.is_empty())
        {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            let deletes = rights.require(Operation::Delete, ResourceType::Topic, &topic.name);
            for asked in topic.partitions {
                let outcome = match deletes {
                    Ok(()) => delete_aside(&context, &topic.name, &asked).await,
                    Err(error) => Err(error),
                };
                partitions.push(DeleteRecordsPartitionResult {
                    partition_index: asked.partition_index,
                    low_watermark: outcome.unwrap_or(-1),
                    error_code: outcome.err().unwrap_or(ErrorCode::None).code(),
                });
            }
            results.push(DeleteRecordsTopicResult {
                name: topic.name,
                partitions,
            });
        }
        DeleteRecordsResponse {
            topics: results,
            ..Default::default()
        }
    })
}

/// Deletes records on the disk pool, because directories are synced before segments are deleted.
async fn delete_aside(
    context: &RequestContext,
    topic: &ByteString,
    asked: &DeleteRecordsPartition,
) -> Result<i64, ErrorCode> {
    let (index, offset) = (asked.partition_index, asked.offset);
    // A request that is refused does not need the disk pool.
    wanted(context, topic, index, offset)?;
    let (surroundings, topic) = (context.clone(), topic.clone());
    let delete = move || {
        let (partition, target) = wanted(&surroundings, &topic, index, offset)?;
        let deleted = partition.delete_records(target, surroundings.now);
        deleted.map_err(|error| {
            let partition = partition.name();
            tracing::error!(%partition, %error, "records cannot be deleted");
            ErrorCode::KafkaStorageError
        })
    };
    let deleted = context.services.disk.run(delete);
    // The disk pool refuses work only while the node stops.
    deleted.await.unwrap_or(Err(ErrorCode::KafkaStorageError))
}

/// The partition, and its new log start offset.
fn wanted(
    context: &RequestContext,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<(Arc<Partition>, i64), ErrorCode> {
    if INTERNAL_TOPICS.contains(&topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = context.services.replicas.partition(topic, index)?;
    let settings = partition.log().settings();
    if !settings.cleanup_delete && settings.cleanup_compact {
        return Err(ErrorCode::PolicyViolation);
    }
    let high_watermark = partition.high_watermark();
    let target = if offset == -1 { high_watermark } else { offset };
    if target < 0 || target > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok((partition, target))
}
