//! `kafka-consumer-groups`. Kafka calls this `ConsumerGroupCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{Cluster, Failure, WITHIN, name, run as run_work, text};
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Options, Takes, parse};
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
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::message::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};

const OPTIONS: &[(&str, Takes)] = &[
    ("bootstrap-server", Value),
    ("command-config", Value),
    ("timeout", Value),
    ("list", Nothing),
    ("describe", Nothing),
    ("delete", Nothing),
    ("reset-offsets", Nothing),
    ("group", Value),
    ("all-groups", Nothing),
    ("topic", Value),
    ("all-topics", Nothing),
    ("offsets", Nothing),
    ("members", Nothing),
    ("verbose", Nothing),
    ("state", Nothing),
    ("execute", Nothing),
    ("dry-run", Nothing),
    ("to-earliest", Nothing),
    ("to-latest", Nothing),
    ("to-current", Nothing),
    ("to-offset", Value),
    ("shift-by", Value),
];

const ACTIONS: &[&str] = &["list", "describe", "delete", "reset-offsets"];
/// Names by which a partition is known.
type Partition = (String, i32);
/// The newest version in which topics have names.
const OFFSETS_BY_NAME: i16 = 9;

pub(super) fn run(arguments: &[String]) -> ExitCode {
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        let mut actions = ACTIONS.iter().filter(|action| options.has(action));
        let (Some(action), None) = (actions.next(), actions.next()) else {
            return Err(
                "Command must include exactly one action: --list, --describe, --delete or --reset-offsets".into(),
            );
        };
        if *action != "list" && !options.has("group") && !options.has("all-groups") {
            return Err(format!(
                "Option {action} takes one of these options: --group, --all-groups"
            )
            .into());
        }
        let cluster = Cluster::connect(&options).await?;
        let done = match *action {
            "list" => list(&cluster, &options).await,
            "describe" => describe(&cluster, &options).await,
            "delete" => delete(&cluster, &options).await,
            _ => reset(&cluster, &options).await,
        };
        if let Err(Failure(text)) = done {
            // Kafka's tool ends with 0 all the same; so do we.
            println!("\nError: {text}");
        }
        Ok(())
    })
}

async fn names(cluster: &Cluster, options: &Options) -> Result<Vec<String>, Failure> {
    if !options.has("all-groups") {
        return Ok(options.values("group").to_vec());
    }
    let answer = cluster.call(&ListGroupsRequest::default()).await?;
    Ok(answer
        .groups
        .iter()
        .map(|group| group.group_id.to_string())
        .collect())
}

async fn list(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    let answer = cluster.call(&ListGroupsRequest::default()).await?;
    if answer.error_code != 0 {
        return Err(name(answer.error_code).into());
    }
    if options.has("state") {
        println!("{:<25} STATE", "GROUP");
    }
    for group in answer.groups {
        if options.has("state") {
            println!("{:<25} {}", group.group_id, group.group_state);
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

async fn described(coordinator: &Channel, group: &str) -> Result<DescribedGroup, Failure> {
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

async fn committed(
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

async fn describe(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    for group in names(cluster, options).await? {
        let coordinator = cluster.coordinator(&group).await?;
        let found = described(&coordinator, &group).await?;
        if found.members.is_empty() {
            eprintln!("\nConsumer group '{group}' has no active members.");
        }
        let width = group.len().max(15);
        if options.has("state") {
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
        } else if options.has("members") {
            println!(
                "\n{:<width$} {:<15} {:<15} {:<15} {:<15} ",
                "GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"
            );
            for member in &found.members {
                println!(
                    "{group:<width$} {:<15} {:<15} {:<15} {:<15} ",
                    &*member.member_id,
                    &*member.client_host,
                    &*member.client_id,
                    assigned(member).len()
                );
            }
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

async fn delete(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
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

async fn reset(cluster: &Cluster, options: &Options) -> Result<(), Failure> {
    if !options.has("execute") && !options.has("dry-run") {
        eprintln!(
            "WARN: No action will be performed as the --execute option is missing. In a future major release, the default behavior of this command will be to prompt the user before executing the reset rather than doing a dry run. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting."
        );
    }
    for group in names(cluster, options).await? {
        let coordinator = cluster.coordinator(&group).await?;
        let state = match described(&coordinator, &group).await {
            Ok(found) => found.group_state.to_string(),
            Err(_) => "Empty".to_owned(),
        };
        if state != "Empty" {
            return Err(format!(
                "Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            )
            .into());
        }
        let current = committed(&coordinator, &group).await?;
        let partitions = partitions(cluster, options, &current).await?;
        let earliest = cluster.offsets(&partitions, -2).await?;
        let latest = cluster.offsets(&partitions, -1).await?;
        let mut wanted = BTreeMap::new();
        for partition in partitions {
            let first = earliest.get(&partition).copied().unwrap_or(0);
            let last = latest.get(&partition).copied().unwrap_or(0);
            let now = current.get(&partition).copied();
            let offset = if options.has("to-earliest") {
                first
            } else if options.has("to-latest") {
                last
            } else if let Some(offset) = options.number::<i64>("to-offset")? {
                offset
            } else if let Some(by) = options.number::<i64>("shift-by")? {
                now.ok_or_else(|| format!("Cannot shift offset for partition {}-{} since there is no current committed offset", partition.0, partition.1))? + by
            } else if options.has("to-current") {
                now.unwrap_or(last)
            } else {
                return Err("Option reset-offsets requires one of: --to-earliest, --to-latest, --to-offset, --shift-by, --to-current".into());
            };
            if offset > last {
                eprintln!(
                    "WARN New offset ({offset}) is higher than latest offset for topic partition {}-{}. Value will be set to {last}",
                    partition.0, partition.1
                );
            }
            wanted.insert(partition, offset.clamp(first, last));
        }
        if options.has("execute") {
            commit(&coordinator, &group, &wanted).await?;
        }
        let width = group.len().max(15);
        println!(
            "\n{:<width$} {:<15} {:<10} NEW-OFFSET",
            "GROUP", "TOPIC", "PARTITION"
        );
        for ((topic, index), offset) in wanted {
            println!("{group:<width$} {topic:<15} {index:<10} {offset}");
        }
    }
    Ok(())
}

/// `--topic name`, `--topic name:0,1`, or every topic that the group has offsets for.
async fn partitions(
    cluster: &Cluster,
    options: &Options,
    current: &BTreeMap<Partition, i64>,
) -> Result<Vec<Partition>, Failure> {
    if options.has("all-topics") {
        return Ok(current.keys().cloned().collect());
    }
    let mut found = Vec::new();
    for text in options.values("topic") {
        let (name, indexes) = text.split_once(':').unwrap_or((text, ""));
        if !indexes.is_empty() {
            found.extend(
                indexes
                    .split(',')
                    .filter_map(|index| Some((name.to_owned(), index.parse().ok()?))),
            );
            continue;
        }
        for topic in cluster.metadata(Some(&[name.to_owned()])).await?.topics {
            if topic.error_code != 0 {
                return Err(super::client::name(topic.error_code).into());
            }
            found.extend(
                topic
                    .partitions
                    .iter()
                    .map(|partition| (name.to_owned(), partition.partition_index)),
            );
        }
    }
    if found.is_empty() {
        return Err("One of the reset scopes should be defined: --all-topics, --topic.".into());
    }
    Ok(found)
}

/// Commits as somebody who is no member: only a group without members takes it.
pub(super) async fn commit(
    coordinator: &Channel,
    group: &str,
    offsets: &BTreeMap<Partition, i64>,
) -> Result<(), Failure> {
    let request = OffsetCommitRequest {
        group_id: group.into(),
        topics: offsets
            .iter()
            .map(|((topic, index), offset)| OffsetCommitRequestTopic {
                name: topic.as_str().into(),
                partitions: vec![OffsetCommitRequestPartition {
                    partition_index: *index,
                    committed_offset: *offset,
                    committed_metadata: Some("".into()),
                    ..Default::default()
                }],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let answer = coordinator
        .call_up_to(&request, OFFSETS_BY_NAME, WITHIN)
        .await?;
    let refused = answer
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .find(|partition| partition.error_code != 0);
    refused.map_or(Ok(()), |partition| Err(name(partition.error_code).into()))
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
