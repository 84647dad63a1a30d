//! The last line of `cargo test`: how many tests need other programs, and how they are run.

use compat_tests::needs::left_out;

fn main() -> anyhow::Result<()> {
    // Whoever asks for certain tests, or for their names, knows.
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
