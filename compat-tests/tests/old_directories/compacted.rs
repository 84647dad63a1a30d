//! Logs of an old broker, compacted by Apache Kafka's present classes and by monedula.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::compaction::{
    PARTITION, Pass, RETENTION, compactor, copy, facts, first_difference, offsets, ours, partition,
    saved, theirs,
};
use compat_tests::node::Node;
use compat_tests::programs::eventually;
use monedula::base::ids::TopicPartition;
use monedula::host::clock::Clock;
use monedula::host::disk::Disk;
use monedula::log::{checkpoint, dir};

/// Time limit for the old broker's cleaner to begin.
const CLEANER_LIMIT: Duration = Duration::from_secs(60);

/// Two copies of an old broker's partition, for monedula and for Apache Kafka. Everything before its end is to be compacted.
pub struct Twins {
    name: String,
    ours: PathBuf,
    theirs: PathBuf,
    end: i64,
    passes: Vec<Pass>,
}

/// Makes twins of every partition that the old broker served.
fn twins(data: &Path, root: &Path, before: &[String], clean: bool) -> Result<Vec<Twins>> {
    let disk = Disk::default();
    let read = |name: &str| -> Result<BTreeMap<String, i64>> {
        let offsets = checkpoint::read_offsets(&disk, &data.join(name))?.into_iter();
        Ok(offsets.map(|(name, at)| (name.to_string(), at)).collect())
    };
    let (cleaned, mut all) = (read(checkpoint::CLEANED)?, Vec::new());
    for line in before {
        let words: Vec<&str> = line.split(' ').collect();
        let ["bounds", name, start, end] = words.as_slice() else {
            continue;
        };
        let (start, end): (i64, i64) = (start.parse()?, end.parse()?);
        let own = root.join(name).join("ours");
        copy(&data.join(name), &own.join(PARTITION))?;
        // The active segment is an empty one and stays as it is.
        for kind in ["log", "index", "timeindex"] {
            fs::write(own.join(PARTITION).join(format!("{end:020}.{kind}")), "")?;
        }
        if let Some(cleaned) = cleaned.get(*name) {
            let entry = [(&partition(), *cleaned)];
            let path = own.join(checkpoint::CLEANED);
            checkpoint::write_offsets(&disk, &path, entry.into_iter())?;
        }
        if clean {
            dir::write_clean_shutdown(disk.dir(&own), -1)?;
        }
        let other = own.with_file_name("theirs");
        copy(&own, &other)?;
        let now = Clock::default().now();
        let mut passes: Vec<Pass> = [0, 10, RETENTION + 10, 3 * RETENTION]
            .map(|later| Pass::at(now + later, end))
            .into();
        for (number, pass) in passes.iter_mut().enumerate() {
            // The first pass continues where the old broker's cleaner was.
            pass.forget = number > 0;
            pass.log_start = start;
            pass.clean = clean || number > 0;
        }
        // Afterwards, old tombstones may be removed in files that are equally old.
        passes[1].settings.delete_retention_ms = 0;
        all.push(Twins {
            name: (*name).to_owned(),
            ours: own,
            theirs: other,
            end,
            passes,
        });
    }
    Ok(all)
}

/// Compacts the partitions of both states of an old broker; returns the twins of the state that was stopped cleanly.
pub fn alike(home: &Path, states: [(&Path, bool); 2], before: &[String]) -> Result<Vec<Twins>> {
    let mut all = Vec::new();
    for (data, clean) in states {
        let root = home.join(format!("compacted-{clean}"));
        all.extend(twins(data, &root, before, clean)?);
    }
    let mut lines = String::new();
    for twins in &all {
        lines.push_str(&theirs(&twins.theirs, &twins.passes, 0)?);
    }
    let told = compactor(&lines, home)?;
    let (mut told, mut compared, mut total) = (told.into_iter(), 0, 0);
    for twins in &all {
        ours(&twins.ours, &twins.passes).with_context(|| twins.name.clone())?;
        for number in 0..twins.passes.len() {
            total += 1;
            let line = told.next().context("a step was not told of")?;
            if line.contains("uncleanable") {
                // Known failure if nothing remains of the last message; see DIFFERENCES.md.
                ensure!(line.contains("IllegalStateException"), "{line}");
                continue;
            }
            compared += 1;
            let (own, other) = (saved(&twins.ours, number), saved(&twins.theirs, number));
            let plain = twins.name.starts_with("none-");
            let start = twins.passes[number].log_start;
            let (of_ours, of_theirs) = (
                facts(&own, &other, start, plain)?,
                facts(&other, &own, start, plain)?,
            );
            ensure!(
                of_ours == of_theirs,
                "{} that ends at {}, pass {number}:\n{}",
                twins.name,
                twins.end,
                first_difference(&of_ours, &of_theirs)
            );
        }
    }
    ensure!(
        compared * 4 > total * 3 && total > 50,
        "{compared} passes of {total} were compared"
    );
    all.retain(|twins| twins.passes[0].clean);
    Ok(all)
}

/// Consumers get the same records from logs that monedula compacted as from those that Apache Kafka compacted, and as the old
/// broker served them.
pub fn served(home: &Path, data: &Path, all: &[Twins], before: &[String]) -> Result<()> {
    let place = home.join("served");
    copy(data, &place)?;
    let (mut left, mut gone) = (BTreeMap::new(), 0);
    for twins in all {
        let dir = place.join(&twins.name);
        fs::remove_dir_all(&dir)?;
        let last = twins.passes.len() - 1;
        copy(&saved(&twins.ours, last).join(PARTITION), &dir)?;
        left.insert(twins.name.as_str(), offsets(&saved(&twins.theirs, last))?);
    }
    let mut expected = Vec::new();
    for line in before {
        let words: Vec<&str> = line.split(' ').collect();
        let stays = match words.as_slice() {
            ["record", name, offset, ..] => {
                let offset: i64 = offset.parse()?;
                left.get(name).is_some_and(|left| left.contains(&offset))
            }
            ["lookup", ..] => continue,
            _ => true,
        };
        if stays {
            // A compacted message becomes a batch, which always has timestamps: -1 for messages of format v0.
            expected.push(line.replace(" NoTimestampType ", " CreateTime "));
        }
        gone += usize::from(!stays);
    }
    ensure!(gone > 300, "only {gone} records were compacted away");
    let node = Node::on(&place).context("after compaction")?;
    let mut found = super::served(&node.address())?;
    found.retain(|line| !line.starts_with("lookup "));
    let differ = expected.iter().zip(&found).find(|(a, b)| a != b);
    ensure!(
        expected == found,
        "compacted: {} lines, not {}; first {differ:#?}",
        found.len(),
        expected.len()
    );
    Ok(())
}

/// Waits until the old broker's own cleaner has compacted something.
pub fn has_begun(data: &Path) -> bool {
    let compacted = TopicPartition::new("compacted", 0);
    eventually(CLEANER_LIMIT, || {
        let offsets = checkpoint::read_offsets(&Disk::default(), &data.join(checkpoint::CLEANED));
        let mut offsets = offsets.unwrap_or_default().into_iter();
        offsets.any(|(name, offset)| name == compacted && offset > 0)
    })
}
