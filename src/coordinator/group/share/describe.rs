//! pure: description of a share group for ShareGroupDescribe.

use bytestring::ByteString;

use super::group::ShareGroup;
use crate::coordinator::group::consumer::assignment::Assignment;
use crate::metadata::image::Image;
use crate::wire::message::share_group_describe::{
    Assignment as DescribedAssignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};

/// Name of the only assignor of share groups.
const ASSIGNOR: &str = "simple";

impl ShareGroup {
    pub fn describe(&self, id: &ByteString, image: &Image) -> DescribedGroup {
        let members = self.members().iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            rack_id: member.profile.rack_id.clone(),
            member_epoch: member.current.epoch,
            client_id: member.profile.client_id.clone(),
            client_host: member.profile.client_host.clone(),
            subscribed_topic_names: member.profile.topics.clone(),
            assignment: described(&member.current.assigned, image),
        });
        DescribedGroup {
            group_id: id.clone(),
            group_state: ByteString::from_static(self.state_name()),
            group_epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor_name: ByteString::from_static(ASSIGNOR),
            members: members.collect(),
            ..DescribedGroup::default()
        }
    }
}

/// Assignment with names of topics. Topics that no longer exist have no name and are left out.
fn described(assignment: &Assignment, image: &Image) -> DescribedAssignment {
    let topics = assignment.iter().filter_map(|(topic_id, partitions)| {
        Some(TopicPartitions {
            topic_id,
            topic_name: image.topics.by_id(topic_id)?.name.as_ref().into(),
            partitions: partitions.to_vec(),
        })
    });
    DescribedAssignment {
        topic_partitions: topics.collect(),
    }
}
