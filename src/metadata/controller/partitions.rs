//! pure: leader elections and reassignments, as a cluster of one node answers them.

use super::Decision;
use crate::metadata::image::{Image, Partition};
use crate::metadata::record::schema::PartitionChangeRecord;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::wire::message::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};

const PREFERRED: i8 = 0;

/// ElectLeaders: type 0 elects the preferred replica, type 1 any that lives.
pub fn elect(image: &Image, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
    let mut records = Vec::new();
    let mut results: Vec<ReplicaElectionResult> = Vec::new();
    let unknown_type = !(0..=1).contains(&request.election_type);
    match &request.topic_partitions {
        Some(topics) => {
            for topic in topics {
                let partition_result = topic
                    .partitions
                    .iter()
                    .map(|index| {
                        let found = image.topics.by_name(&topic.topic).and_then(|found| {
                            Some((found.id, found.partitions.get(*index as usize)?))
                        });
                        let (code, message) = match found {
                            _ if unknown_type => (
                                ErrorCode::InvalidRequest,
                                format!("Unknown election type {}", request.election_type),
                            ),
                            None => (
                                ErrorCode::UnknownTopicOrPartition,
                                format!("No such topic as {}", topic.topic),
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
        // All partitions: those whose leader would not change are not mentioned.
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
                if !partition_result.is_empty() {
                    results.push(ReplicaElectionResult {
                        topic: (*topic.name).into(),
                        partition_result,
                    });
                }
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
    let alive = |id: &i32| image.brokers.get(id).is_some_and(|broker| !broker.fenced);
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

/// ListPartitionReassignments: those that are going on.
pub fn list_reassignments(
    image: &Image,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let mut topics = Vec::new();
    for topic in image.topics.iter() {
        let asked = request.topics.as_ref().map(|topics| {
            topics
                .iter()
                .find(|asked| *asked.name == *topic.name)
                .map(|asked| &asked.partition_indexes)
        });
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
