//! pure: description of a consumer group for ConsumerGroupDescribe.

use bytestring::ByteString;

use super::assignment::Assignment;
use super::heartbeat::Scene;
use crate::metadata::image::Image;
use crate::wire::message::consumer_group_describe::{
    Assignment as DescribedAssignment, DescribedGroup, Member as DescribedMember, TopicPartitions,
};

/// Values of [`DescribedMember::member_type`].
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl Scene<'_> {
    pub fn describe(&self) -> DescribedGroup {
        let group = &*self.group;
        let members = group.members().iter().map(|(id, member)| {
            let (profile, current) = (&member.profile, &member.current);
            let all = current.assigned.with(&current.pending).plain();
            let target = group.target_of(id).cloned().unwrap_or_default();
            DescribedMember {
                member_id: id.clone(),
                instance_id: profile.instance_id.clone(),
                rack_id: profile.rack_id.clone(),
                member_epoch: current.epoch,
                client_id: profile.client_id.clone(),
                client_host: profile.client_host.clone(),
                subscribed_topic_names: profile.topics.clone(),
                // Kafka sends an empty string if there is no regular expression.
                subscribed_topic_regex: Some(profile.regex.clone().unwrap_or_default()),
                assignment: described(&all, self.image),
                target_assignment: described(&target, self.image),
                member_type: match member.is_classic() {
                    true => CLASSIC_MEMBER,
                    false => CONSUMER_MEMBER,
                },
            }
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: ByteString::from_static(group.state().name()),
            group_epoch: group.epoch,
            assignment_epoch: group.assignment_epoch,
            assignor_name: ByteString::from_static(self.assignor_name()),
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
