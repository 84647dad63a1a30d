//! `cargo compat [SUITE…]`: builds the broker and runs the suites with real clients, all or those whose names contain a
//! word; what clients could do is written into `matrix.tsv` and the README.

use std::process::{Command, ExitCode, Stdio};

const NEED_DOCKER: [&str; 12] = [
    "container_compose_single",
    "container_compose_two_listeners",
    "container_compose_zookeeper_era",
    "container_mistakes",
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
    let build = ["build", "--profile", "compat", "--package", "monedula"];
    let test = [
        "test",
        "--package",
        "compat-tests",
        "--no-fail-fast",
        "--",
        "--ignored",
    ];
    let steps = [build.to_vec(), test.to_vec()];
    let mut suites: Vec<String> = std::env::args().skip(1).collect();
    if !engine_answers() {
        for what in NEED_DOCKER {
            eprintln!("not run: {what}: no Docker engine answers");
        }
        suites.extend(["--skip", "testcontainers_", "--skip", "container_"].map(str::to_owned));
    }
    if !can_mount() {
        eprintln!(
            "not run: disk_full_in_one_of_several_directories, disk_full_where_the_metadata_are: nothing can be mounted"
        );
        suites.extend(["--skip", "disk_full_"].map(str::to_owned));
    }
    for (mut words, given) in steps.into_iter().zip([&[][..], &suites]) {
        words.extend(given.iter().map(String::as_str));
        let run = Command::new("cargo")
            .args(words)
            .env("COMPAT_RECORD", "1")
            .status();
        if !run.is_ok_and(|status| status.success()) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Root may, unless a container keeps it from it.
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

fn engine_answers() -> bool {
    let asked = Command::new("docker")
        .arg("info")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}
