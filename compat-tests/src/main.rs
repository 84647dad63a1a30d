//! `cargo compat [SUITE…]`: builds the broker and runs the suites with real clients, all or those whose names contain a
//! word; what clients could do is written into `matrix.tsv` and the README.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let steps = [
        vec!["build", "--profile", "compat", "--package", "monedula"],
        vec![
            "test",
            "--package",
            "compat-tests",
            "--no-fail-fast",
            "--",
            "--ignored",
        ],
    ];
    let suites: Vec<String> = std::env::args().skip(1).collect();
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
