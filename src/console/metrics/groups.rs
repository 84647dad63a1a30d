//! Metrics of this node's groups and their lag, under the names of kafka_exporter, which gathers them with Kafka's protocol.

use std::collections::BTreeMap;
use std::io;

use bytestring::ByteString;

use super::Page;
use crate::api::services::Services;
use crate::base::ids::{Offset, PartitionIndex};
use crate::console::exposition::Kind::Gauge;
use crate::console::exposition::Label;
use crate::coordinator::group::any;
use crate::wire::message::list_groups::ListedGroup;
use crate::wire::message::offset_fetch::OffsetFetchRequestGroup;

/// States of groups of the consumer protocol, with their names in Kafka's `group-coordinator-metrics`.
const CONSUMER_STATES: [(&str, &str); 5] = [
    ("Empty", "empty"),
    ("Assigning", "assigning"),
    ("Reconciling", "reconciling"),
    ("Stable", "stable"),
    ("Dead", "dead"),
];

/// States of groups of the classic protocol, with the gauges of Kafka's `GroupMetadataManager` that count them.
const BY_STATE: [(&str, &str); 5] = [
    (
        "Empty",
        "kafka_coordinator_group_groupmetadatamanager_numgroupsempty",
    ),
    (
        "PreparingRebalance",
        "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
    ),
    (
        "CompletingRebalance",
        "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
    ),
    (
        "Stable",
        "kafka_coordinator_group_groupmetadatamanager_numgroupsstable",
    ),
    (
        "Dead",
        "kafka_coordinator_group_groupmetadatamanager_numgroupsdead",
    ),
];

struct Group {
    id: ByteString,
    kind: ByteString,
    state: ByteString,
    members: usize,
    offsets: Vec<Committed>,
}

/// A committed offset and the number of records behind it; -1 if this node has no replica of the partition.
struct Committed {
    topic: ByteString,
    partition: PartitionIndex,
    offset: Offset,
    lag: Offset,
}

pub(super) async fn tell(
    page: &mut Page<'_>,
    services: &Services,
    each_partition: bool,
) -> io::Result<()> {
    let groups = groups(services).await;
    counts(page, &groups);
    page.text.family(
        "kafka_consumergroup_members",
        Gauge,
        "Members of the group.",
    );
    for group in &groups {
        page.text
            .sample(&[("consumergroup", &group.id)], group.members);
        page.turn().await?;
    }
    type Figure = fn(&Committed) -> Offset;
    let figures: [(&str, &str, Figure, &str); 2] = [
        (
            "kafka_consumergroup_current_offset",
            "kafka_consumergroup_current_offset_sum",
            |committed| committed.offset,
            "Offset that the group committed.",
        ),
        (
            "kafka_consumergroup_lag",
            "kafka_consumergroup_lag_sum",
            |committed| committed.lag,
            "Records that come after the offset that the group committed.",
        ),
    ];
    for (name, name_of_sum, figure, help) in figures {
        if each_partition {
            page.text.family(name, Gauge, help);
            for group in &groups {
                for committed in &group.offsets {
                    let labels: [Label<'_>; 3] = [
                        ("consumergroup", &group.id),
                        ("topic", &committed.topic),
                        ("partition", &committed.partition),
                    ];
                    page.text.sample(&labels, figure(committed));
                    page.turn().await?;
                }
            }
        }
        let help = format!("{help} All partitions of a topic together.");
        page.text.family(name_of_sum, Gauge, &help);
        for group in &groups {
            let mut sums = BTreeMap::<&ByteString, Offset>::new();
            for committed in &group.offsets {
                *sums.entry(&committed.topic).or_default() += figure(committed).max(0);
            }
            for (topic, sum) in sums {
                let labels: [Label<'_>; 2] = [("consumergroup", &group.id), ("topic", topic)];
                page.text.sample(&labels, sum);
            }
            page.turn().await?;
        }
    }
    Ok(())
}

/// Writes the numbers of groups by protocol and state.
fn counts(page: &mut Page<'_>, groups: &[Group]) {
    let count = |kind: &str, state: Option<&str>| {
        let of_kind = groups.iter().filter(|group| &*group.kind == kind);
        of_kind
            .filter(|group| state.is_none_or(|state| &*group.state == state))
            .count()
    };
    page.text
        .family(
            "kafka_coordinator_group_groupmetadatamanager_numgroups",
            Gauge,
            "Groups of the classic protocol of this node's coordinators.",
        )
        .sample(&[], count(any::CLASSIC, None));
    for (state, name) in BY_STATE {
        let help = format!("Groups of the classic protocol in the state {state}.");
        page.text
            .family(name, Gauge, &help)
            .sample(&[], count(any::CLASSIC, Some(state)));
    }
    page.text.family(
        "kafka_server_group_coordinator_metrics_group_count",
        Gauge,
        "Groups of this node's coordinators by protocol.",
    );
    for kind in any::TYPES {
        page.text.sample(&[("protocol", &kind)], count(kind, None));
    }
    page.text.family(
        "kafka_server_group_coordinator_metrics_consumer_group_count",
        Gauge,
        "Groups of the consumer protocol by state.",
    );
    for (state, name) in CONSUMER_STATES {
        page.text
            .sample(&[("state", &name)], count(any::CONSUMER, Some(state)));
    }
}

/// Number of members of a group of any type.
async fn members(services: &Services, group: &ListedGroup) -> usize {
    let id = group.group_id.clone();
    match &*group.group_type {
        any::CONSUMER => services.groups.describe_consumer(id).await.members.len(),
        any::SHARE => services.groups.describe_share(id).await.members.len(),
        _ => services.groups.describe(id, false).await.members.len(),
    }
}

/// All groups with their offsets. A group whose offsets cannot be read now has none.
async fn groups(services: &Services) -> Vec<Group> {
    let mut groups = Vec::new();
    for listed in services.groups.list(&[], &[]).await.unwrap_or_default() {
        let members = members(services, &listed).await;
        let id = listed.group_id;
        let all = OffsetFetchRequestGroup {
            group_id: id.clone(),
            topics: None,
            ..Default::default()
        };
        let fetched = services.groups.fetch_offsets(all, false).await;
        let mut offsets = Vec::new();
        for topic in fetched.topics {
            for partition in topic.partitions {
                let (index, offset) = (partition.partition_index, partition.committed_offset);
                let replica = services.replicas.partition(&topic.name, index);
                let end = replica.map(|replica| replica.high_watermark());
                offsets.push(Committed {
                    topic: topic.name.clone(),
                    partition: index,
                    offset,
                    lag: end.map_or(-1, |end| (end - offset).max(0)),
                });
            }
            tokio::task::yield_now().await;
        }
        groups.push(Group {
            id,
            kind: listed.group_type,
            state: listed.group_state,
            members,
            offsets,
        });
    }
    groups
}
