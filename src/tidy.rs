//! Test-only: the shape of the source tree. Imports follow the order of `lib.rs`, every file says what it is for, files
//! that call themselves pure are.

use std::fs;
use std::path::{Path, PathBuf};

/// What a pure file does not contain: tasks, files, sockets, clocks, chance.
const IMPURE: &[&str] = &[
    "tokio::",
    ".await",
    "std::fs",
    "std::net::Tcp",
    "SystemTime",
    "Instant::now",
    "Clock.now",
    "getrandom",
    "HashMap::new",
    "HashMap::default",
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Top-level modules in the order of `lib.rs`.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let names = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// The code of a file without its tests: those may look anywhere.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn modules_import_only_what_stands_below_them() {
    let order = order();
    let place = |name: &str| order.iter().position(|other| other == name);
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let top = path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let Some(own) = place(top.trim_end_matches(".rs")) else {
            continue;
        };
        if path.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in code(&text).lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for used in line.split("crate::").skip(1) {
                let name: String = used
                    .chars()
                    .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                    .collect();
                if place(&name).is_some_and(|other| other < own) {
                    faults.push(format!(
                        "{}:{}: {top} is below {name}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn pure_files_keep_their_word() {
    let mut faults = Vec::new();
    for (path, text) in sources()
        .iter()
        .filter(|(_, text)| text.starts_with("//! pure:"))
    {
        for (number, line) in code(text).lines().enumerate() {
            let plain = line.trim_start();
            if plain.starts_with("//") {
                continue;
            }
            if let Some(word) = IMPURE.iter().find(|word| plain.contains(**word)) {
                faults.push(format!(
                    "{}:{}: {word} in a pure file",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn no_file_is_outside_of_the_tree() {
    let all = sources();
    let mut dead = Vec::new();
    for (path, _) in &all {
        let stem = path.file_stem().unwrap().to_string_lossy();
        if ["lib", "main", "mod"].contains(&&*stem) {
            continue;
        }
        let dir = path.parent().unwrap();
        let parents = [
            dir.join("mod.rs"),
            dir.with_extension("rs"),
            PathBuf::from("lib.rs"),
        ];
        let declared = all.iter().any(|(other, text)| {
            parents.contains(other)
                && text
                    .lines()
                    .any(|line| line.trim().ends_with(&format!("mod {stem};")))
        });
        if !declared {
            dead.push(path.clone());
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn sample_settings_are_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        let checked =
            crate::config::broker::check(&name, &crate::config::parse::properties(&text)).unwrap();
        assert_eq!(checked.notes, [], "{name}");
    }
}

#[test]
fn the_readme_shows_what_clients_were_measured_to_do() {
    compat_tests::matrix::check().unwrap();
}

#[test]
fn the_readme_lists_the_apis_that_are_served() {
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut table = String::from("| key | API | versions |\n|---|---|---|\n");
    for row in crate::api::table::APIS {
        table += &format!(
            "| {} | {} | {}-{} |\n",
            row.key,
            row.name,
            row.versions.start(),
            row.versions.end()
        );
    }
    if std::env::var_os("UPDATE_README").is_some() {
        let (before, rest) = readme.split_once("<!-- apis -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /apis -->").unwrap();
        let fresh = format!("{before}<!-- apis -->\n{table}<!-- /apis -->{after}");
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"),
            fresh,
        )
        .unwrap();
        return;
    }
    assert!(
        readme.contains(&table),
        "the table of APIs is stale: UPDATE_README=1 cargo test tidy"
    );
}
