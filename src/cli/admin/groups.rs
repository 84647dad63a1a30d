//! `kafka-consumer-groups`. Kafka calls this `ConsumerGroupCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use tokio::time::Instant;

use super::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work, text};
use super::group_offsets;
use crate::peer::channel::Channel;
use crate::wire::codec::Reader;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Message;
use crate::wire::message::delete_groups::DeleteGroupsRequest;
use crate::wire::message::describe_groups::{
    DescribeGroupsRequest, DescribedGroup, DescribedGroupMember,
};
use crate::wire::message::embedded::ConsumerProtocolAssignment;
use crate::wire::message::list_groups::ListGroupsRequest;
use crate::wire::message::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};

/// List, describe and delete consumer groups, and reset their offsets
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  monedula consumer-groups --bootstrap-server localhost:9092 --list
  monedula consumer-groups --bootstrap-server localhost:9092 --describe --group billing
  monedula consumer-groups --bootstrap-server localhost:9092 --reset-offsets --to-earliest --group billing --all-topics --execute")]
#[group(skip)]
pub struct ConsumerGroups {
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
    /// Set the offsets of a group without members
    #[arg(long, help_heading = ACTION)]
    reset_offsets: bool,
    /// Delete the offsets of topics that the group does not read
    #[arg(long, help_heading = ACTION)]
    delete_offsets: bool,
    /// The group; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) group: Vec<String>,
    /// Every group
    #[arg(long)]
    pub(super) all_groups: bool,
    /// A topic, or some of its partitions; may be given several times
    #[arg(long, value_name = "NAME[:PARTITION,...]")]
    pub(super) topic: Vec<String>,
    /// Every topic that the group has offsets of
    #[arg(long)]
    pub(super) all_topics: bool,
    /// Describe offsets and lag (what --describe does by itself)
    #[arg(long)]
    offsets: bool,
    /// Describe members
    #[arg(long)]
    members: bool,
    /// Describe members with their partitions
    #[arg(long)]
    verbose: bool,
    /// Describe the state; with --list, groups in these states only
    #[arg(long, value_name = "STATE,...", num_args = 0..=1, default_missing_value = "")]
    state: Option<String>,
    /// Reset to the first offsets
    #[arg(long, help_heading = TARGET)]
    pub(super) to_earliest: bool,
    /// Reset to the ends
    #[arg(long, help_heading = TARGET)]
    pub(super) to_latest: bool,
    /// Keep the offsets
    #[arg(long, help_heading = TARGET)]
    pub(super) to_current: bool,
    /// Reset to this offset
    #[arg(long, value_name = "OFFSET", help_heading = TARGET)]
    pub(super) to_offset: Option<i64>,
    /// Move by this number of offsets
    #[arg(long, value_name = "OFFSETS", help_heading = TARGET)]
    pub(super) shift_by: Option<i64>,
    /// Reset to the first offsets from this time on
    #[arg(long, value_name = "YYYY-MM-DDTHH:mm:SS.sss", help_heading = TARGET)]
    pub(super) to_datetime: Option<String>,
    /// Reset to the first offsets from so long ago on
    #[arg(long, value_name = "PnDTnHnMnS", help_heading = TARGET)]
    pub(super) by_duration: Option<String>,
    /// Reset to the offsets of a file that --export printed
    #[arg(long, value_name = "FILE", help_heading = TARGET)]
    pub(super) from_file: Option<String>,
    /// Reset the offsets; without this option the new offsets are only printed
    #[arg(long)]
    pub(super) execute: bool,
    /// Print the new offsets and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the new offsets as lines that --from-file reads
    #[arg(long)]
    pub(super) export: bool,
    /// Taken for the sake of Kafka's tool: milliseconds to wait for the group
    #[arg(long, value_name = "MS", hide = true)]
    timeout: Option<u64>,
}

const ACTION: &str = "Actions";
const TARGET: &str = "Where --reset-offsets resets to";

/// Names by which a partition is known.
pub(super) type Partition = (String, i32);
/// The newest version in which topics have names.
pub(super) const OFFSETS_BY_NAME: i16 = 9;

impl ConsumerGroups {
    pub fn run(&self) -> ExitCode {
        run_work(async {
            let actions = [
                ("list", self.list),
                ("describe", self.describe),
                ("delete", self.delete),
                ("reset-offsets", self.reset_offsets),
                ("delete-offsets", self.delete_offsets),
            ];
            let mut chosen = actions.iter().filter(|(_, chosen)| *chosen);
            let (Some((action, _)), None) = (chosen.next(), chosen.next()) else {
                return Err(
                    "Command must include exactly one action: --list, --describe, --delete, --reset-offsets or --delete-offsets".into(),
                );
            };
            if !self.list && self.group.is_empty() && !self.all_groups {
                return Err(format!(
                    "Option {action} takes one of these options: --group, --all-groups"
                )
                .into());
            }
            let cluster = self.connection.connect().await?;
            let done = match () {
                () if self.list => list(&cluster, self).await,
                () if self.describe => describe(&cluster, self).await,
                () if self.delete => delete(&cluster, self).await,
                () if self.delete_offsets => group_offsets::delete(&cluster, self).await,
                () => group_offsets::reset(&cluster, self).await,
            };
            if let Err(Failure(text)) = done {
                // Kafka's tool ends with 0 all the same; so do we.
                println!("\nError: {text}");
            }
            Ok(())
        })
    }
}

pub(super) async fn names(
    cluster: &Cluster,
    options: &ConsumerGroups,
) -> Result<Vec<String>, Failure> {
    if !options.all_groups {
        return Ok(options.group.clone());
    }
    let answer = cluster.call(&ListGroupsRequest::default()).await?;
    Ok(answer
        .groups
        .iter()
        .map(|group| group.group_id.to_string())
        .collect())
}

async fn list(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    let answer = cluster.call(&ListGroupsRequest::default()).await?;
    if answer.error_code != 0 {
        return Err(name(answer.error_code).into());
    }
    if options.state.is_some() {
        println!("{:<25} {:<20}", "GROUP", "STATE");
    }
    // `--state` alone shows the states, with some behind it these groups only.
    let states = options.state.as_deref().unwrap_or_default().split(',');
    let wanted: Vec<&str> = states.filter(|state| !state.trim().is_empty()).collect();
    for group in answer.groups {
        let is = |state: &&str| state.trim().eq_ignore_ascii_case(&group.group_state);
        if !wanted.is_empty() && !wanted.iter().any(is) {
            continue;
        }
        if options.state.is_some() {
            println!("{:<25} {:<20}", &*group.group_id, &*group.group_state);
        } else {
            println!("{}", group.group_id);
        }
    }
    Ok(())
}

fn not_found(group: &str) -> Failure {
    Failure(format!(
        "Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: Group {group} not found."
    ))
}

pub(super) async fn described(
    coordinator: &Channel,
    group: &str,
) -> Result<DescribedGroup, Failure> {
    let request = DescribeGroupsRequest {
        groups: vec![group.into()],
        ..Default::default()
    };
    let answer = coordinator.call(&request, WITHIN).await?;
    match answer.groups.into_iter().next() {
        Some(found) if found.group_state == "Dead" || found.error_code == 69 => {
            Err(not_found(group))
        }
        Some(found) if found.error_code != 0 => {
            Err(text(found.error_code, found.error_message.as_deref()).into())
        }
        Some(found) => Ok(found),
        None => Err(not_found(group)),
    }
}

pub(super) async fn committed(
    coordinator: &Channel,
    group: &str,
) -> Result<BTreeMap<Partition, i64>, Failure> {
    let request = OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: group.into(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let deadline = Instant::now() + WITHIN;
    let answer = loop {
        let answer = coordinator
            .call_up_to(&request, OFFSETS_BY_NAME, WITHIN)
            .await?;
        // A coordinator that was just chosen reads its log first.
        let soon = answer.groups.iter().any(|found| {
            ErrorCode::from_code(found.error_code).is_some_and(ErrorCode::is_retriable)
        });
        if !soon || Instant::now() > deadline {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut offsets = BTreeMap::new();
    for found in answer.groups {
        if found.error_code != 0 {
            return Err(name(found.error_code).into());
        }
        for topic in found.topics {
            for partition in topic.partitions {
                if partition.committed_offset >= 0 {
                    offsets.insert(
                        (topic.name.to_string(), partition.partition_index),
                        partition.committed_offset,
                    );
                }
            }
        }
    }
    Ok(offsets)
}

/// What a member was given; bytes of another protocol give nothing.
fn assigned(member: &DescribedGroupMember) -> Vec<Partition> {
    let parse = |mut bytes: Bytes| {
        if bytes.len() < 2 {
            return None;
        }
        let version = bytes::Buf::get_i16(&mut bytes).clamp(0, 3);
        ConsumerProtocolAssignment::read(&mut Reader::new(bytes), version).ok()
    };
    let assignment = parse(member.member_assignment.clone()).unwrap_or_default();
    let partitions = assignment
        .assigned_partitions
        .into_iter()
        .flat_map(|topic| {
            let name = topic.topic.to_string();
            topic
                .partitions
                .into_iter()
                .map(move |index| (name.clone(), index))
        });
    partitions.collect()
}

/// A line for each member; `verbose` ones with what it was given.
fn members(group: &str, found: &DescribedGroup, verbose: bool) {
    let width = |longest: Option<usize>| longest.unwrap_or(0).max(15);
    let members = || found.members.iter();
    let group_width = group.len().max(15);
    let id_width = width(members().map(|member| member.member_id.len()).max());
    let host_width = width(members().map(|member| member.client_host.len()).max());
    let client_width = width(members().map(|member| member.client_id.len()).max());
    let show = |[group, id, host, client, count]: [&str; 5], more: [&str; 4]| {
        print!(
            "{group:<group_width$} {id:<id_width$} {host:<host_width$} {client:<client_width$} {count:<15} "
        );
        let [epoch, given, target_epoch, target] = more;
        if verbose {
            print!("{epoch:<15} {given:<20} {target_epoch:<15} {target:<20}");
        }
        println!();
    };
    println!();
    show(
        ["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"],
        [
            "CURRENT-EPOCH",
            "CURRENT-ASSIGNMENT",
            "TARGET-EPOCH",
            "TARGET-ASSIGNMENT",
        ],
    );
    for member in members() {
        let given = assigned(member);
        let mut topics: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (topic, index) in &given {
            topics.entry(topic).or_default().push(index.to_string());
        }
        let topics: Vec<String> = topics
            .iter()
            .map(|(topic, indexes)| format!("{topic}:{}", indexes.join(",")))
            .collect();
        let shown = if topics.is_empty() {
            "-".to_owned()
        } else {
            topics.join(";")
        };
        show(
            [
                group,
                &member.member_id,
                &member.client_host,
                &member.client_id,
                &given.len().to_string(),
            ],
            // The epochs are those of the other group protocol.
            ["-", &shown, "-", "-"],
        );
    }
}

async fn describe(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    if options.verbose && !options.members {
        return Err("--verbose is here for --members only".into());
    }
    for group in names(cluster, options).await? {
        let coordinator = cluster.coordinator(&group).await?;
        let found = described(&coordinator, &group).await?;
        if found.members.is_empty() {
            eprintln!("\nConsumer group '{group}' has no active members.");
        }
        let width = group.len().max(15);
        if options.state.is_some() {
            let at = coordinator.address();
            let assignor = if found.protocol_data.is_empty() {
                "-"
            } else {
                &*found.protocol_data
            };
            let node = cluster.metadata(Some(&[])).await?;
            let id = node
                .brokers
                .iter()
                .find(|broker| format!("{}:{}", broker.host, broker.port) == at)
                .map_or(-1, |broker| broker.node_id);
            let place = format!("{at}  ({id})");
            println!(
                "\n{:<width$} {:<25} {:<20} {:<20} #MEMBERS",
                "GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE"
            );
            println!(
                "{group:<width$} {place:<25} {assignor:<20} {:<20} {}",
                &*found.group_state,
                found.members.len()
            );
        } else if options.members {
            members(&group, &found, options.verbose);
        } else {
            offsets(cluster, &coordinator, &group, &found).await?;
        }
    }
    Ok(())
}

async fn offsets(
    cluster: &Cluster,
    coordinator: &Channel,
    group: &str,
    found: &DescribedGroup,
) -> Result<(), Failure> {
    let committed = committed(coordinator, group).await?;
    let mut owners: BTreeMap<Partition, Option<&DescribedGroupMember>> = committed
        .keys()
        .map(|partition| (partition.clone(), None))
        .collect();
    for member in &found.members {
        for partition in assigned(member) {
            owners.insert(partition, Some(member));
        }
    }
    let partitions: Vec<Partition> = owners.keys().cloned().collect();
    let ends = if partitions.is_empty() {
        BTreeMap::new()
    } else {
        cluster.offsets(&partitions, -1).await?
    };
    let mut rows = vec![
        [
            "GROUP",
            "TOPIC",
            "PARTITION",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
        ]
        .map(str::to_owned),
    ];
    for (partition, owner) in owners {
        let end = ends.get(&partition).copied().unwrap_or(-1);
        let current = committed.get(&partition).copied();
        let number =
            |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let (topic, index) = partition;
        rows.push([
            group.to_owned(),
            topic,
            index.to_string(),
            number(current),
            end.to_string(),
            number(current.map(|current| end - current)),
            owner.map_or_else(|| "-".to_owned(), |member| member.member_id.to_string()),
            owner.map_or_else(|| "-".to_owned(), |member| member.client_host.to_string()),
            owner.map_or_else(|| "-".to_owned(), |member| member.client_id.to_string()),
        ]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or(0)
            .max(15)
    };
    let (group_width, topic_width, member_width) = (width(0), width(1), width(6));
    println!();
    for [
        group,
        topic,
        partition,
        current,
        end,
        lag,
        member,
        host,
        client,
    ] in &rows
    {
        println!(
            "{group:<group_width$} {topic:<topic_width$} {partition:<10} {current:<15} {end:<15} {lag:<15} {member:<member_width$} {host:<15} {client}"
        );
    }
    Ok(())
}

async fn delete(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    let names = names(cluster, options).await?;
    let mut failed = Vec::new();
    let mut deleted = Vec::new();
    for group in names {
        let coordinator = cluster.coordinator(&group).await?;
        let request = DeleteGroupsRequest {
            groups_names: vec![group.as_str().into()],
        };
        for result in coordinator.call(&request, WITHIN).await?.results {
            if result.error_code == 0 {
                deleted.push(format!("'{group}'"));
            } else {
                failed.push(format!(
                    "* Group '{group}' could not be deleted due to: {}",
                    text(result.error_code, result.error_message.as_deref())
                ));
            }
        }
    }
    if failed.is_empty() {
        println!(
            "Deletion of requested consumer groups ({}) was successful.",
            deleted.join(", ")
        );
        return Ok(());
    }
    Err(format!(
        "Deletion of some consumer groups failed:\n{}",
        failed.join("\n")
    )
    .into())
}

/// The offsets of a group, for the console.
pub(super) async fn group_offsets(
    cluster: &Cluster,
    group: &str,
) -> Result<(Channel, BTreeMap<Partition, i64>), Failure> {
    let coordinator = cluster.coordinator(group).await?;
    let offsets = committed(&coordinator, group).await?;
    Ok((coordinator, offsets))
}
