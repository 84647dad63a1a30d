//! ShareGroupDescribe (key 77), v1. KIP-932.

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::security::acl::{Operation, ResourceType};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::share_group_describe::{
    DescribedGroup, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
};

pub fn handle(
    context: RequestContext,
    request: ShareGroupDescribeRequest,
) -> Reply<ShareGroupDescribeResponse> {
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
            let mut group = context.services.groups.describe_share(id.clone()).await;
            // A client that may not describe a topic must not learn of it from an assignment.
            let mut topics = group.members.iter().flat_map(|member| {
                let assigned = member.assignment.topic_partitions.iter();
                let assigned = assigned.map(|topic| &topic.topic_name);
                assigned.chain(&member.subscribed_topic_names)
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
        ShareGroupDescribeResponse {
            groups,
            ..Default::default()
        }
    })
}
