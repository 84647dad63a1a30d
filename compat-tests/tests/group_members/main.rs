//! The promise: the members of a classic group see from us what they see from Apache Kafka, whatever they do to each other.
//!
//! Each story is told to a node of ours and to Apache Kafka, step by step; member ids are called after their clients. What
//! both wrote down must be the same. A machine that is busy can let an answer come late, so a story that differs is told
//! once more, with more time after each step. `GROUP_SEED` repeats a random story, `GROUP_ROUNDS` tells more of them,
//! `GROUP_SCRIPT` only one of the others.

mod chance;
mod scripts;
mod stage;

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::chance::{from_environment, seed};
use compat_tests::node::{Node, free_port};
use scripts::{SCRIPTS, Script};
use stage::Stage;

const QUIET: Duration = Duration::from_millis(120);
const MORE_QUIET: Duration = Duration::from_millis(800);
const GROUP_SETTINGS: &str = "group.min.session.timeout.ms=500\ngroup.max.size=4\n";

struct Pair {
    node: Node,
    apache: Apache,
    _dir: tempfile::TempDir,
}

impl Pair {
    fn start(more: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let settings = format!("{SETTINGS}{GROUP_SETTINGS}{more}");
        let apache =
            Apache::start_with(PRESENT, &settings, dir.path(), &dir.path().join("apache"))?;
        let node =
            Node::with_settings(&settings.replace("{controller}", &free_port()?.to_string()))?;
        let pair = Self {
            node,
            apache,
            _dir: dir,
        };
        for address in pair.addresses() {
            stage::prepare(&address)?;
        }
        Ok(pair)
    }

    fn addresses(&self) -> [String; 2] {
        [self.node.address(), self.apache.address()]
    }

    /// What the two wrote down of one story.
    fn told(&self, group: &str, quiet: Duration, story: &Story<'_>) -> Result<[Vec<String>; 2]> {
        let [ours, theirs] = self.addresses();
        let tell = |address: &str| {
            let mut stage = Stage::new(address, group, quiet)?;
            story(&mut stage)?;
            Ok::<_, anyhow::Error>(stage.lines)
        };
        std::thread::scope(|scope| {
            let ours = scope.spawn(|| tell(&ours));
            let theirs = tell(&theirs)?;
            let ours = ours.join().map_err(|_| anyhow!("a story panicked"))??;
            Ok([ours, theirs])
        })
    }

    fn same(&self, name: &str, story: &Story<'_>) -> Result<()> {
        let [mut ours, mut theirs] = self.told(name, QUIET, story)?;
        if ours != theirs {
            [ours, theirs] = self.told(&format!("{name}-again"), MORE_QUIET, story)?;
        }
        let Some(at) =
            (0..ours.len().max(theirs.len())).find(|at| ours.get(*at) != theirs.get(*at))
        else {
            return Ok(());
        };
        if std::env::var_os("GROUP_SCRIPT").is_some() {
            println!("{theirs:#?}");
        }
        for line in &ours[..at] {
            println!("{line}");
        }
        println!("ours:   {:#?}", ours.get(at..(at + 3).min(ours.len())));
        println!("theirs: {:#?}", theirs.get(at..(at + 3).min(theirs.len())));
        Err(anyhow!("{name}: line {at} differs"))
    }
}

type Story<'a> = dyn Fn(&mut Stage) -> Result<()> + Sync + 'a;

fn all_the_same(pair: &Pair, scripts: &[(&str, Script)]) -> Result<()> {
    let only = std::env::var("GROUP_SCRIPT").ok();
    let mut different = Vec::new();
    for (name, script) in scripts {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        if let Err(error) = pair.same(name, script) {
            different.push(format!("{error:#}"));
        }
    }
    ensure!(different.is_empty(), "{different:#?}");
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn members_see_what_kafka_shows_them() -> Result<()> {
    all_the_same(&Pair::start("")?, SCRIPTS)
}

#[test]
#[ignore = "needs java and maven"]
fn members_at_random_see_what_kafka_shows_them() -> Result<()> {
    let pair = Pair::start("")?;
    let first = seed("GROUP_SEED");
    for seed in first..first + from_environment("GROUP_ROUNDS").unwrap_or(5) {
        println!("GROUP_SEED={seed}");
        let steps = chance::steps(seed);
        pair.same(&format!("random-{seed}"), &|stage| {
            chance::play(stage, &steps)
        })?;
    }
    Ok(())
}
