//! The members of a classic group get the same responses as from Apache Kafka, whatever they do to each other.
//!
//! Each story is told to a monedula node and to Apache Kafka, step by step; member ids are replaced by names derived from the
//! clients. The transcripts must be the same. On a busy machine a response may come late, so a story that differs is told
//! again, each time with more time after each step: a real difference occurs at every pace. The number of repeated stories is
//! printed. If it exceeds [`AGAIN_MAX`] of them, there may be an intermittent difference, and the test fails. `GROUP_SEED`
//! repeats a random story, `GROUP_ROUNDS` tells more of them, `GROUP_SCRIPT` selects scripts by their names.

mod chance;
mod scripts;
mod stage;

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::chance::{from_environment, seed};
use compat_tests::node::{Node, free_port};
use scripts::{FIRST_REBALANCES, SCRIPTS, Script};
use stage::{Pace, Stage};

const PACES: &[Pace] = &[
    Pace::Quiet(Duration::from_millis(120)),
    Pace::Quiet(Duration::from_millis(800)),
    Pace::Quiet(Duration::from_millis(2_500)),
];
/// Paces for the scripts, some of which have timeouts of their own.
const SCRIPT_PACES: &[Pace] = &[PACES[0], PACES[1], PACES[0], PACES[1]];
const EVEN_PACES: &[Pace] = &[
    Pace::Even(Duration::from_millis(300)),
    Pace::Even(Duration::from_millis(1_000)),
    Pace::Even(Duration::from_millis(3_000)),
];
/// A short broker session, because Apache Kafka waits for its end after a kill -9.
const GROUP_SETTINGS: &str = "\
group.min.session.timeout.ms=500
group.max.size=4
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
";
/// After a restart the brokers' timeouts start at different moments. This many hundredths of a step later, silent members are
/// gone, and so are members that did not join the rebalance that this causes.
const GONE: u32 = 1_900;

/// Of this many stories (first), this many may be repeated (second).
const AGAIN_MAX: (usize, usize) = (3, 1);
/// Number of repeated stories that is always allowed, because a test may have few stories.
const AGAIN_ALWAYS: usize = 2;

/// Number of told stories, and number of those that were repeated.
#[derive(Debug, Default)]
struct Tellings {
    stories: Cell<usize>,
    again: Cell<usize>,
}

impl Tellings {
    fn add(&self, stories: usize, again: usize) {
        self.stories.set(self.stories.get() + stories);
        self.again.set(self.again.get() + again);
    }

    fn are_seldom_repeated(&self) -> Result<()> {
        let (stories, again) = (self.stories.get(), self.again.get());
        println!("{again} of {stories} stories were told again");
        let (of, most) = AGAIN_MAX;
        ensure!(
            again <= AGAIN_ALWAYS || again * of <= stories * most,
            "{again} of {stories} stories differed when they were told first"
        );
        Ok(())
    }
}

struct Pair {
    tellings: Tellings,
    node: Node,
    apache: Option<Apache>,
    settings: String,
    dir: tempfile::TempDir,
}

impl Pair {
    fn start(more: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let settings = format!("{SETTINGS}{GROUP_SETTINGS}{more}");
        let node =
            Node::with_settings(&settings.replace("{controller}", &free_port()?.to_string()))?;
        let mut pair = Self {
            tellings: Tellings::default(),
            node,
            apache: None,
            settings,
            dir,
        };
        pair.start_apache()?;
        for address in pair.addresses()? {
            stage::prepare(&address)?;
        }
        Ok(pair)
    }

    fn start_apache(&mut self) -> Result<()> {
        let dir = self.dir.path();
        let apache = Apache::start_with(PRESENT, &self.settings, dir, &dir.join("apache"))?;
        self.apache = Some(apache);
        Ok(())
    }

    /// Kills both brokers at the same moment, so that no deadline passes for only one, and starts them again.
    fn restart(&mut self) -> Result<()> {
        self.node.kill()?;
        drop(self.apache.take());
        self.start_apache()?;
        self.node.resume()?;
        for address in self.addresses()? {
            stage::prepare(&address)?;
        }
        Ok(())
    }

    fn addresses(&self) -> Result<[String; 2]> {
        let apache = self.apache.as_ref().map(Apache::address);
        Ok([
            self.node.address(),
            apache.ok_or_else(|| anyhow!("Apache Kafka is not running"))?,
        ])
    }

    /// Transcripts of each story from both brokers. All stories are told at the same time.
    fn told(&self, stories: &[(String, &Story<'_>)], pace: Pace) -> Result<Vec<Told>> {
        let [ours, theirs] = self.addresses()?;
        let tell = |address: &str, group: &str, story: &Story<'_>| {
            let mut stage = Stage::new(address, group, pace)?;
            story(&mut stage)?;
            Ok::<_, anyhow::Error>(stage.lines)
        };
        let tell = &tell;
        std::thread::scope(|scope| {
            let begun: Vec<_> = stories
                .iter()
                .map(|(name, story)| {
                    [&ours, &theirs].map(|address| scope.spawn(move || tell(address, name, story)))
                })
                .collect();
            begun
                .into_iter()
                .map(|[ours, theirs]| Ok([end(ours)?, end(theirs)?]))
                .collect()
        })
    }

    /// Errors: a story differs at every pace.
    fn same(&self, stories: &[(String, &Story<'_>)], paces: &[Pace]) -> Result<()> {
        let mut left = stories.to_vec();
        let mut told = Vec::new();
        for (again, pace) in paces.iter().enumerate() {
            if again > 0 {
                for (name, _) in &mut left {
                    println!("{name} once more");
                    name.push_str("-again");
                }
            }
            told = self.told(&left, *pace)?;
            let mut differ = told.iter().map(|[ours, theirs]| ours != theirs);
            left.retain(|_| differ.next().unwrap_or(true));
            told.retain(|[ours, theirs]| ours != theirs);
            if again == 0 {
                self.tellings.add(stories.len(), left.len());
            }
            if left.is_empty() {
                return Ok(());
            }
        }
        let names = left.iter().map(|(name, _)| name.as_str());
        no_difference(names.zip(&told))
    }
}

/// Transcripts of one story from both brokers.
type Told = [Vec<String>; 2];

fn end<T>(story: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    story.join().map_err(|_| anyhow!("a story panicked"))?
}

/// Prints the differences. Errors: there are any.
fn no_difference<'a>(stories: impl Iterator<Item = (&'a str, &'a Told)>) -> Result<()> {
    let mut different = Vec::new();
    for (name, [ours, theirs]) in stories {
        let lines = ours.len().max(theirs.len());
        let Some(at) = (0..lines).find(|at| ours.get(*at) != theirs.get(*at)) else {
            continue;
        };
        if std::env::var_os("GROUP_SCRIPT").is_some() {
            println!("{theirs:#?}");
        }
        println!("{name}");
        for line in &ours[..at] {
            println!("{line}");
        }
        println!("ours:   {:#?}", ours.get(at..(at + 3).min(ours.len())));
        println!("theirs: {:#?}", theirs.get(at..(at + 3).min(theirs.len())));
        different.push(format!("{name}: line {at} differs"));
    }
    ensure!(different.is_empty(), "{different:#?}");
    Ok(())
}

type Story<'a> = dyn Fn(&mut Stage) -> Result<()> + Sync + 'a;

#[test]
#[ignore = "needs java and maven"]
fn members_see_what_kafka_shows_them() -> Result<()> {
    written_stories(&Pair::start("")?, SCRIPTS)
}

#[test]
#[ignore = "needs java and maven"]
fn new_groups_wait_for_members_as_with_kafka() -> Result<()> {
    let delay = "group.initial.rebalance.delay.ms=3000\n";
    written_stories(&Pair::start(delay)?, FIRST_REBALANCES)
}

fn written_stories(pair: &Pair, scripts: &[(&str, Script)]) -> Result<()> {
    let only = std::env::var("GROUP_SCRIPT").ok();
    let mut different = Vec::new();
    for (name, script) in scripts {
        if only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
        {
            let story = [((*name).to_owned(), script as &Story<'_>)];
            if let Err(error) = pair.same(&story, SCRIPT_PACES) {
                different.push(format!("{error:#}"));
            }
        }
    }
    ensure!(different.is_empty(), "{different:#?}");
    pair.tellings.are_seldom_repeated()
}

/// Random stories, several at a time.
fn stories_of_seeds(
    pair: &Pair,
    at_once: u64,
    steps: fn(u64) -> Vec<chance::Step>,
    paces: &[Pace],
) -> Result<()> {
    let first = seed("GROUP_SEED");
    for round in 0..from_environment("GROUP_ROUNDS")
        .unwrap_or(5)
        .div_ceil(at_once)
    {
        let from = first + round * at_once;
        println!("GROUP_SEED={from}");
        let told: Vec<_> = (from..from + at_once)
            .map(|seed| {
                let steps = steps(seed);
                move |stage: &mut Stage| chance::play(stage, &steps)
            })
            .collect();
        let stories: Vec<(String, &Story<'_>)> = (from..)
            .zip(&told)
            .map(|(seed, story)| (format!("random-{seed}"), story as &Story<'_>))
            .collect();
        pair.same(&stories, paces)?;
    }
    pair.tellings.are_seldom_repeated()
}

#[test]
#[ignore = "needs java and maven"]
fn members_at_random_see_what_kafka_shows_them() -> Result<()> {
    stories_of_seeds(&Pair::start("")?, 1, chance::steps, PACES)
}

#[test]
#[ignore = "needs java and maven"]
fn members_that_fall_silent_see_what_kafka_shows_them() -> Result<()> {
    stories_of_seeds(&Pair::start("")?, 5, chance::silent_steps, EVEN_PACES)
}

/// The stories with silence, told in acts between which both brokers are restarted.
#[test]
#[ignore = "needs java and maven"]
fn groups_survive_restarts_as_with_kafka() -> Result<()> {
    let mut pair = Pair::start("")?;
    let first = seed("GROUP_SEED");
    let seeds = first..first + from_environment("GROUP_ROUNDS").unwrap_or(5);
    println!("GROUP_SEED={first}");
    let mut stories: Vec<_> = seeds
        .map(|seed| (seed, chance::steps_in_acts(seed)))
        .collect();
    for (times, &pace) in (1..).zip(EVEN_PACES) {
        let mut stages = Vec::new();
        for address in pair.addresses()? {
            for (seed, _) in &stories {
                let group = format!("restarted-{seed}-{times}");
                stages.push(Stage::new(&address, &group, pace)?);
            }
        }
        for act in 0..3 {
            if act > 0 {
                pair.restart()?;
                let [ours, theirs] = pair.addresses()?;
                let (first, second) = stages.split_at_mut(stories.len());
                for stage in first {
                    stage.moves(&ours)?;
                }
                for stage in second {
                    stage.moves(&theirs)?;
                }
            }
            let steps = stories.iter().chain(&stories);
            std::thread::scope(|scope| {
                let begun: Vec<_> = stages
                    .iter_mut()
                    .zip(steps)
                    .map(|(stage, (_, steps))| {
                        scope.spawn(move || {
                            if act > 0 {
                                stage.wait(stage.hundredths(GONE).unsigned_abs().into())?;
                            }
                            let third = steps.len() / 3;
                            chance::play(stage, &steps[act * third..(act + 1) * third])
                        })
                    })
                    .collect();
                begun.into_iter().try_for_each(end)
            })?;
        }
        let theirs = stages.split_off(stories.len());
        let told: Vec<(String, Told)> = (stories.iter().zip(stages.into_iter().zip(theirs)))
            .map(|((seed, _), (ours, theirs))| {
                (
                    format!("restarted-{seed}-{times}"),
                    [ours.lines, theirs.lines],
                )
            })
            .collect();
        let differs: Vec<bool> = told
            .iter()
            .map(|(_, [ours, theirs])| ours != theirs)
            .collect();
        let mut differs = differs.into_iter();
        let all = stories.len();
        stories.retain(|_| differs.next().is_some_and(|differs| differs));
        if times == 1 {
            pair.tellings.add(all, stories.len());
        }
        if stories.is_empty() {
            return pair.tellings.are_seldom_repeated();
        }
        if times == EVEN_PACES.len() {
            return no_difference(told.iter().map(|(name, told)| (name.as_str(), told)));
        }
        println!("{} once more", stories.len());
    }
    Ok(())
}
