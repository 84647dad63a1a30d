//! Prints the last line of `cargo test`: how many tests need other programs, and how to run them.

use compat_tests::needs::left_out;

fn main() -> anyhow::Result<()> {
    // Runs with arguments ask for certain tests or their names, and do not need the hint.
    if std::env::args().len() == 1 {
        let left = left_out()?;
        println!(
            "{} tests need other programs (kcat, Java, Docker, …) and were not run: `cargo compat --list` names them, \
             `cargo compat` runs them",
            left.len()
        );
    }
    Ok(())
}
