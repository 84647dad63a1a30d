//! `kafka-consumer-groups`. Kafka's `ConsumerGroupCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work, text};
use super::described_group::{Described, Member, described, shown};
use super::group_offsets;
use crate::peer::channel::Channel;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::delete_groups::DeleteGroupsRequest;
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
    /// More of each: with --members their partitions, with --state epochs, with --offsets leader epochs
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

/// Topic name and index of a partition.
pub(super) type Partition = (String, i32);
/// Newest version of OffsetFetch that names topics instead of giving their ids.
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
                // Like Kafka's tool, exits with status 0.
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
    // `--state` without a value prints the states; with values it selects the groups in these states.
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

/// An offset committed by a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: Option<i32>,
}

pub(super) async fn committed(
    coordinator: &Channel,
    group: &str,
) -> Result<BTreeMap<Partition, Committed>, Failure> {
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
        // A new coordinator has to load its log before it answers.
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
                    let epoch = partition.committed_leader_epoch;
                    offsets.insert(
                        (topic.name.to_string(), partition.partition_index),
                        Committed {
                            offset: partition.committed_offset,
                            leader_epoch: (epoch >= 0).then_some(epoch),
                        },
                    );
                }
            }
        }
    }
    Ok(offsets)
}

/// Prints a table with spaces between the columns. Columns without a width are not padded; Kafka pads each column.
pub(super) fn show(widths: &[usize], rows: impl IntoIterator<Item = Vec<String>>) {
    println!();
    for row in rows {
        for (column, text) in row.iter().enumerate() {
            let space = if column == 0 { "" } else { " " };
            let width = widths.get(column).copied().unwrap_or(0);
            print!("{space}{text:<width$}");
        }
        println!();
    }
}

/// Width of a column: that of its longest text, and at least `least`.
pub(super) fn width<'a>(least: usize, texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(str::len).chain([least]).max().unwrap_or(least)
}

/// Prints a line for each member; `verbose` adds its current and target assignment.
fn members(group: &str, found: &Described, verbose: bool) {
    let all = || found.members.iter();
    let count = |member: &Member| member.assigned.len().to_string();
    let has_instances = all().any(|member| member.instance.is_some());
    let any_is = |upgraded: bool| all().any(|member| is_upgraded(member) == Some(upgraded));
    let is_mixed = any_is(false) && any_is(true);
    let dash = || "-".to_owned();
    let mut header = vec!["GROUP", "CONSUMER-ID"];
    let mut widths = vec![
        width(15, [group].into_iter()),
        width(15, all().map(|member| &*member.id)),
    ];
    if has_instances {
        header.push("GROUP-INSTANCE-ID");
        widths.push(width(
            17,
            all().filter_map(|member| member.instance.as_deref()),
        ));
    }
    header.extend(["HOST", "CLIENT-ID", "#PARTITIONS"]);
    widths.extend([
        width(15, all().map(|member| &*member.host)),
        width(15, all().map(|member| &*member.client)),
        15,
    ]);
    let assigned: Vec<String> = all().map(|member| shown(&member.assigned)).collect();
    let targets: Vec<String> = all()
        .map(|member| {
            member
                .modern
                .as_ref()
                .map_or_else(dash, |modern| shown(&modern.target))
        })
        .collect();
    if verbose {
        header.extend([
            "CURRENT-EPOCH",
            "CURRENT-ASSIGNMENT",
            "TARGET-EPOCH",
            "TARGET-ASSIGNMENT",
        ]);
        widths.extend([
            15,
            width(20, assigned.iter().map(|text| &**text)),
            15,
            width(20, targets.iter().map(|text| &**text)),
        ]);
        if is_mixed {
            header.push("UPGRADED");
        }
    } else {
        // Kafka's line ends with the space that would precede the next column.
        header.push("");
    }
    let row = |(at, member): (usize, &Member)| {
        let mut row = vec![group.to_owned(), member.id.clone()];
        if has_instances {
            row.push(member.instance.clone().unwrap_or_default());
        }
        row.extend([member.host.clone(), member.client.clone(), count(member)]);
        if verbose {
            let epoch = member
                .modern
                .as_ref()
                .map(|modern| modern.epoch.to_string());
            let target_epoch = found.epochs.map(|(_, target)| target.to_string());
            row.extend([
                epoch.unwrap_or_else(dash),
                assigned[at].clone(),
                target_epoch.unwrap_or_else(dash),
                targets[at].clone(),
            ]);
            if is_mixed {
                row.push(is_upgraded(member).map_or_else(dash, |is| is.to_string()));
            }
        } else {
            row.push(String::new());
        }
        row
    };
    let header = header.into_iter().map(str::to_owned).collect();
    show(
        &widths,
        [header].into_iter().chain(all().enumerate().map(row)),
    );
}

fn is_upgraded(member: &Member) -> Option<bool> {
    member.modern.as_ref().and_then(|modern| modern.is_upgraded)
}

/// Prints the coordinator of a group, its state and its number of members.
async fn state(
    cluster: &Cluster,
    coordinator: &Channel,
    group: &str,
    found: &Described,
    verbose: bool,
) -> Result<(), Failure> {
    let at = coordinator.address();
    let known = cluster.metadata(Some(&[])).await?;
    let node = known
        .brokers
        .iter()
        .find(|broker| format!("{}:{}", broker.host, broker.port) == at);
    let place = format!("{at}  ({})", node.map_or(-1, |node| node.node_id));
    let assignor = match &*found.assignor {
        "" => "-",
        assignor => assignor,
    };
    let mut header = vec!["GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE"];
    let mut row = vec![
        group.to_owned(),
        place.clone(),
        assignor.to_owned(),
        found.state.clone(),
    ];
    let mut widths = vec![
        width(15, [group].into_iter()),
        width(25, [&*place].into_iter()),
        20,
        20,
    ];
    if verbose {
        header.extend(["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"]);
        let epochs = found
            .epochs
            .map(|(group, target)| [group, target].map(|epoch| epoch.to_string()));
        row.extend(epochs.unwrap_or_else(|| ["-", "-"].map(str::to_owned)));
        widths.extend([15, 25]);
    }
    header.push("#MEMBERS");
    row.push(found.members.len().to_string());
    let header = header.into_iter().map(str::to_owned).collect();
    show(&widths, [header, row]);
    Ok(())
}

async fn describe(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    for group in names(cluster, options).await? {
        let coordinator = cluster.coordinator(&group).await?;
        let found = described(&coordinator, &group).await?;
        match &*found.state {
            "Empty" => eprintln!("\nConsumer group '{group}' has no active members."),
            "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
                eprintln!("\nWarning: Consumer group '{group}' is rebalancing.");
            }
            _ => {}
        }
        if options.state.is_some() {
            state(cluster, &coordinator, &group, &found, options.verbose).await?;
        } else if options.members {
            members(&group, &found, options.verbose);
        } else {
            offsets(cluster, &coordinator, &group, &found, options.verbose).await?;
        }
    }
    Ok(())
}

async fn offsets(
    cluster: &Cluster,
    coordinator: &Channel,
    group: &str,
    found: &Described,
    verbose: bool,
) -> Result<(), Failure> {
    let committed = committed(coordinator, group).await?;
    let mut owners: BTreeMap<&Partition, Option<&Member>> = committed
        .keys()
        .map(|partition| (partition, None))
        .collect();
    for member in &found.members {
        for partition in &member.assigned {
            owners.insert(partition, Some(member));
        }
    }
    let partitions: Vec<Partition> = owners.keys().map(|one| (*one).clone()).collect();
    let ends = if partitions.is_empty() {
        BTreeMap::new()
    } else {
        cluster.offsets(&partitions, -1).await?
    };
    let mut header = vec!["GROUP", "TOPIC", "PARTITION"];
    if verbose {
        header.push("LEADER-EPOCH");
    }
    header.extend([
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    let header: Vec<String> = header.into_iter().map(str::to_owned).collect();
    let rows = owners.iter().map(|(partition, owner)| {
        let end = ends.get(*partition).copied().unwrap_or(-1);
        let current = committed.get(*partition);
        let number =
            |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let of_owner = |text: fn(&Member) -> &str| owner.map_or("-", text).to_owned();
        let (topic, index) = partition;
        let mut row = vec![group.to_owned(), topic.clone(), index.to_string()];
        if verbose {
            row.push(number(
                current
                    .and_then(|current| current.leader_epoch)
                    .map(i64::from),
            ));
        }
        row.extend([
            number(current.map(|current| current.offset)),
            end.to_string(),
            number(current.map(|current| end - current.offset)),
            of_owner(|member| &member.id),
            of_owner(|member| &member.host),
            of_owner(|member| &member.client),
        ]);
        row
    });
    let rows: Vec<Vec<String>> = [header].into_iter().chain(rows).collect();
    let last = rows[0].len() - 1;
    let widths: Vec<usize> = (0..last)
        .map(|column| match &*rows[0][column] {
            "PARTITION" => 10,
            _ => width(15, rows.iter().map(|row| &*row[column])),
        })
        .collect();
    show(&widths, rows);
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

/// A group's coordinator and offsets, for the console consumer.
pub(super) async fn group_offsets(
    cluster: &Cluster,
    group: &str,
) -> Result<(Channel, BTreeMap<Partition, Committed>), Failure> {
    let coordinator = cluster.coordinator(group).await?;
    let offsets = committed(&coordinator, group).await?;
    Ok((coordinator, offsets))
}
