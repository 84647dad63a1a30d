//! Measurement of a client library. Its test program understands two commands and prints what it observed:
//!
//! ```text
//! features ADDRESS              cell FEATURE pass|fail|n/a NOTE    one line per feature; "group" is not among them
//! member ADDRESS TOPIC GROUP    owns COUNT                         whenever the number of assigned partitions changed
//!                               got VALUE                          for each record, from the earliest on
//! ```
//!
//! A member runs until it is killed. The group is observed from outside: one member joins, a second one joins, the second one
//! is killed.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::matrix::{Cell, FEATURES, Outcome};
use crate::node::{Node, binary};
use crate::programs::{Running, eventually, run, succeed};

const FEATURES_LIMIT: Duration = Duration::from_secs(600);
/// Time limit for joining a group, and for noticing another member's death: a session of six seconds, and the client's
/// intervals.
const GROUP_LIMIT: Duration = Duration::from_secs(120);
/// Topics of the group test. On a busy machine a member may miss its session of six seconds; the test then repeats with the
/// second topic.
const TOPICS: [&str; 2] = ["divided", "divided-again"];
const PARTITIONS: usize = 4;

/// Measures all features of a client. `command` creates its process with the given arguments.
pub fn measure(command: impl Fn(&[&str]) -> Command) -> Result<Vec<Cell>> {
    let node = Node::start()?;
    let mut cells = features(&node, &command);
    if !cells.iter().any(|cell| cell.feature == "group") {
        let told = TOPICS
            .iter()
            .find_map(|topic| match group(&node, topic, &command) {
                Err(error) if *topic == TOPICS[0] => {
                    println!("once more, after {error:#}");
                    None
                }
                told => Some(told),
            });
        let (outcome, note) = match told.unwrap_or(Ok(())) {
            Ok(()) => (Outcome::Pass, "rebalance and death of a member".to_owned()),
            Err(error) => (Outcome::Fail, one_line(&format!("{error:#}"))),
        };
        cells.push(Cell {
            feature: "group".to_owned(),
            outcome,
            note,
        });
    }
    Ok(cells)
}

/// Errors: lists the cells that failed.
pub fn demand(client: &str, version: &str, cells: &[Cell]) -> Result<()> {
    let failed: Vec<String> = cells
        .iter()
        .filter(|cell| cell.outcome == Outcome::Fail)
        .map(|cell| format!("{}: {}", cell.feature, cell.note))
        .collect();
    ensure!(
        failed.is_empty(),
        "{client} {version}: {}",
        failed.join("; ")
    );
    Ok(())
}

fn features(node: &Node, command: &impl Fn(&[&str]) -> Command) -> Vec<Cell> {
    let finished = run(
        &mut command(&["features", &node.address()]),
        "",
        FEATURES_LIMIT,
    );
    let (mut cells, why) = match finished {
        Ok(finished) => {
            let cells: Vec<Cell> = finished.stdout.lines().filter_map(Cell::read).collect();
            (cells, finished.stderr)
        }
        Err(error) => (Vec::new(), format!("{error:#}")),
    };
    for feature in FEATURES {
        if feature != "group" && !cells.iter().any(|cell| cell.feature == feature) {
            cells.push(Cell {
                feature: feature.to_owned(),
                outcome: Outcome::Fail,
                note: one_line(&format!("no result: {why}")),
            });
        }
    }
    cells
}

fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .take(300)
        .collect::<String>()
        .replace('|', "/")
}

fn group(node: &Node, topic: &str, command: &impl Fn(&[&str]) -> Command) -> Result<()> {
    succeed(
        Command::new(binary())
            .args(["topics", "--bootstrap-server", &node.address()])
            .args(["--create", "--topic", topic])
            .args(["--partitions", &PARTITIONS.to_string()]),
        GROUP_LIMIT,
    )?;
    let member = || Member::start(&mut command(&["member", &node.address(), topic, topic]));
    let first = member()?;
    ensure!(first.owns(PARTITIONS), "alone: {}", first.said());
    let second = member()?;
    ensure!(
        second.owns(PARTITIONS / 2) && first.owns(PARTITIONS / 2),
        "two members: {} and {}",
        first.said(),
        second.said()
    );
    // Records for both members: each receives those of its own partitions, whichever these are.
    fill(node, topic, "shared")?;
    let divided = eventually(GROUP_LIMIT, || {
        first.got("shared") == PARTITIONS / 2 && second.got("shared") == PARTITIONS / 2
    });
    ensure!(
        divided,
        "records of two: {} and {}",
        first.said(),
        second.said()
    );
    drop(second);
    ensure!(
        first.owns(PARTITIONS),
        "after the other's death: {}",
        first.said()
    );
    fill(node, topic, "inherited")?;
    let inherited = eventually(GROUP_LIMIT, || first.got("inherited") == PARTITIONS);
    ensure!(
        inherited,
        "records after the other's death: {}",
        first.said()
    );
    Ok(())
}

/// Produces a record to each partition.
fn fill(node: &Node, topic: &str, value: &str) -> Result<()> {
    for partition in 0..PARTITIONS {
        let sent = node.kcat(&["-P", "-t", topic, "-p", &partition.to_string()], value)?;
        ensure!(sent.success, "{}", sent.stderr);
    }
    Ok(())
}

/// A group member in a process of its own. kcat reports assignments in its log output.
struct Member(Running);

impl Member {
    fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(Running::start(command)?))
    }

    fn owns(&self, count: usize) -> bool {
        let wanted = format!("owns {count}");
        eventually(GROUP_LIMIT, || {
            let lines = self.0.lines();
            let last = lines
                .iter()
                .rfind(|line| line.starts_with("owns ") || line.contains(": assigned: "));
            last.is_some_and(|line| {
                *line == wanted || line.starts_with('%') && line.matches('[').count() == count
            })
        })
    }

    fn got(&self, value: &str) -> usize {
        let wanted = format!("got {value}");
        self.0
            .lines()
            .iter()
            .filter(|line| **line == wanted)
            .count()
    }

    fn said(&self) -> String {
        let lines = self.0.lines();
        let from = lines.len().saturating_sub(8);
        lines.get(from..).unwrap_or_default().join(" / ")
    }
}
