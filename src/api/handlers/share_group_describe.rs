//! ShareGroupDescribe (key 77), v1. KIP-932.

use super::group_describe::describe_each;
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::share_group_describe::{
    DescribedGroup, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
};

pub fn handle(
    context: RequestContext,
    request: ShareGroupDescribeRequest,
) -> Reply<ShareGroupDescribeResponse> {
    describe_each!(
        context,
        request => ShareGroupDescribeResponse of DescribedGroup,
        |groups, id| groups.describe_share(id),
        |member| {
            let assigned = member.assignment.topic_partitions.iter();
            let assigned = assigned.map(|topic| &topic.topic_name);
            assigned.chain(&member.subscribed_topic_names)
        }
    )
}
