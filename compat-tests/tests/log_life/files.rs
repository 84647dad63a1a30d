//! Contents of a data directory, as lines that must be the same for two brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use monedula::wire::batch::header::{BatchHeader, HEADER_SIZE, MAGIC_V2};
use monedula::wire::batch::record;

/// Contents of each file, by its path in the data directory.
pub type Files = BTreeMap<String, Vec<String>>;

/// Files whose contents are each broker's own, because they depend on its history.
const OWN: [&str; 5] = [
    "bootstrap.checkpoint",
    "__cluster_metadata-0",
    "__transaction_state-0",
    "__consumer_offsets-0",
    ".lock",
];
/// First producer id of those that tests choose; lower ones are allocated by the broker.
pub const CHOSEN: i64 = 1_000_000;

/// Contents of all files of a data directory except for the topics `without`. The topics `rewritten` have batches that the
/// broker compressed: the two brokers' codecs differ, so only the decompressed records are compared, and no positions.
pub fn read(data: &Path, without: &[&str], rewritten: &[&str]) -> Result<Files> {
    let mut files = Files::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let name = name(&path);
        if OWN.contains(&name.as_str()) {
            continue;
        }
        if !path.is_dir() {
            files.insert(name.clone(), text(&name, &path, without)?);
            continue;
        }
        let topic = name.rsplit_once('-').map_or("", |(topic, _)| topic);
        if without.contains(&topic) {
            continue;
        }
        let partition = partition(&path, rewritten.contains(&topic))
            .with_context(|| path.display().to_string())?;
        for (file, lines) in partition {
            files.insert(format!("{name}/{file}"), lines);
        }
    }
    Ok(files)
}

/// Paths in the data directory of a running broker, without those whose contents are each broker's own.
pub fn names(data: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let dir = name(&path);
        if OWN.contains(&dir.as_str()) {
            continue;
        }
        if !path.is_dir() {
            names.insert(dir);
            continue;
        }
        for entry in fs::read_dir(&path)? {
            names.insert(format!("{dir}/{}", name(&entry?.path())));
        }
    }
    Ok(names)
}

/// The differences: lines of ours with `-`, lines of theirs with `+`.
pub fn differences(ours: &Files, theirs: &Files) -> Vec<String> {
    let mut found = Vec::new();
    let mut names: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        match (ours.get(name), theirs.get(name)) {
            (Some(_), None) => found.push(format!("{name}: only ours")),
            (None, Some(_)) => found.push(format!("{name}: only theirs")),
            (Some(ours), Some(theirs)) if ours != theirs => {
                found.push(format!("{name}:"));
                let lacks = |lines: &[String], line: &String| !lines.contains(line);
                let of = |sign: char, one: &[String], other: &[String]| {
                    let lines = one.iter().filter(|line| lacks(other, line));
                    let mut lines: Vec<_> = lines.map(|line| format!("  {sign} {line}")).collect();
                    let more = lines.len().saturating_sub(5);
                    lines.truncate(5);
                    lines.push(format!("  {sign} {} lines, {more} more", one.len()));
                    lines
                };
                found.extend(of('-', ours, theirs));
                found.extend(of('+', theirs, ours));
            }
            _ => {}
        }
    }
    found
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Replaces values that always differ between two clusters: timestamps that a broker set (markers, LogAppendTime, delete
/// horizons) and producer ids that it allocated. Each gets a number in the order of its first occurrence in the log.
#[derive(Default)]
struct Nature {
    times: Vec<i64>,
    producers: Vec<i64>,
}

impl Nature {
    fn numbered(known: &mut Vec<i64>, value: i64) -> usize {
        known
            .iter()
            .position(|one| *one == value)
            .unwrap_or_else(|| {
                known.push(value);
                known.len() - 1
            })
    }

    fn broker_time(&mut self, at: i64) -> String {
        format!("time{}", Self::numbered(&mut self.times, at))
    }

    fn time(&self, at: i64) -> String {
        match self.times.iter().position(|one| *one == at) {
            Some(index) => format!("time{index}"),
            None => at.to_string(),
        }
    }

    fn producer(&mut self, id: i64) -> String {
        match id {
            0..CHOSEN => format!("producer{}", Self::numbered(&mut self.producers, id)),
            _ => id.to_string(),
        }
    }
}

fn partition(dir: &Path, rewritten: bool) -> Result<Files> {
    let mut paths: Vec<_> = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.sort();
    let mut nature = Nature::default();
    let mut files = Files::new();
    let (logs, others): (Vec<_>, Vec<_>) = paths
        .into_iter()
        .partition(|path| path.extension().is_some_and(|kind| kind == "log"));
    for path in &logs {
        files.insert(name(path), log(&fs::read(path)?, &mut nature, rewritten)?);
    }
    let end = logs.last().map_or(Ok(0), |last| end(last))?;
    let first = files.keys().next().cloned().unwrap_or_default();
    for path in others {
        let name = name(&path);
        // monedula keeps a snapshot of the producer state before the first segment. Apache Kafka would not use it.
        let of_segment = logs.contains(&path.with_extension("log"));
        let is_first = path.with_extension("log").ends_with(&first);
        // A snapshot of an earlier stop has no effect and is removed by a later start.
        let at_end = name == format!("{end:020}.snapshot");
        if name.ends_with(".snapshot") && (is_first || !of_segment && !at_end) {
            continue;
        }
        let kind = path.extension().unwrap_or_default().to_string_lossy();
        let bytes = fs::read(&path)?;
        let lines = match &*kind {
            "index" if rewritten => Vec::new(),
            "timeindex" if rewritten => Vec::new(),
            "index" => entries(&bytes, 8, |entry| {
                format!("{} at {}", int(entry, 0), int(entry, 4))
            }),
            "timeindex" => entries(&bytes, 12, |entry| {
                format!("{} at {}", nature.time(long(entry, 0)), int(entry, 8))
            }),
            "txnindex" => entries(&bytes, 34, |entry| {
                let id = nature.producer(long(entry, 2));
                let (first, last, stable) = (long(entry, 10), long(entry, 18), long(entry, 26));
                format!(
                    "v{}{} {id} {first}..{last}, stable {stable}",
                    entry[0], entry[1]
                )
            }),
            "snapshot" => snapshot(&bytes, &mut nature)?,
            _ if name == "leader-epoch-checkpoint" => epochs(&text(&name, &path, &[])?, end),
            _ => text(&name, &path, &[])?,
        };
        files.insert(name, lines);
    }
    Ok(files)
}

/// The batches of a segment, with all their bytes except for values that always differ.
fn log(bytes: &[u8], nature: &mut Nature, rewritten: bool) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while rest.len() >= HEADER_SIZE && rest.get(16) == Some(&(MAGIC_V2 as u8)) {
        let header = BatchHeader::parse(rest)?;
        ensure!(
            header.size() <= rest.len(),
            "a batch that is cut at {}",
            bytes.len() - rest.len()
        );
        let (batch, behind) = rest.split_at(header.size());
        rest = behind;
        let batch = bytes::Bytes::copy_from_slice(batch);
        header.verify(&batch)?;
        let stamped =
            header.is_control() || header.is_log_append_time() || header.delete_horizon().is_some();
        let newest = if header.is_control() || header.is_log_append_time() {
            nature.broker_time(header.max_timestamp)
        } else {
            nature.time(header.max_timestamp)
        };
        let mut line = format!(
            "{}+{} epoch {} attributes {:#x} newest {newest} producer {} {} {} count {}",
            header.base_offset,
            header.last_offset_delta,
            header.leader_epoch,
            header.attributes,
            nature.producer(header.producer_id),
            header.producer_epoch,
            header.base_sequence,
            header.record_count,
        );
        if !stamped && !rewritten {
            // The timestamp of the first record. The checksum is left out if it covers an allocated producer id.
            let crc = if header.producer_id < CHOSEN && header.producer_id >= 0 {
                0
            } else {
                header.crc
            };
            line += &format!(" oldest {} crc {crc:x}", header.base_timestamp);
        }
        line += &if rewritten || header.delete_horizon().is_some() {
            let body = record::decompressed(&header, &batch, 1 << 26)?;
            let mut said = String::new();
            for one in record::records(&header, &body) {
                let one = one?;
                let headers: Vec<_> = one.headers().collect();
                let at = nature.time(one.timestamp);
                said += &format!(
                    " [{} {at} {} {} {headers:?}]",
                    one.offset,
                    brief(one.key),
                    brief(one.value)
                );
            }
            said
        } else {
            format!(" {}", brief(Some(&batch[HEADER_SIZE..])))
        };
        lines.push(line);
    }
    // Messages of old formats, or bytes that are not a batch.
    if !rest.is_empty() {
        lines.push(brief(Some(rest)));
    }
    Ok(lines)
}

fn brief(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() <= 32 => bytes.escape_ascii().to_string(),
        Some(bytes) if bytes.iter().all(|byte| *byte == 0) => format!("{} zeros", bytes.len()),
        Some(bytes) => format!("{} bytes of {:x}", bytes.len(), crc32c::crc32c(bytes)),
    }
}

/// End offset of the log.
fn end(last: &Path) -> Result<i64> {
    let bytes = fs::read(last)?;
    let stem = last.file_stem().unwrap_or_default().to_string_lossy();
    let (mut end, mut rest) = (stem.parse()?, &bytes[..]);
    while rest.len() >= HEADER_SIZE && rest[16] == MAGIC_V2 as u8 {
        let header = BatchHeader::parse(rest)?;
        end = header.next_offset();
        rest = rest.get(header.size()..).unwrap_or_default();
    }
    Ok(end)
}

/// The leader epochs that have records. Apache Kafka also stores epochs that have just begun.
fn epochs(lines: &[String], end: i64) -> Vec<String> {
    let of_records = |line: &&String| {
        let start = line.split(' ').nth(1).and_then(|start| start.parse().ok());
        start.is_none_or(|start: i64| start < end)
    };
    let lines = lines.iter().filter(of_records).cloned();
    // The second line is the number of entries.
    lines
        .enumerate()
        .filter(|(index, _)| *index != 1)
        .map(|(_, line)| line)
        .collect()
}

/// Entries of a fixed size, and the bytes after the last complete one.
fn entries(bytes: &[u8], size: usize, mut one: impl FnMut(&[u8]) -> String) -> Vec<String> {
    if bytes.len() > size && bytes.iter().all(|byte| *byte == 0) {
        return vec![brief(Some(bytes))];
    }
    let chunks = bytes.chunks_exact(size);
    let rest = chunks.remainder();
    let mut lines: Vec<String> = chunks.map(&mut one).collect();
    if !rest.is_empty() {
        lines.push(brief(Some(rest)));
    }
    lines
}

/// Producers sorted by their ids, because Apache Kafka writes them in the order of a hash table.
fn snapshot(bytes: &[u8], nature: &mut Nature) -> Result<Vec<String>> {
    const HEAD: usize = 10;
    const ENTRY: usize = 46;
    ensure!(bytes.len() >= HEAD, "a snapshot of {} bytes", bytes.len());
    let crc = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    ensure!(
        crc == crc32c::crc32c(&bytes[6..]),
        "a snapshot with a wrong checksum"
    );
    let mut producers: Vec<&[u8]> = bytes[HEAD..].chunks(ENTRY).collect();
    producers.sort_by_key(|entry| long(entry, 0));
    let mut lines = vec![format!("v{}{} of {}", bytes[0], bytes[1], int(bytes, 6))];
    for entry in producers {
        ensure!(entry.len() == ENTRY, "a snapshot that is cut");
        lines.push(format!(
            "{} epoch {}{} sequence {} offset {} delta {} at {} coordinator {} open {}",
            nature.producer(long(entry, 0)),
            entry[8],
            entry[9],
            int(entry, 10),
            long(entry, 14),
            int(entry, 22),
            nature.time(long(entry, 26)),
            int(entry, 34),
            long(entry, 38),
        ));
    }
    Ok(lines)
}

fn int(bytes: &[u8], at: usize) -> i32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

fn long(bytes: &[u8], at: usize) -> i64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

/// Lines of a text file. Those of checkpoints and properties are sorted, because they come in the order of a hash table. Ids,
/// dates and broker epochs are masked.
fn text(name: &str, path: &Path, without: &[&str]) -> Result<Vec<String>> {
    let whole = fs::read_to_string(path)?;
    let mut lines: Vec<String> = whole.lines().map(str::to_owned).collect();
    if !whole.is_empty() && !whole.ends_with('\n') {
        lines.push("(no end of line)".to_owned());
    }
    for line in &mut lines {
        for own in [
            "topic_id: ",
            "cluster.id=",
            "directory.id=",
            "\"brokerEpoch\":",
        ] {
            if let Some(at) = line.find(own) {
                let end = line[at..]
                    .find(['}', ','])
                    .map_or(line.len(), |end| at + end);
                line.replace_range(at + own.len()..end, "?");
            }
        }
    }
    if name.ends_with("-offset-checkpoint") {
        let counts = |line: &String| {
            let topic = line.split(' ').next().unwrap_or_default();
            !topic.starts_with("__") && !without.contains(&topic)
        };
        lines.retain(counts);
        // The number of lines is removed, because it also counts internal topics.
        if lines.len() >= 2 {
            lines.remove(1);
        }
        lines[1..].sort();
    } else if name == "meta.properties" {
        lines.retain(|line| !line.starts_with('#'));
        lines.sort();
    }
    Ok(lines)
}
