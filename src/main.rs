//! Entry point of the program. All work is done in `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    monedula::cli::run()
}
