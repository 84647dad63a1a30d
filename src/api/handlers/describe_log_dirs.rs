//! DescribeLogDirs (key 35), v0 to v5. KIP-113, KIP-827 (total and usable space), KIP-1066 (cordoned directories).

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;

use crate::api::context::{Reply, RequestContext};
use crate::log::partition_log::PartitionLog;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_log_dirs::*;

pub fn handle(
    context: RequestContext,
    request: DescribeLogDirsRequest,
) -> Reply<DescribeLogDirsResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::Describe) {
        return DescribeLogDirsResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    Reply::then(async move {
        let disk = context.services.disk.clone();
        match disk.run(move || describe(&context, &request)).await {
            Some(described) => described.into(),
            None => Reply::Close("the node is ending".to_owned()),
        }
    })
}

/// Asks each file system for its free space, and may therefore wait for a disk.
fn describe(context: &RequestContext, request: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let asked: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let each = topics.iter().flat_map(|asked| {
            let partitions = asked.partitions.iter();
            partitions.map(|partition| (&*asked.topic, *partition))
        });
        each.collect()
    });
    let wanted = |topic: &str, partition: i32| {
        (asked.as_ref()).is_none_or(|asked| asked.contains(&(topic, partition)))
    };
    let replicas = &context.services.replicas;
    let manager = replicas.logs();
    let with_lag = |copy: Arc<PartitionLog>| {
        let lag = manager
            .get(copy.partition())
            .map_or(0, |log| copy.reader().lag_behind(log.reader()));
        (copy, Some(lag))
    };
    let mut logs: Vec<(Arc<PartitionLog>, Option<i64>)> =
        manager.all().into_iter().map(|log| (log, None)).collect();
    logs.extend(manager.futures().into_iter().map(with_lag));
    logs.sort_unstable_by(|(a, _), (b, _)| a.partition().cmp(b.partition()));
    let results = replicas
        .logs()
        .dirs()
        .iter()
        .map(|dir| {
            let log_dir = std::path::absolute(&dir.path)
                .unwrap_or_else(|_| dir.path.clone())
                .to_string_lossy()
                .as_ref()
                .into();
            if !dir.is_online() {
                return DescribeLogDirsResult {
                    error_code: ErrorCode::KafkaStorageError.code(),
                    log_dir,
                    ..Default::default()
                };
            }
            let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
            for (log, lag) in logs
                .iter()
                .filter(|(log, _)| log.dir().starts_with(&dir.path))
            {
                let partition = log.partition();
                if wanted(&partition.topic, partition.partition) {
                    topics
                        .entry(&partition.topic)
                        .or_default()
                        .push(DescribeLogDirsPartition {
                            partition_index: partition.partition,
                            partition_size: log.reader().size() as i64,
                            offset_lag: lag.unwrap_or(0),
                            is_future_key: lag.is_some(),
                        });
                }
            }
            let room = manager.host().disk.room(&dir.path).ok();
            let bytes = |bytes: u64| bytes.min(i64::MAX as u64) as i64;
            DescribeLogDirsResult {
                log_dir,
                topics: topics
                    .into_iter()
                    .map(|(name, partitions)| DescribeLogDirsTopic {
                        name: name.into(),
                        partitions,
                    })
                    .collect(),
                total_bytes: room.map_or(-1, |room| bytes(room.total)),
                usable_bytes: room.map_or(-1, |room| bytes(room.usable)),
                ..Default::default()
            }
        })
        .collect();
    DescribeLogDirsResponse {
        results,
        ..Default::default()
    }
}
