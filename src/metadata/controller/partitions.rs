//! pure: leader elections and reassignments, in a cluster of one node.

use std::collections::{BTreeMap, BTreeSet};

use super::Decision;
use crate::metadata::image::{Image, Partition};
use crate::metadata::record::schema::PartitionChangeRecord;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::wire::message::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};

const PREFERRED: i8 = 0;

/// ElectLeaders: type 0 elects the preferred replica, type 1 any live replica.
pub fn elect(image: &Image, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
    let mut records = Vec::new();
    let mut results: Vec<ReplicaElectionResult> = Vec::new();
    if !(0..=1).contains(&request.election_type) {
        let refused = |partition_id: &i32| PartitionResult {
            partition_id: *partition_id,
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some("there is no such kind of election".into()),
        };
        return Decision::only(ElectLeadersResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            replica_election_results: request
                .topic_partitions
                .iter()
                .flatten()
                .map(|topic| ReplicaElectionResult {
                    topic: topic.topic.clone(),
                    partition_result: topic.partitions.iter().map(refused).collect(),
                })
                .collect(),
            ..Default::default()
        });
    }
    match &request.topic_partitions {
        Some(topics) => {
            for topic in topics {
                let partition_result = topic
                    .partitions
                    .iter()
                    .map(|index| {
                        let found = image
                            .topics
                            .by_name(&topic.topic)
                            .and_then(|found| Some((found.id, found.partition(*index)?)));
                        let (code, message) = match found {
                            None => (
                                ErrorCode::UnknownTopicOrPartition,
                                if image.topics.by_name(&topic.topic).is_some() {
                                    format!("No such partition as {}-{index}", topic.topic)
                                } else {
                                    format!("No such topic as {}", topic.topic)
                                },
                            ),
                            Some((id, partition)) => {
                                let outcome = elect_one(image, partition, request.election_type);
                                if let Ok(leader) = outcome {
                                    records.push(
                                        PartitionChangeRecord {
                                            partition_id: *index,
                                            topic_id: id,
                                            leader,
                                            ..Default::default()
                                        }
                                        .into(),
                                    );
                                }
                                outcome.err().unwrap_or((ErrorCode::None, String::new()))
                            }
                        };
                        PartitionResult {
                            partition_id: *index,
                            error_code: code.code(),
                            error_message: code.is_error().then(|| message.into()),
                        }
                    })
                    .collect();
                results.push(ReplicaElectionResult {
                    topic: topic.topic.clone(),
                    partition_result,
                });
            }
        }
        // A request for all partitions: partitions whose leader does not change are not in the answer.
        None => {
            for topic in image.topics.iter() {
                let mut partition_result = Vec::new();
                for (index, partition) in topic.partitions.iter().enumerate() {
                    if let Ok(leader) = elect_one(image, partition, request.election_type) {
                        records.push(
                            PartitionChangeRecord {
                                partition_id: index as i32,
                                topic_id: topic.id,
                                leader,
                                ..Default::default()
                            }
                            .into(),
                        );
                        partition_result.push(PartitionResult {
                            partition_id: index as i32,
                            ..Default::default()
                        });
                    }
                }
                results.push(ReplicaElectionResult {
                    topic: (*topic.name).into(),
                    partition_result,
                });
            }
        }
    }
    let answer = ElectLeadersResponse {
        replica_election_results: results,
        ..Default::default()
    };
    Decision { records, answer }
}

fn elect_one(
    image: &Image,
    partition: &Partition,
    election_type: i8,
) -> Result<i32, (ErrorCode, String)> {
    let not_needed = || {
        Err((
            ErrorCode::ElectionNotNeeded,
            "Leader election not needed for topic partition.".to_owned(),
        ))
    };
    let alive = |id: &i32| image.is_live(*id);
    if election_type == PREFERRED {
        let Some(preferred) = partition.replicas.first() else {
            return not_needed();
        };
        if partition.leader == *preferred {
            return not_needed();
        }
        if partition.isr.contains(preferred) && alive(preferred) {
            return Ok(*preferred);
        }
        return Err((
            ErrorCode::PreferredLeaderNotAvailable,
            "The preferred leader was not available.".to_owned(),
        ));
    }
    if partition.leader >= 0 {
        return not_needed();
    }
    partition
        .replicas
        .iter()
        .copied()
        .find(|id| alive(id))
        .ok_or_else(|| {
            (
                ErrorCode::EligibleLeadersNotAvailable,
                "Eligible topic partition leaders are not available.".to_owned(),
            )
        })
}

/// ListPartitionReassignments: the reassignments in progress.
pub fn list_reassignments(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let by_name: Option<BTreeMap<&str, BTreeSet<i32>>> = request.topics.as_ref().map(|topics| {
        let each = topics.iter().rev().map(|asked| {
            let indexes = asked.partition_indexes.iter().copied().collect();
            (&*asked.name, indexes)
        });
        each.collect()
    });
    let mut topics = Vec::new();
    for topic in image.topics.iter() {
        let asked = by_name.as_ref().map(|by_name| by_name.get(&*topic.name));
        let partitions: Vec<_> = topic
            .partitions
            .iter()
            .enumerate()
            .filter(|(index, partition)| {
                let wanted = match asked {
                    None => true,
                    Some(indexes) => {
                        indexes.is_some_and(|indexes| indexes.contains(&(*index as i32)))
                    }
                };
                wanted && (!partition.adding.is_empty() || !partition.removing.is_empty())
            })
            .map(|(index, partition)| OngoingPartitionReassignment {
                partition_index: index as i32,
                replicas: partition.replicas.clone(),
                adding_replicas: partition.adding.clone(),
                removing_replicas: partition.removing.clone(),
            })
            .collect();
        if !partitions.is_empty() {
            topics.push(OngoingTopicReassignment {
                name: (*topic.name).into(),
                partitions,
            });
        }
    }
    ListPartitionReassignmentsResponse {
        topics,
        ..Default::default()
    }
}

/// AlterPartitionReassignments: new replicas for partitions. With one broker the only possible target is the current one, so
/// nothing moves and there is never a reassignment to cancel.
pub fn alter_reassignments(
    image: &Image,
    request: &AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let responses = request
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic
                .partitions
                .iter()
                .map(|asked| {
                    let outcome = reassign(image, &topic.name, asked);
                    let (code, message) = outcome.err().unwrap_or((ErrorCode::None, None));
                    ReassignablePartitionResponse {
                        partition_index: asked.partition_index,
                        error_code: code.code(),
                        error_message: message.map(Into::into),
                    }
                })
                .collect();
            ReassignableTopicResponse {
                name: topic.name.clone(),
                partitions,
            }
        })
        .collect();
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses,
        ..Default::default()
    }
}

fn reassign(
    image: &Image,
    topic: &str,
    asked: &ReassignablePartition,
) -> Result<(), (ErrorCode, Option<String>)> {
    let index = asked.partition_index;
    let found = image.topics.by_name(topic);
    let unknown = |why: String| (ErrorCode::UnknownTopicOrPartition, Some(why));
    let topic_found =
        found.ok_or_else(|| unknown(format!("Unable to find a topic named {topic}.")))?;
    let partition = topic_found
        .partition(index)
        .ok_or_else(|| unknown(format!("Unable to find partition {topic}:{index}.")))?;
    let Some(replicas) = &asked.replicas else {
        // A null list cancels a reassignment.
        return Err((ErrorCode::NoReassignmentInProgress, None));
    };
    let refuse = |why: String| Err((ErrorCode::InvalidReplicaAssignment, Some(why)));
    if replicas.is_empty() {
        return refuse(
            "The manual partition assignment includes an empty replica list.".to_owned(),
        );
    }
    let mut sorted = replicas.clone();
    sorted.sort_unstable();
    for (place, id) in sorted.iter().enumerate() {
        if !image.brokers.contains_key(id) {
            return refuse(format!(
                "The manual partition assignment includes broker {id}, but no such broker is registered."
            ));
        }
        if sorted.get(place + 1) == Some(id) {
            return refuse(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
    }
    if *replicas == partition.replicas {
        Ok(())
    } else {
        Err((
            ErrorCode::InvalidReplicaAssignment,
            Some("Replicas cannot be moved between brokers yet.".to_owned()),
        ))
    }
}
