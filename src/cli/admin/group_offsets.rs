//! Changes of a group's offsets: `kafka-consumer-groups --reset-offsets` and `--delete-offsets`.

use std::collections::BTreeMap;

use bytestring::ByteString;

use super::client::{Cluster, Failure, WITHIN, name};
use super::described_group::described;
use super::groups::{Committed, ConsumerGroups, OFFSETS_BY_NAME, Partition, committed, names};
use super::table::Width::Fixed;
use super::table::{Table, UNPADDED};
use crate::base::time::Timestamp;
use crate::host::clock::Clock;
use crate::peer::channel::Channel;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::wire::message::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponsePartition,
};

pub(super) async fn reset(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    if !options.execute && !options.dry_run {
        eprintln!(
            "WARN: No action will be performed as the --execute option is missing. In a future major release, the default behavior of this command will be to prompt the user before executing the reset rather than doing a dry run. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting."
        );
    }
    let file = match options.from_file.as_deref() {
        Some(path) => Some(from_file(path)?),
        None => None,
    };
    let target = Target {
        file,
        since: since(options)?,
    };
    let groups = names(cluster, options).await?;
    let several = groups.len() > 1;
    for group in groups {
        let coordinator = cluster.coordinator(&group).await?;
        let state = match described(&coordinator, &group).await {
            Ok(found) => found.state,
            Err(_) => "Empty".to_owned(),
        };
        let wanted = match &*state {
            "Empty" => new_offsets(cluster, options, &coordinator, &group, &target).await?,
            _ => {
                println!(
                    "\nError: Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
                );
                BTreeMap::new()
            }
        };
        if options.execute && !wanted.is_empty() {
            commit(&coordinator, &group, &wanted).await?;
        }
        if options.export {
            for ((topic, index), offset) in wanted {
                let group = if several {
                    format!("{group},")
                } else {
                    String::new()
                };
                println!("{group}{topic},{index},{offset}");
            }
            println!();
            continue;
        }
        let mut table = Table::of_partitions(&group, Fixed(15), wanted.keys());
        table.column("NEW-OFFSET", UNPADDED, wanted.values().map(i64::to_string));
        table.print();
    }
    Ok(())
}

/// Targets given by `--from-file`, `--to-datetime` and `--by-duration`.
struct Target {
    file: Option<BTreeMap<Partition, i64>>,
    since: Option<Timestamp>,
}

/// The offsets that the options reset a group to.
async fn new_offsets(
    cluster: &Cluster,
    options: &ConsumerGroups,
    coordinator: &Channel,
    group: &str,
    target: &Target,
) -> Result<BTreeMap<Partition, i64>, Failure> {
    let current = committed(coordinator, group).await?;
    let partitions = match &target.file {
        Some(file) => file.keys().cloned().collect(),
        None => partitions(cluster, options, &current).await?,
    };
    let found = match target.since {
        Some(time) => cluster.offsets(&partitions, time).await?,
        None => BTreeMap::new(),
    };
    let earliest = cluster.offsets(&partitions, -2).await?;
    let latest = cluster.offsets(&partitions, -1).await?;
    let mut wanted = BTreeMap::new();
    for partition in partitions {
        let first = earliest.get(&partition).copied().unwrap_or(0);
        let last = latest.get(&partition).copied().unwrap_or(0);
        let now = current.get(&partition).map(|now| now.offset);
        let told = target
            .file
            .as_ref()
            .and_then(|file| file.get(&partition).copied());
        let offset = if let Some(offset) = told {
            offset
        } else if target.since.is_some() {
            // If no record is as new as the timestamp, the end of the partition is used.
            let offset = found.get(&partition).copied();
            offset.filter(|offset| *offset >= 0).unwrap_or_else(|| {
                println!(
                    "\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.",
                    partition.1, partition.0
                );
                last
            })
        } else if options.to_earliest {
            first
        } else if options.to_latest {
            last
        } else if let Some(offset) = options.to_offset {
            offset
        } else if let Some(by) = options.shift_by {
            now.ok_or_else(|| format!("Cannot shift offset for partition {}-{} since there is no current committed offset", partition.0, partition.1))? + by
        } else if options.to_current {
            now.unwrap_or(last)
        } else {
            return Err("Option reset-offsets requires one of: --to-earliest, --to-latest, --to-offset, --shift-by, --to-current, --to-datetime, --by-duration, --from-file".into());
        };
        if offset > last {
            eprintln!(
                "WARN New offset ({offset}) is higher than latest offset for topic partition {}-{}. Value will be set to {last}",
                partition.0, partition.1
            );
        }
        wanted.insert(partition, offset.clamp(first, last));
    }
    Ok(wanted)
}

/// Timestamp given by `--to-datetime` or `--by-duration`.
fn since(options: &ConsumerGroups) -> Result<Option<Timestamp>, Failure> {
    if let Some(text) = options.to_datetime.as_deref() {
        let time = date_time(text);
        return Ok(Some(time.ok_or_else(|| {
            format!("'{text}' is not of the form YYYY-MM-DDThh:mm:ss.sss")
        })?));
    }
    if let Some(text) = options.by_duration.as_deref() {
        let length = duration(text);
        let length = length.ok_or_else(|| format!("'{text}' is not of the form PnDTnHnMnS"))?;
        return Ok(Some(Clock::default().now().saturating_sub(length)));
    }
    Ok(None)
}

/// Milliseconds since 1970 for `YYYY-MM-DDThh:mm[:ss[.sss]]` followed by `Z`, an offset such as `+01:00`, or nothing for UTC.
pub(super) fn date_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once('T')?;
    let numbers = |text: &str, between: char| -> Option<Vec<i64>> {
        text.split(between).map(|part| part.parse().ok()).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else {
        return None;
    };
    let (time, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at_checked(at)?,
        None => (time, ""),
    };
    let minutes_east = match zone.chars().next() {
        None | Some('Z') => 0,
        Some(sign) => {
            let hours = zone.get(1..)?.replace(':', "");
            let value: i64 = hours.parse().ok()?;
            let minutes = if hours.len() > 2 {
                value / 100 * 60 + value % 100
            } else {
                value * 60
            };
            if sign == '-' { -minutes } else { minutes }
        }
    };
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock = numbers(whole, ':')?;
    let (hour, minute) = (*clock.first()?, *clock.get(1)?);
    let second = clock.get(2).copied().unwrap_or(0);
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let fits = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    if !fits {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day of a year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    let minutes = days * 1440 + hour * 60 + minute - minutes_east;
    Some((minutes * 60 + second) * 1000 + milliseconds)
}

/// Milliseconds of a duration `PnDTnHnMnS`.
fn duration(text: &str) -> Option<Timestamp> {
    let (days, rest) = match text.strip_prefix('P')?.split_once('T') {
        Some((days, rest)) => (days, rest),
        None => (text.strip_prefix('P')?, ""),
    };
    let mut sum = match days {
        "" => 0,
        days => days
            .strip_suffix('D')?
            .parse::<i64>()
            .ok()?
            .checked_mul(86_400_000)?,
    };
    let mut number = String::new();
    for letter in rest.chars() {
        let unit = match letter {
            'H' => 3_600_000,
            'M' => 60_000,
            'S' => 1_000,
            digit => {
                number.push(digit);
                continue;
            }
        };
        let value: f64 = std::mem::take(&mut number).parse().ok()?;
        sum = sum.checked_add((value * f64::from(unit)) as i64)?;
    }
    let said = !days.is_empty() || !rest.is_empty();
    (said && number.is_empty()).then_some(sum)
}

/// Reads a file with a line `topic,partition,offset` for each partition, as `--export` prints it.
fn from_file(path: &str) -> Result<BTreeMap<Partition, i64>, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split(',').map(str::trim).collect();
            let parsed = match parts[..] {
                [topic, index, offset] => index
                    .parse()
                    .ok()
                    .zip(offset.parse().ok())
                    .map(|(index, offset): (i32, i64)| ((topic.to_owned(), index), offset)),
                _ => None,
            };
            parsed.ok_or_else(|| format!("{path}: '{line}' is not topic,partition,offset").into())
        })
        .collect()
}

/// Deletes the offsets that a group has committed for topics that it does not consume now.
pub(super) async fn delete(cluster: &Cluster, options: &ConsumerGroups) -> Result<(), Failure> {
    for group in names(cluster, options).await? {
        let coordinator = cluster.coordinator(&group).await?;
        let partitions = partitions(cluster, options, &BTreeMap::new()).await?;
        let mut topics: BTreeMap<String, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for (topic, partition_index) in &partitions {
            let of_topic = topics.entry(topic.clone()).or_default();
            of_topic.push(OffsetDeleteRequestPartition {
                partition_index: *partition_index,
            });
        }
        let request = OffsetDeleteRequest {
            group_id: group.as_str().into(),
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetDeleteRequestTopic {
                    name: name.as_str().into(),
                    partitions,
                })
                .collect(),
        };
        let answer = coordinator.call(&request, WITHIN).await?;
        if answer.error_code != 0 {
            return Err(match ErrorCode::from_code(answer.error_code) {
                Some(ErrorCode::GroupIdNotFound) => "The group id does not exist.".into(),
                _ => name(answer.error_code).into(),
            });
        }
        println!("Request succeeded for deleting offsets from group {group}.");
        let results: Vec<(&ByteString, &OffsetDeleteResponsePartition)> = (answer.topics.iter())
            .flat_map(|topic| topic.partitions.iter().map(|one| (&topic.name, one)))
            .collect();
        let mut table = Table::default();
        let topics = results.iter().map(|(topic, _)| topic.to_string());
        table.column("TOPIC", Fixed(15), topics);
        let indexes = results
            .iter()
            .map(|(_, one)| one.partition_index.to_string());
        table.column("PARTITION", Fixed(10), indexes);
        let statuses = results.iter().map(|(_, one)| match one.error_code {
            0 => "Successful".to_owned(),
            code => format!("Error: {}", name(code)),
        });
        table.column("STATUS", Fixed(15), statuses);
        table.print();
    }
    Ok(())
}

/// Partitions of `--topic name` or `--topic name:0,1`, or all partitions that the group has offsets for.
async fn partitions(
    cluster: &Cluster,
    options: &ConsumerGroups,
    current: &BTreeMap<Partition, Committed>,
) -> Result<Vec<Partition>, Failure> {
    if options.all_topics {
        return Ok(current.keys().cloned().collect());
    }
    let mut found = Vec::new();
    for text in &options.topic {
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

/// Commits offsets without being a member of the group, which only succeeds if the group has no members.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kafkas_tool_reads_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.000", Some(0)),
            ("2024-02-29T12:34:56.789", Some(1_709_210_096_789)),
            ("2024-02-29T12:34:56.789Z", Some(1_709_210_096_789)),
            ("2024-02-29T13:34:56.789+01:00", Some(1_709_210_096_789)),
            ("2024-02-29T07:34:56.789-0500", Some(1_709_210_096_789)),
            ("2024-02-29T12:34", Some(1_709_210_040_000)),
            ("1969-12-31T23:59:59.5", Some(-500)),
            ("yesterday", None),
            ("2024-13-01T00:00:00.000", None),
            ("2024-02-29", None),
        ] {
            assert_eq!(date_time(text), expected, "{text}");
        }
        for (text, expected) in [
            ("PT1H", Some(3_600_000)),
            ("P2D", Some(172_800_000)),
            ("P1DT1H1M1.5S", Some(90_061_500)),
            ("P", None),
            ("1H", None),
            ("PT1", None),
            ("PTXH", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
