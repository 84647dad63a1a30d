//! `cargo compat [WORD…]`: builds the broker and runs the suites with real clients; the results of clients are written into
//! `matrix.tsv` and the README. A word selects all tests of the suites whose file names contain it, and from the other suites
//! the tests whose names contain it. A word that selects nothing is an error. Arguments with a leading dash are passed to the
//! test programs, except for `--list`, which prints every test with the programs that it needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use compat_tests::cgroup::Cgroup;
use compat_tests::needs::left_out;

const MIB: usize = 1 << 20;

const NEED_DOCKER: [&str; 23] = [
    "container_as_platforms_run_it",
    "container_checks_that_people_write",
    "container_compose_connect",
    "container_compose_single",
    "container_compose_two_listeners",
    "container_compose_zookeeper_era",
    "container_mistakes",
    "container_snippet_compose",
    "container_snippet_go",
    "container_snippet_image",
    "container_snippet_java",
    "container_snippet_node",
    "container_snippet_python",
    "container_snippet_rust",
    "container_started_by_hand",
    "container_that_is_restarted",
    "container_with_advertised_listeners",
    "container_without_advertised_listeners",
    "testcontainers_go",
    "testcontainers_java",
    "testcontainers_node",
    "testcontainers_python",
    "testcontainers_rust",
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the suites; returns whether all tests passed.
fn run() -> Result<bool> {
    let (mut options, words): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with('-'));
    if options.iter().any(|option| option == "--list") {
        for test in left_out()? {
            println!("{}: {} ({})", test.suite, test.name, test.needs);
        }
        return Ok(true);
    }
    let suites = suites()?;
    let tests = if words.is_empty() {
        BTreeSet::new()
    } else {
        tests()?
    };
    let selections = select(&words, &suites, &tests)?;
    if !engine_answers() {
        for what in NEED_DOCKER {
            eprintln!("not run: {what}: no Docker engine answers");
        }
        options.extend(["--skip", "testcontainers_", "--skip", "container_"].map(str::to_owned));
    }
    if !can_mount() {
        eprintln!(
            "not run: disk_full_in_one_of_several_directories, disk_full_on_ext4, disk_full_where_the_metadata_are: nothing can be mounted"
        );
        options.extend(["--skip", "disk_full_"].map(str::to_owned));
    } else if !has_loop_devices() {
        eprintln!("not run: disk_full_on_ext4: there are no loop devices");
        options.extend(["--skip", "disk_full_on_ext4"].map(str::to_owned));
    }
    if Cgroup::with_memory(MIB).is_err() {
        eprintln!(
            "not run: the scenes of the suite crowd that are called in_64_mib: no memory cgroup can be made"
        );
        options.extend(["--skip", "in_64_mib"].map(str::to_owned));
    }
    if !has_browser() {
        eprintln!("not run: browser_page_of_another_site: there is no chromium");
        options.extend(["--skip", "browser_page"].map(str::to_owned));
    }
    let mut passed = cargo(&["build", "--profile", "compat", "--package", "monedula"])?;
    for selection in selections {
        let mut arguments = vec!["test", "--package", "compat-tests", "--no-fail-fast"];
        for suite in &selection.suites {
            arguments.extend(["--test", suite]);
        }
        arguments.extend(["--", "--ignored"]);
        let given = selection.names.iter().chain(&options);
        arguments.extend(given.map(String::as_str));
        passed = passed && cargo(&arguments)?;
    }
    Ok(passed)
}

/// Tests of one run of `cargo test`: those whose names contain one of `names`, or all if `names` is empty.
#[derive(Debug, PartialEq)]
struct Selection {
    suites: BTreeSet<String>,
    names: Vec<String>,
}

fn select(
    words: &[String],
    suites: &BTreeSet<String>,
    tests: &BTreeSet<String>,
) -> Result<Vec<Selection>> {
    let names = |all: &BTreeSet<String>, word: &str| all.iter().any(|name| name.contains(word));
    if let Some(word) = words
        .iter()
        .find(|word| !names(suites, word) && !names(tests, word))
    {
        let suites: Vec<&str> = suites.iter().map(String::as_str).collect();
        bail!(
            "no suite and no test is named like {word:?}; the suites are {}",
            suites.join(", ")
        );
    }
    let is_named = |suite: &String| words.iter().any(|word| suite.contains(word.as_str()));
    let (whole, others): (BTreeSet<String>, BTreeSet<String>) = suites
        .iter()
        .cloned()
        .partition(|suite| words.is_empty() || is_named(suite));
    let mut selections = Vec::new();
    if !whole.is_empty() {
        selections.push(Selection {
            suites: whole,
            names: Vec::new(),
        });
    }
    let by_name: Vec<String> = words
        .iter()
        .filter(|word| names(tests, word))
        .cloned()
        .collect();
    if !by_name.is_empty() && !others.is_empty() {
        selections.push(Selection {
            suites: others,
            names: by_name,
        });
    }
    Ok(selections)
}

/// Names of the files in `tests/`.
fn suites() -> Result<BTreeSet<String>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        if let Some(stem) = entry?.path().file_stem().and_then(|stem| stem.to_str()) {
            names.insert(stem.to_owned());
        }
    }
    Ok(names)
}

/// Names of all tests.
fn tests() -> Result<BTreeSet<String>> {
    let listed = Command::new("cargo")
        .args(["test", "--quiet", "--package", "compat-tests", "--tests"])
        .args(["--", "--ignored", "--list"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(listed.status.success(), "the tests cannot be listed");
    let text = String::from_utf8(listed.stdout)?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

fn cargo(arguments: &[&str]) -> Result<bool> {
    let status = Command::new("cargo")
        .args(arguments)
        .env("COMPAT_RECORD", "1")
        .status()?;
    Ok(status.success())
}

/// Whether this process may mount file systems. Root may, unless a container forbids it.
fn can_mount() -> bool {
    let Ok(dir) = tempfile::tempdir() else {
        return false;
    };
    let done = |command: &mut Command| {
        let status = command.arg(dir.path()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    done(Command::new("mount").args(["-t", "tmpfs", "tmpfs"])) && done(&mut Command::new("umount"))
}

/// Whether a loop device is free and `mkfs.ext4` is installed.
fn has_loop_devices() -> bool {
    let asks = "losetup -f >/dev/null 2>&1 && command -v mkfs.ext4 >/dev/null";
    let asked = Command::new("sh").args(["-c", asks]).status();
    asked.is_ok_and(|status| status.success())
}

fn has_browser() -> bool {
    let browser = std::env::var("CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
    let asked = Command::new(browser)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn engine_answers() -> bool {
    let asked = Command::new("docker")
        .arg("info")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod selecting {
    use super::*;

    fn check(words: &str, expected: &str) {
        let set = |names: &str| names.split(' ').map(str::to_owned).collect();
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let selected = select(
            &words,
            &set("clients exactly_once old_clients"),
            &set("java java_with_transactions kcat copies_survive_kills"),
        );
        let text = match selected {
            Err(error) => error.to_string(),
            Ok(selections) => selections
                .iter()
                .map(|Selection { suites, names }| {
                    let suites: Vec<&str> = suites.iter().map(String::as_str).collect();
                    format!("{} of {}", names.join(" "), suites.join(" "))
                })
                .collect::<Vec<_>>()
                .join(", "),
        };
        assert_eq!(text, expected, "{words:?}");
    }

    #[test]
    fn words_select_suites_and_tests() {
        check("", " of clients exactly_once old_clients");
        check("exactly_once", " of exactly_once");
        check("java", "java of clients exactly_once old_clients");
        check(
            "clients kills",
            " of clients old_clients, kills of exactly_once",
        );
        check(
            "java nothing",
            "no suite and no test is named like \"nothing\"; the suites are clients, exactly_once, old_clients",
        );
    }
}
