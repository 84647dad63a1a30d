//! Programs that each test of the suites needs beside Rust, from its `#[ignore = "needs …"]`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A test that `cargo test` does not run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    pub suite: String,
    pub name: String,
    /// Text of the attribute, such as "needs java and maven".
    pub needs: String,
}

/// All tests of the suites that `cargo test` does not run, in order.
pub fn left_out() -> Result<Vec<Left>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let suite = path.file_stem().unwrap_or_default().to_string_lossy();
        let files = match fs::read_dir(&path) {
            Ok(files) => files.flatten().map(|file| file.path()).collect(),
            Err(_) => vec![path.clone()],
        };
        for file in files
            .iter()
            .filter(|file| file.extension().is_some_and(|kind| kind == "rs"))
        {
            all.extend(read(&suite, &fs::read_to_string(file)?));
        }
    }
    all.sort();
    Ok(all)
}

fn read(suite: &str, source: &str) -> Vec<Left> {
    let mut found = Vec::new();
    let mut needs = None;
    for line in source.lines().map(str::trim) {
        if let Some(why) = line.strip_prefix("#[ignore = \"") {
            needs = why.strip_suffix("\"]");
        } else if let Some(name) = line.strip_prefix("fn ")
            && let Some(needs) = needs.take()
        {
            found.push(Left {
                suite: suite.to_owned(),
                name: name.split('(').next().unwrap_or(name).to_owned(),
                needs: needs.to_owned(),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_stands_above_the_test() {
        let source = "#[test]\nfn free() {}\n#[test]\n#[ignore = \"needs kcat\"]\nfn kcat() -> Result<()> {\n";
        let found = read("clients", source);
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].name, &*found[0].needs), ("kcat", "needs kcat"));
    }
}
