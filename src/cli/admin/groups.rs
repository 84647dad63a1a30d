//! `kafka-consumer-groups`. Kafka's `ConsumerGroupCommand`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use super::client::{Cluster, Connection, Failure, WITHIN, name, run as run_work};
use super::described_group::{Described, Member, described, shown};
use super::group_command::{self, Deletions, place_of};
use super::group_offsets;
use super::table::Width::{AtLeast, Fixed};
use super::table::{Table, UNPADDED};
use crate::peer::channel::Channel;
use crate::wire::error_code::ErrorCode;
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
            let chosen = [
                self.list,
                self.describe,
                self.delete,
                self.reset_offsets,
                self.delete_offsets,
            ];
            group_command::action(chosen, !self.group.is_empty() || self.all_groups)?;
            let cluster = self.connection.connect().await?;
            let done = match () {
                () if self.list => list(&cluster, self).await,
                () if self.describe => describe(&cluster, self).await,
                () if self.delete => delete(&cluster, self).await,
                () if self.delete_offsets => group_offsets::delete(&cluster, self).await,
                () => group_offsets::reset(&cluster, self).await,
            };
            group_command::tell(done);
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

/// Prints a line for each member; `verbose` adds its current and target assignment.
fn members(group: &str, found: &Described, verbose: bool) {
    let all = || found.members.iter();
    let modern = || all().map(|member| member.modern.as_ref());
    let any_is = |upgraded: bool| all().any(|member| is_upgraded(member) == Some(upgraded));
    let mut table = Table::default();
    table.column("GROUP", AtLeast(15), all().map(|_| group.to_owned()));
    table.column(
        "CONSUMER-ID",
        AtLeast(15),
        all().map(|member| member.id.clone()),
    );
    if all().any(|member| member.instance.is_some()) {
        let instances = all().map(|member| member.instance.clone().unwrap_or_default());
        table.column("GROUP-INSTANCE-ID", AtLeast(17), instances);
    }
    table.column("HOST", AtLeast(15), all().map(|member| member.host.clone()));
    table.column(
        "CLIENT-ID",
        AtLeast(15),
        all().map(|member| member.client.clone()),
    );
    let counts = all().map(|member| member.assigned.len().to_string());
    table.column("#PARTITIONS", Fixed(15), counts);
    if verbose {
        let epochs = modern().map(|modern| or_dash(modern.map(|modern| modern.epoch)));
        table.column("CURRENT-EPOCH", Fixed(15), epochs);
        let assigned = all().map(|member| shown(&member.assigned));
        table.column("CURRENT-ASSIGNMENT", AtLeast(20), assigned);
        let target_epoch = found.epochs.map(|(_, target)| target);
        table.column(
            "TARGET-EPOCH",
            Fixed(15),
            all().map(|_| or_dash(target_epoch)),
        );
        let targets = modern().map(|modern| or_dash(modern.map(|modern| shown(&modern.target))));
        table.column("TARGET-ASSIGNMENT", AtLeast(20), targets);
        if any_is(false) && any_is(true) {
            let upgraded = all().map(|member| or_dash(is_upgraded(member)));
            table.column("UPGRADED", UNPADDED, upgraded);
        }
    } else {
        // Kafka's line ends with the space that would precede the next column.
        table.column("", UNPADDED, all().map(|_| String::new()));
    }
    table.print();
}

/// A value, or a dash where there is none.
fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
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
    let assignor = match &*found.assignor {
        "" => "-",
        assignor => assignor,
    };
    let place = place_of(cluster, coordinator).await?;
    let mut table = Table::default();
    table.column("GROUP", AtLeast(15), [group.to_owned()]);
    table.column("COORDINATOR (ID)", AtLeast(25), [place]);
    table.column("ASSIGNMENT-STRATEGY", Fixed(20), [assignor.to_owned()]);
    table.column("STATE", Fixed(20), [found.state.clone()]);
    if verbose {
        let epoch = found.epochs.map(|(epoch, _)| epoch);
        let target = found.epochs.map(|(_, target)| target);
        table.column("GROUP-EPOCH", Fixed(15), [or_dash(epoch)]);
        table.column("TARGET-ASSIGNMENT-EPOCH", Fixed(25), [or_dash(target)]);
    }
    table.column("#MEMBERS", UNPADDED, [found.members.len().to_string()]);
    table.print();
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
    let current = || owners.keys().map(|partition| committed.get(*partition));
    let end = |partition: &Partition| ends.get(partition).copied().unwrap_or(-1);
    let of_owner = |text: fn(&Member) -> &str| {
        let owners = owners.values();
        owners.map(move |owner| owner.map_or("-", text).to_owned())
    };
    let mut table = Table::of_partitions(group, AtLeast(15), owners.keys().copied());
    if verbose {
        let epochs = current().map(|current| or_dash(current.and_then(|now| now.leader_epoch)));
        table.column("LEADER-EPOCH", AtLeast(15), epochs);
    }
    let offsets = current().map(|current| or_dash(current.map(|now| now.offset)));
    table.column("CURRENT-OFFSET", AtLeast(15), offsets);
    let log_ends = owners.keys().map(|partition| end(partition).to_string());
    table.column("LOG-END-OFFSET", AtLeast(15), log_ends);
    let lags = owners.keys().map(|partition| {
        let now = committed.get(*partition);
        or_dash(now.map(|now| end(partition) - now.offset))
    });
    table.column("LAG", AtLeast(15), lags);
    table.column("CONSUMER-ID", AtLeast(15), of_owner(|member| &member.id));
    table.column("HOST", AtLeast(15), of_owner(|member| &member.host));
    table.column("CLIENT-ID", UNPADDED, of_owner(|member| &member.client));
    table.print();
    Ok(())
}

async fn delete(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    let mut deletions = Deletions::default();
    for group in names(cluster, options).await? {
        let coordinator = cluster.coordinator(&group).await?;
        deletions.delete(&coordinator, &group).await?;
    }
    deletions.report("consumer")
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
