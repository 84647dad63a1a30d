//! ConsumerGroupDescribe (key 69), v0 to v1. KIP-848; types of members (v1).

use super::group_describe::describe_each;
use crate::api::context::{Reply, RequestContext};
use crate::wire::message::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
};

pub fn handle(
    context: RequestContext,
    request: ConsumerGroupDescribeRequest,
) -> Reply<ConsumerGroupDescribeResponse> {
    describe_each!(
        context,
        request => ConsumerGroupDescribeResponse of DescribedGroup,
        |groups, id| groups.describe_consumer(id),
        |member| {
            let assigned = member.assignment.topic_partitions.iter();
            let target = member.target_assignment.topic_partitions.iter();
            let all = assigned.chain(target).map(|topic| &topic.topic_name);
            all.chain(&member.subscribed_topic_names)
        }
    )
}
