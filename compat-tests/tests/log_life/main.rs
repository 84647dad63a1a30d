//! Logs are rolled, deleted and compacted as by Apache Kafka: the same settings and the same batches leave the same files, byte
//! for byte, also after each broker has restarted on the other's directory, and after a crash there.

mod broker;
mod compaction;
mod dumps;
mod files;
mod scenes;
mod tales;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::node::Node;
use compat_tests::programs::eventually;
use monedula::host::clock::Clock;

use broker::{Broker, SOON, Seen};
use scenes::{SCENES, SCENES_WITHOUT_BYTES, Scene};
use tales::{REWRITTEN, TALES};

/// Settings with which both do background work as often as possible.
const BACKGROUND: &str = "\
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=2000000
log.segment.delete.delay.ms=500
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
";
/// Further settings of monedula; those of Apache Kafka are in `SETTINGS`.
const ALONE: &str = "\
node.id=1
listeners=PLAINTEXT://localhost:{port}
log.dirs={dir}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
";
/// Compares the state of a scene's topic on both brokers. Sizes are not compared where the cleaner rewrote records, because the
/// brokers' codecs differ.
fn same(scene: &Scene, ours: &mut Broker, theirs: &mut Broker) -> Result<()> {
    let (mut own, mut other) = (Seen::default(), Seen::default());
    let equal = eventually(SOON, || {
        own = ours.look(scene.name).unwrap_or_default();
        other = theirs.look(scene.name).unwrap_or_default();
        if SCENES_WITHOUT_BYTES.contains(&scene.name) {
            for seen in [&mut own, &mut other] {
                seen.size = 0;
                seen.segments.clear();
            }
        }
        (scene.settled)(&other) && own == other
    });
    let brief = |seen: &Seen| {
        let records: Vec<_> = seen
            .records
            .iter()
            .map(|(offset, at, key, value)| {
                let text = |bytes: &Option<Bytes>| {
                    bytes.as_ref().map(|bytes| {
                        String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned()
                    })
                };
                (*offset, *at, text(key), text(value))
            })
            .collect();
        format!(
            "segments {:?}, {}..{}, newest {:?}, {} bytes, {records:?}",
            seen.segments, seen.start, seen.end, seen.newest, seen.size
        )
    };
    ensure!(
        equal,
        "{}:\nours:   {}\ntheirs: {}",
        scene.name,
        brief(&own),
        brief(&other)
    );
    Ok(())
}

/// Waits until a scene has settled on both brokers, and no file waits for deletion.
fn settled(scene: &Scene, ours: &mut Broker, theirs: &mut Broker) -> Result<()> {
    for (broker, whose) in [(ours, "ours"), (theirs, "theirs")] {
        let mut seen = Seen::default();
        let over = eventually(SOON, || {
            seen = broker.look(scene.name).unwrap_or_default();
            (scene.settled)(&seen) && !broker.is_tidying(scene.name)
        });
        ensure!(
            over,
            "{}: {whose}: {:?}, {}..{}, {} records",
            scene.name,
            seen.segments,
            seen.start,
            seen.end,
            seen.records.len()
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn logs_roll_age_and_are_compacted_as_apache_kafkas_are() -> Result<()> {
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    let settings = format!("{SETTINGS}{BACKGROUND}");
    let mut node = Node::with_settings(&format!("{ALONE}{BACKGROUND}"))?;
    let apache = Apache::start_with(PRESENT, &settings, home.path(), &data)?;
    let mut ours = Broker::new(node.address(), node.dir());
    let mut theirs = Broker::new(apache.address(), &data);
    let now = Clock::default().now();
    let wanted = std::env::var("LOG_LIFE_SCENE").ok();
    let chosen = |scenes: &'static [Scene]| {
        let wanted = wanted.as_deref();
        scenes
            .iter()
            .filter(move |scene| wanted.is_none_or(|wanted| wanted == scene.name))
    };
    for scene in chosen(SCENES).chain(chosen(TALES)) {
        for broker in [&mut ours, &mut theirs] {
            broker.create(scene)?;
            (scene.tell)(broker, now).with_context(|| scene.name)?;
        }
    }
    let mut wrong = Vec::new();
    let compare = |ours: &mut Broker, theirs: &mut Broker, when: &str, wrong: &mut Vec<String>| {
        for scene in chosen(SCENES) {
            if let Err(error) = same(scene, ours, theirs) {
                wrong.push(format!("{when}: {error:#}"));
            }
        }
    };
    compare(&mut ours, &mut theirs, "running", &mut wrong);
    for scene in chosen(TALES) {
        settled(scene, &mut ours, &mut theirs)?;
        let (own, other) = (
            ours.special_offsets(scene.name)?,
            theirs.special_offsets(scene.name)?,
        );
        for (own, other) in own.iter().zip(&other).filter(|(own, other)| own != other) {
            wrong.push(format!("{}: ours {own}, theirs {other}", scene.name));
        }
    }
    let mut names = <[_; 2]>::default();
    let same = eventually(SOON, || {
        names = [node.dir(), &data].map(|data| files::names(data).unwrap_or_default());
        !names[0].is_empty() && names[0] == names[1]
    });
    if !same {
        let differ: Vec<_> = names[0].symmetric_difference(&names[1]).collect();
        wrong.push(format!("names while both run: {differ:#?}"));
    }
    let same_files = |when: &str, ours: &Path, theirs: &Path, wrong: &mut Vec<String>| {
        let read = |data| files::read(data, &SCENES_WITHOUT_BYTES, REWRITTEN);
        for line in files::differences(&read(ours)?, &read(theirs)?) {
            wrong.push(format!("{when}: {line}"));
        }
        anyhow::Ok(())
    };
    node.stop()?;
    apache.stop()?;
    same_files("stopped", node.dir(), &data, &mut wrong)?;
    dumps::compare(&[node.dir(), &data])?;
    // Each broker continues with the other's directory.
    let mut exchanged = Node::on(&data)?;
    let apache = Apache::start_with(PRESENT, &settings, home.path(), node.dir())?;
    ours = Broker::new(exchanged.address(), &data);
    theirs = Broker::new(apache.address(), node.dir());
    for scene in chosen(SCENES).chain(chosen(TALES)) {
        let there = eventually(SOON, || {
            theirs.offset(scene.name, -1).is_ok_and(|end| end.0 == 0)
        });
        ensure!(there, "{} is not there again", scene.name);
    }
    compare(&mut ours, &mut theirs, "exchanged", &mut wrong);
    // And after a crash.
    for scene in chosen(TALES) {
        for broker in [&mut ours, &mut theirs] {
            tales::more(broker, scene.name, now).with_context(|| scene.name)?;
        }
    }
    exchanged.kill()?;
    drop(apache);
    exchanged.resume()?;
    let apache = Apache::start_with(PRESENT, &settings, home.path(), node.dir())?;
    exchanged.stop()?;
    apache.stop()?;
    same_files("after a crash", &data, node.dir(), &mut wrong)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
