//! `kafka-share-groups`. Kafka calls this `ShareGroupCommand`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;

use super::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work, text};
use super::group_command::{self, Deletions, place_of};
use super::group_offsets::date_time;
use super::groups::Partition;
use super::table::Width::{AtLeast, Fixed};
use super::table::{Table, UNPADDED};
use crate::wire::message::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition,
    AlterShareGroupOffsetsRequestTopic,
};
use crate::wire::message::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use crate::wire::message::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup,
    DescribeShareGroupOffsetsResponsePartition,
};
use crate::wire::message::list_groups::{ListGroupsRequest, ListedGroup};
use crate::wire::message::share_group_describe::{DescribedGroup, ShareGroupDescribeRequest};

/// List, describe and delete share groups, and reset their offsets
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula share-groups --bootstrap-server localhost:9092 --list
  monedula share-groups --bootstrap-server localhost:9092 --describe --group parcels
  monedula share-groups --bootstrap-server localhost:9092 --reset-offsets --to-earliest --group parcels --topic t --execute")]
#[group(skip)]
pub struct ShareGroups {
    #[command(flatten)]
    connection: Connection,
    /// Print the names of groups
    #[arg(long, help_heading = ACTION)]
    list: bool,
    /// Print offsets and lag, members or state of groups
    #[arg(long, help_heading = ACTION)]
    describe: bool,
    /// Delete groups without members
    #[arg(long, help_heading = ACTION)]
    delete: bool,
    /// Set the offsets from which a group without members goes on
    #[arg(long, help_heading = ACTION)]
    reset_offsets: bool,
    /// Have a group without members forget topics
    #[arg(long, help_heading = ACTION)]
    delete_offsets: bool,
    /// The group; may be given several times
    #[arg(long, value_name = "NAME")]
    group: Vec<String>,
    /// Every share group
    #[arg(long)]
    all_groups: bool,
    /// A topic; may be given several times
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Every topic that the group has offsets of
    #[arg(long)]
    all_topics: bool,
    /// Describe offsets and lag (what --describe does by itself)
    #[arg(long)]
    offsets: bool,
    /// Describe members
    #[arg(long)]
    members: bool,
    /// More of each: epochs
    #[arg(long)]
    verbose: bool,
    /// Describe the state; with --list, groups in these states only
    #[arg(long, value_name = "STATE,...", num_args = 0..=1, default_missing_value = "")]
    state: Option<String>,
    /// Reset to the first offsets
    #[arg(long, help_heading = TARGET)]
    to_earliest: bool,
    /// Reset to the ends
    #[arg(long, help_heading = TARGET)]
    to_latest: bool,
    /// Reset to the first offsets from this time on
    #[arg(long, value_name = "YYYY-MM-DDTHH:mm:SS.sss", help_heading = TARGET)]
    to_datetime: Option<String>,
    /// Reset the offsets
    #[arg(long)]
    execute: bool,
    /// Print the new offsets and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Taken for the sake of Kafka's tool: milliseconds to wait for the group
    #[arg(long, value_name = "MS", hide = true)]
    timeout: Option<u64>,
}

const ACTION: &str = "Actions";
const TARGET: &str = "Where --reset-offsets resets to";

impl ShareGroups {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let chosen = [
                self.list,
                self.describe,
                self.delete,
                self.reset_offsets,
                self.delete_offsets,
            ];
            let action = group_command::action(chosen, !self.group.is_empty() || self.all_groups)?;
            if self.reset_offsets && self.execute == self.dry_run {
                return Err("Option reset-offsets takes the option: --execute or --dry-run".into());
            }
            let of_topics = self.reset_offsets || self.delete_offsets;
            if of_topics && self.topic.is_empty() && !self.all_topics {
                return Err(format!(
                    "Option {action} takes one of these options: --topic, --all-topics"
                )
                .into());
            }
            let cluster = self.connection.connect().await?;
            let done = match () {
                () if self.list => self.list(&cluster).await,
                () if self.describe => self.describe(&cluster).await,
                () if self.delete => self.delete(&cluster).await,
                () if self.delete_offsets => self.delete_offsets(&cluster).await,
                () => self.reset(&cluster).await,
            };
            group_command::tell(done);
            Ok(())
        })
    }

    async fn names(&self, cluster: &Cluster) -> Result<Vec<String>, Failure> {
        if !self.all_groups {
            return Ok(self.group.clone());
        }
        let groups = listed(cluster).await?;
        Ok(groups
            .iter()
            .map(|group| group.group_id.to_string())
            .collect())
    }

    async fn list(&self, cluster: &Cluster) -> Result<(), Failure> {
        let mut groups = listed(cluster).await?;
        let Some(states) = &self.state else {
            for group in groups {
                println!("{}", group.group_id);
            }
            return Ok(());
        };
        // `--state` alone shows the states, with some behind it these groups only.
        let states = states.split(',').map(str::trim);
        let wanted: Vec<&str> = states.filter(|state| !state.is_empty()).collect();
        let is_wanted = |group: &ListedGroup| {
            let mut wanted = wanted.iter();
            wanted.len() == 0 || wanted.any(|state| state.eq_ignore_ascii_case(&group.group_state))
        };
        groups.retain(is_wanted);
        let mut table = Table::default();
        let ids = groups.iter().map(|group| group.group_id.to_string());
        table.column("GROUP", AtLeast(15), ids);
        let states = groups.iter().map(|group| group.group_state.to_string());
        table.column("STATE", UNPADDED, states);
        println!("{table}");
        Ok(())
    }

    async fn describe(&self, cluster: &Cluster) -> Result<(), Failure> {
        for group in self.names(cluster).await? {
            let found = described(cluster, &group).await?;
            if &*found.group_state == "Empty" && self.state.is_none() {
                eprintln!("\nShare group '{group}' has no active members.");
            }
            if self.state.is_some() {
                self.show_state(cluster, &found).await?;
            } else if self.members {
                self.show_members(&found);
            } else {
                self.show_offsets(cluster, &group).await?;
            }
        }
        Ok(())
    }

    fn show_members(&self, found: &DescribedGroup) {
        let all = || found.members.iter();
        let assignments = || all().map(|member| member.assignment.topic_partitions.iter());
        let mut table = Table::default();
        let groups = all().map(|_| found.group_id.to_string());
        table.column("GROUP", AtLeast(15), groups);
        let ids = all().map(|member| member.member_id.to_string());
        table.column("CONSUMER-ID", AtLeast(15), ids);
        let hosts = all().map(|member| member.client_host.to_string());
        table.column("HOST", AtLeast(15), hosts);
        let clients = all().map(|member| member.client_id.to_string());
        table.column("CLIENT-ID", AtLeast(15), clients);
        let counts = assignments().map(|topics| {
            let count: usize = topics.map(|topic| topic.partitions.len()).sum();
            count.to_string()
        });
        table.column("#PARTITIONS", Fixed(12), counts);
        if self.verbose {
            let epochs = all().map(|member| member.member_epoch.to_string());
            table.column("MEMBER-EPOCH", Fixed(13), epochs);
        }
        let assigned = assignments().map(|topics| {
            let topics = topics.map(|topic| {
                let indexes: Vec<String> =
                    topic.partitions.iter().map(ToString::to_string).collect();
                format!("{}:{}", topic.topic_name, indexes.join(","))
            });
            topics.collect::<Vec<_>>().join(";")
        });
        table.column("ASSIGNMENT", UNPADDED, assigned);
        table.print();
    }

    async fn show_state(&self, cluster: &Cluster, found: &DescribedGroup) -> Result<(), Failure> {
        let coordinator = cluster.coordinator(&found.group_id).await?;
        let place = place_of(cluster, &coordinator).await?;
        let mut table = Table::default();
        table.column("GROUP", AtLeast(15), [found.group_id.to_string()]);
        table.column("COORDINATOR (ID)", AtLeast(25), [place]);
        table.column("STATE", AtLeast(15), [found.group_state.to_string()]);
        if self.verbose {
            let epochs = [found.group_epoch, found.assignment_epoch];
            let [epoch, assigned] = epochs.map(|epoch| epoch.to_string());
            table.column("GROUP-EPOCH", Fixed(12), [epoch]);
            table.column("ASSIGNMENT-EPOCH", Fixed(17), [assigned]);
        }
        table.column("#MEMBERS", UNPADDED, [found.members.len().to_string()]);
        table.print();
        Ok(())
    }

    async fn show_offsets(&self, cluster: &Cluster, group: &str) -> Result<(), Failure> {
        let found = offsets(cluster, group).await?;
        let figures = |figure: fn(&DescribeShareGroupOffsetsResponsePartition) -> i64| {
            found.values().map(move |one| match figure(one) {
                number if one.start_offset >= 0 && number >= 0 => number.to_string(),
                _ => "-".to_owned(),
            })
        };
        let mut table = Table::of_partitions(group, AtLeast(15), found.keys());
        if self.verbose {
            let epochs = figures(|one| one.leader_epoch.into());
            table.column("LEADER-EPOCH", Fixed(13), epochs);
        }
        table.column("START-OFFSET", Fixed(13), figures(|one| one.start_offset));
        table.column("LAG", UNPADDED, figures(|one| one.lag));
        table.print();
        Ok(())
    }

    async fn delete(&self, cluster: &Cluster) -> Result<(), Failure> {
        let mut deletions = Deletions::default();
        for group in self.names(cluster).await? {
            if let Err(Failure(why)) = described(cluster, &group).await {
                deletions.failed(&group, &why);
                continue;
            }
            let coordinator = cluster.coordinator(&group).await?;
            deletions.delete(&coordinator, &group).await?;
        }
        deletions.report("share")
    }

    /// The topics that are named, or all that a group has offsets of.
    async fn topics(&self, cluster: &Cluster, group: &str) -> Result<BTreeSet<String>, Failure> {
        if !self.all_topics {
            return Ok(self.topic.iter().cloned().collect());
        }
        let offsets = offsets(cluster, group).await?;
        Ok(offsets.into_keys().map(|(topic, _)| topic).collect())
    }

    async fn delete_offsets(&self, cluster: &Cluster) -> Result<(), Failure> {
        for group in self.names(cluster).await? {
            let topics = self.topics(cluster, &group).await?;
            let coordinator = cluster.coordinator(&group).await?;
            let request = DeleteShareGroupOffsetsRequest {
                group_id: group.as_str().into(),
                topics: topics
                    .iter()
                    .map(|topic| DeleteShareGroupOffsetsRequestTopic {
                        topic_name: topic.as_str().into(),
                    })
                    .collect(),
            };
            let answer = coordinator.call(&request, WITHIN).await?;
            let whole = answer.error_code;
            if whole != 0 {
                println!("\nError: {}", name(whole));
            }
            let results = answer.responses.iter();
            let of_topic: BTreeMap<&str, i16> = results
                .map(|topic| (&*topic.topic_name, topic.error_code))
                .collect();
            let statuses = topics.iter().map(|topic| {
                let error = match whole {
                    0 => of_topic.get(&**topic).copied().unwrap_or(0),
                    error => error,
                };
                match error {
                    0 => "Successful".to_owned(),
                    error => format!("Error: {}", name(error)),
                }
            });
            let mut table = Table::default();
            table.column("TOPIC", AtLeast(15), topics.iter().cloned());
            table.column("STATUS", UNPADDED, statuses);
            table.print();
        }
        Ok(())
    }

    async fn reset(&self, cluster: &Cluster) -> Result<(), Failure> {
        let time = match (&self.to_datetime, self.to_earliest, self.to_latest) {
            (Some(text), false, false) => date_time(text)
                .ok_or_else(|| format!("'{text}' is not of the form YYYY-MM-DDThh:mm:ss.sss"))?,
            (None, true, false) => -2,
            (None, false, true) => -1,
            _ => {
                return Err(
                    "Option reset-offsets takes one of these options: --to-earliest, --to-latest, --to-datetime".into(),
                );
            }
        };
        for group in self.names(cluster).await? {
            if let Ok(found) = described(cluster, &group).await
                && &*found.group_state != "Empty"
            {
                return Err(format!("Share group '{group}' is not empty.").into());
            }
            let topics: Vec<String> = self.topics(cluster, &group).await?.into_iter().collect();
            let mut partitions: Vec<Partition> = Vec::new();
            for topic in cluster.metadata(Some(&topics)).await?.topics {
                let topic_name = topic.name.as_deref().unwrap_or_default();
                if topic.error_code != 0 {
                    return Err(format!("{topic_name}: {}", name(topic.error_code)).into());
                }
                let indexes = topic.partitions.iter();
                partitions.extend(indexes.map(|one| (topic_name.to_owned(), one.partition_index)));
            }
            let mut wanted = cluster.offsets(&partitions, time).await?;
            let ends = cluster.offsets(&partitions, -1).await?;
            for (partition, offset) in &mut wanted {
                if *offset < 0 {
                    // Nothing is as young as that.
                    *offset = ends.get(partition).copied().unwrap_or(0);
                }
            }
            if self.execute && !wanted.is_empty() {
                alter(cluster, &group, &wanted).await?;
            }
            let mut table = Table::of_partitions(&group, AtLeast(15), wanted.keys());
            table.column("NEW-OFFSET", UNPADDED, wanted.values().map(i64::to_string));
            table.print();
        }
        Ok(())
    }
}

async fn listed(cluster: &Cluster) -> Result<Vec<ListedGroup>, Failure> {
    let request = ListGroupsRequest {
        types_filter: vec!["share".into()],
        ..Default::default()
    };
    let answer = cluster.call(&request).await?;
    match answer.error_code {
        0 => Ok(answer.groups),
        error => Err(name(error).into()),
    }
}

async fn described(cluster: &Cluster, group: &str) -> Result<DescribedGroup, Failure> {
    let coordinator = cluster.coordinator(group).await?;
    let request = ShareGroupDescribeRequest {
        group_ids: vec![group.into()],
        ..Default::default()
    };
    let mut groups = coordinator.call(&request, WITHIN).await?.groups;
    match groups.pop() {
        Some(found) if found.error_code == 0 => Ok(found),
        Some(found) => Err(text(found.error_code, found.error_message.as_deref()).into()),
        None => Err(format!("Group {group} not found.").into()),
    }
}

async fn offsets(
    cluster: &Cluster,
    group: &str,
) -> Result<BTreeMap<Partition, DescribeShareGroupOffsetsResponsePartition>, Failure> {
    let coordinator = cluster.coordinator(group).await?;
    let request = DescribeShareGroupOffsetsRequest {
        groups: vec![DescribeShareGroupOffsetsRequestGroup {
            group_id: group.into(),
            topics: None,
        }],
    };
    let mut offsets = BTreeMap::new();
    for found in coordinator.call(&request, WITHIN).await?.groups {
        if found.error_code != 0 {
            return Err(text(found.error_code, found.error_message.as_deref()).into());
        }
        for topic in found.topics {
            for partition in topic.partitions {
                let place = (topic.topic_name.to_string(), partition.partition_index);
                offsets.insert(place, partition);
            }
        }
    }
    Ok(offsets)
}

async fn alter(
    cluster: &Cluster,
    group: &str,
    wanted: &BTreeMap<Partition, i64>,
) -> Result<(), Failure> {
    let mut topics: BTreeMap<&str, Vec<AlterShareGroupOffsetsRequestPartition>> = BTreeMap::new();
    for ((topic, index), offset) in wanted {
        let of_topic = topics.entry(topic).or_default();
        of_topic.push(AlterShareGroupOffsetsRequestPartition {
            partition_index: *index,
            start_offset: *offset,
        });
    }
    let topics = topics.into_iter();
    let request = AlterShareGroupOffsetsRequest {
        group_id: group.into(),
        topics: topics
            .map(|(topic, partitions)| AlterShareGroupOffsetsRequestTopic {
                topic_name: topic.into(),
                partitions,
            })
            .collect(),
    };
    let coordinator = cluster.coordinator(group).await?;
    let answer = coordinator.call(&request, WITHIN).await?;
    let of_partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let errors = of_partitions.map(|one| (one.error_code, one.error_message.as_deref()));
    let whole = (answer.error_code, answer.error_message.as_deref());
    let mut errors = [whole].into_iter().chain(errors);
    match errors.find(|(error, _)| *error != 0) {
        Some((error, message)) => Err(text(error, message).into()),
        None => Ok(()),
    }
}
