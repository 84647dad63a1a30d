//! ConsumerGroupDescribe (key 69), v0 to v1. KIP-848; types of members (v1).

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
};

pub fn handle(
    context: RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> Reply<ConsumerGroupDescribeResponse> {
    Reply::later(async move {
        let named = distinct(request.group_ids);
        let mut groups = Vec::with_capacity(named.len());
        let rights = context.rights();
        for id in named {
            let refused = |error: ErrorCode| DescribedGroup {
                error_code: error.code(),
                group_id: id.clone(),
                ..Default::default()
            };
            let described = rights.require(Operation::Describe, ResourceType::Group, &id);
            if let Err(error) = described {
                groups.push(refused(error));
                continue;
            }
            let mut group = context.services.groups.describe_consumer(id.clone()).await;
            // A client that may not describe one of the group's topics does not learn of that topic here.
            let mut topics = group.members.iter().flat_map(|member| {
                let assigned = member.assignment.topic_partitions.iter();
                let target = member.target_assignment.topic_partitions.iter();
                let all = assigned.chain(target).map(|topic| &topic.topic_name);
                all.chain(&member.subscribed_topic_names)
            });
            let known = topics.try_for_each(|topic| {
                rights.require(Operation::Describe, ResourceType::Topic, topic)
            });
            if let Err(error) = known {
                groups.push(refused(error));
                continue;
            }
            if request.include_authorized_operations && group.error_code == 0 {
                group.authorized_operations =
                    rights.operations(ResourceType::Group, &group.group_id);
            }
            groups.push(group);
        }
        ConsumerGroupDescribeResponse {
            groups,
            ..Default::default()
        }
    })
}
