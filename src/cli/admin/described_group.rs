//! Description of a group by its coordinator, for both group protocols.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use super::client::{Failure, WITHIN, text};
use super::groups::Partition;
use crate::peer::channel::Channel;
use crate::wire::codec::Reader;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_describe::{self, ConsumerGroupDescribeRequest};
use crate::wire::message::describe_groups::{self, DescribeGroupsRequest};
use crate::wire::message::embedded::ConsumerProtocolAssignment;
use crate::wire::message::{Message, Request};

/// A group of the classic or the consumer protocol.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) state: String,
    /// Name of the assignor; empty while there is no assignment.
    pub(super) assignor: String,
    /// Group epoch and epoch of the target assignment; `None` for the classic protocol.
    pub(super) epochs: Option<(i32, i32)>,
    pub(super) members: Vec<Member>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance: Option<String>,
    pub(super) host: String,
    pub(super) client: String,
    pub(super) assigned: Vec<Partition>,
    /// Additional data of a member in the consumer protocol.
    pub(super) modern: Option<Modern>,
}

#[derive(Debug)]
pub(super) struct Modern {
    pub(super) epoch: i32,
    pub(super) target: Vec<Partition>,
    /// Whether the member itself uses the consumer protocol; `None` if an old coordinator does not report it.
    pub(super) is_upgraded: Option<bool>,
}

/// Asks for a consumer group (KIP-848) first, as Kafka's `DescribeConsumerGroupsHandler` does, and then for a classic group.
pub(super) async fn described(coordinator: &Channel, group: &str) -> Result<Described, Failure> {
    match modern(coordinator, group).await? {
        Some(found) => Ok(found),
        None => classic(coordinator, group).await,
    }
}

/// A group of the consumer protocol; `None` if the group uses another protocol or the coordinator only supports the classic
/// one.
async fn modern(coordinator: &Channel, group: &str) -> Result<Option<Described>, Failure> {
    let versions = coordinator.versions(WITHIN).await?;
    if !versions
        .iter()
        .any(|api| api.api_key == ConsumerGroupDescribeRequest::KEY)
    {
        return Ok(None);
    }
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![group.into()],
        ..Default::default()
    };
    let answer = coordinator.call(&request, WITHIN).await?;
    let Some(found) = answer.groups.into_iter().next() else {
        return Ok(None);
    };
    match ErrorCode::from_code(found.error_code) {
        Some(ErrorCode::None) => Ok(Some(found.into())),
        Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion) => Ok(None),
        _ => Err(text(found.error_code, found.error_message.as_deref()).into()),
    }
}

async fn classic(coordinator: &Channel, group: &str) -> Result<Described, Failure> {
    let request = DescribeGroupsRequest {
        groups: vec![group.into()],
        ..Default::default()
    };
    let answer = coordinator.call(&request, WITHIN).await?;
    match answer.groups.into_iter().next() {
        Some(found) if is_missing(&found) => Err(not_found(group)),
        Some(found) if found.error_code != 0 => {
            Err(text(found.error_code, found.error_message.as_deref()).into())
        }
        Some(found) => Ok(found.into()),
        None => Err(not_found(group)),
    }
}

fn is_missing(found: &describe_groups::DescribedGroup) -> bool {
    found.group_state == "Dead" || found.error_code == ErrorCode::GroupIdNotFound.code()
}

fn not_found(group: &str) -> Failure {
    Failure(format!(
        "Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: Group {group} not found."
    ))
}

impl From<describe_groups::DescribedGroup> for Described {
    fn from(found: describe_groups::DescribedGroup) -> Self {
        Self {
            state: found.group_state.to_string(),
            assignor: found.protocol_data.to_string(),
            epochs: None,
            members: found.members.into_iter().map(Member::from).collect(),
        }
    }
}

impl From<describe_groups::DescribedGroupMember> for Member {
    fn from(found: describe_groups::DescribedGroupMember) -> Self {
        Self {
            id: found.member_id.to_string(),
            instance: found.group_instance_id.map(|id| id.to_string()),
            host: found.client_host.to_string(),
            client: found.client_id.to_string(),
            assigned: of_consumer_protocol(found.member_assignment),
            modern: None,
        }
    }
}

impl From<consumer_group_describe::DescribedGroup> for Described {
    fn from(found: consumer_group_describe::DescribedGroup) -> Self {
        Self {
            state: found.group_state.to_string(),
            assignor: found.assignor_name.to_string(),
            epochs: Some((found.group_epoch, found.assignment_epoch)),
            members: found.members.into_iter().map(Member::from).collect(),
        }
    }
}

impl From<consumer_group_describe::Member> for Member {
    fn from(found: consumer_group_describe::Member) -> Self {
        Self {
            id: found.member_id.to_string(),
            instance: found.instance_id.map(|id| id.to_string()),
            host: found.client_host.to_string(),
            client: found.client_id.to_string(),
            assigned: of_assignment(&found.assignment),
            modern: Some(Modern {
                epoch: found.member_epoch,
                target: of_assignment(&found.target_assignment),
                is_upgraded: match found.member_type {
                    0 => Some(false),
                    1 => Some(true),
                    _ => None,
                },
            }),
        }
    }
}

fn of_assignment(assignment: &consumer_group_describe::Assignment) -> Vec<Partition> {
    let topics = assignment.topic_partitions.iter();
    let partitions = topics.flat_map(|topic| {
        let name = &topic.topic_name;
        topic
            .partitions
            .iter()
            .map(|index| (name.to_string(), *index))
    });
    partitions.collect()
}

/// Partitions in the assignment of a classic member; empty if the assignment is not of the consumer protocol type.
fn of_consumer_protocol(mut bytes: Bytes) -> Vec<Partition> {
    if bytes.len() < 2 {
        return Vec::new();
    }
    let version = bytes.get_i16().clamp(0, 3);
    let assignment = ConsumerProtocolAssignment::read(&mut Reader::new(bytes), version);
    let topics = assignment.unwrap_or_default().assigned_partitions;
    let partitions = topics.into_iter().flat_map(|topic| {
        let name = topic.topic.to_string();
        let indexes = topic.partitions.into_iter();
        indexes.map(move |index| (name.clone(), index))
    });
    partitions.collect()
}

/// Partitions in the form in which Kafka's tool shows an assignment: `a:0,1;b:0`, or `-`.
pub(super) fn shown(partitions: &[Partition]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, index) in partitions {
        topics.entry(topic).or_default().push(*index);
    }
    if topics.is_empty() {
        return "-".to_owned();
    }
    let topics = topics.into_iter().map(|(topic, mut indexes)| {
        indexes.sort_unstable();
        let indexes: Vec<String> = indexes.iter().map(i32::to_string).collect();
        format!("{topic}:{}", indexes.join(","))
    });
    topics.collect::<Vec<_>>().join(";")
}
