//! AlterReplicaLogDirs (key 34), v0 to v2. KIP-113: moves replicas to the given log directories.

use std::collections::BTreeMap;

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_replica_log_dirs::*;

pub fn handle(
    context: RequestContext,
    request: AlterReplicaLogDirsRequest,
) -> Reply<AlterReplicaLogDirsResponse> {
    // If a partition is named twice, the last directory counts.
    let mut wanted: BTreeMap<(ByteString, i32), ByteString> = BTreeMap::new();
    for dir in request.dirs {
        for topic in dir.topics {
            for partition in topic.partitions {
                wanted.insert((topic.name.clone(), partition), dir.path.clone());
            }
        }
    }
    let allowed = context.requires_of_cluster(Operation::Alter);
    if let Err(error) = allowed {
        return answer(&wanted, |_, _, _| Err(error)).into();
    }
    Reply::then(async move {
        let disk = context.services.disk.clone();
        match disk.run(move || alter(&context, &wanted)).await {
            Some(altered) => altered.into(),
            None => Reply::Close("the node is ending".to_owned()),
        }
    })
}

/// Creates directories and files, and must therefore not run on a connection's thread.
fn alter(
    context: &RequestContext,
    wanted: &BTreeMap<(ByteString, i32), ByteString>,
) -> AlterReplicaLogDirsResponse {
    let image = context.services.image.load();
    let replicas = &context.services.replicas;
    answer(wanted, |topic, index, path| {
        replicas.alter_dir(&image, topic, index, path)
    })
}

fn answer(
    wanted: &BTreeMap<(ByteString, i32), ByteString>,
    alter: impl Fn(&ByteString, i32, &ByteString) -> Result<(), ErrorCode>,
) -> AlterReplicaLogDirsResponse {
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for ((topic, index), path) in wanted {
        let altered = alter(topic, *index, path);
        let result = AlterReplicaLogDirPartitionResult {
            partition_index: *index,
            error_code: altered.err().unwrap_or(ErrorCode::None).code(),
        };
        match results.last_mut() {
            Some(last) if last.topic_name == *topic => last.partitions.push(result),
            _ => results.push(AlterReplicaLogDirTopicResult {
                topic_name: topic.clone(),
                partitions: vec![result],
            }),
        }
    }
    AlterReplicaLogDirsResponse {
        results,
        ..Default::default()
    }
}
