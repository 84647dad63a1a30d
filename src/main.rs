//! Reads the command line and hands it to `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    monedula::cli::run()
}
