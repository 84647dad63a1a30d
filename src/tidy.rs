//! Test-only: the shape of the source tree. Imports follow the order of `lib.rs`, every file says what it is for, files
//! that call themselves pure are.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::broker_table::BROKER_SETTINGS;
use crate::config::setting::{Scope, Setting, Support};
use crate::config::topic_table::TOPIC_SETTINGS;

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
        if path.extension().is_none_or(|kind| kind != "properties") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        let checked =
            crate::config::broker::check(&name, &crate::config::parse::properties(&text)).unwrap();
        assert_eq!(checked.notes, [], "{name}");
    }
}

#[test]
fn the_page_of_the_suites_shows_what_clients_were_measured_to_do() {
    compat_tests::matrix::check().unwrap();
}

/// Compares the part of a page between `<!-- mark -->` and `<!-- /mark -->` with what the code says, or with `UPDATE_README`
/// writes it.
fn check_page(page: &str, mark: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = text.split_once(&begin).unwrap();
    let (shown, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert!(
        shown == table,
        "{page}: {mark} is stale: UPDATE_README=1 cargo test --lib tidy -- --test-threads 1"
    );
}

#[test]
fn the_page_of_the_suites_lists_the_apis_that_are_served() {
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
    check_page("compat-tests/README.md", "apis", &table);
}

#[test]
fn the_page_of_the_settings_lists_them_all() {
    for (mark, settings) in [
        ("broker settings", BROKER_SETTINGS),
        ("topic settings", TOPIC_SETTINGS),
    ] {
        check_page("config/README.md", mark, &reference(settings));
    }
    for (mark, support) in [
        ("broker settings without effect yet", Support::Later),
        ("broker settings without meaning here", Support::Meaningless),
    ] {
        check_page("config/README.md", mark, &names(BROKER_SETTINGS, support));
    }
    let later = names(TOPIC_SETTINGS, Support::Later);
    check_page(
        "config/README.md",
        "topic settings without effect yet",
        &later,
    );
}

/// The settings that have an effect, one a row.
fn reference(settings: &[Setting]) -> String {
    let mut table = String::from("| setting | default | changes | meaning |\n|---|---|---|---|\n");
    for setting in settings.iter().filter(|row| row.support == Support::Works) {
        let default = match setting.default {
            None | Some("") => String::new(),
            Some(value) => format!("`{value}`"),
        };
        let changes = match setting.scope {
            Scope::ReadOnly => "at a start",
            Scope::PerBroker => "while it runs, per broker",
            Scope::ClusterWide => "while it runs",
        };
        let of_topics = TOPIC_SETTINGS
            .iter()
            .find(|topic| !setting.name.is_empty() && topic.broker_synonym == setting.name);
        let meaning = match of_topics {
            Some(topic) if setting.broker_synonym.is_empty() => {
                format!("default of the topic setting `{}`", topic.name)
            }
            _ => setting.doc.to_owned(),
        };
        assert!(!meaning.is_empty(), "{} has no description", setting.name);
        table += &format!(
            "| `{}` | {default} | {changes} | {} |\n",
            setting.name,
            meaning.replace('|', "\\|")
        );
    }
    table
}

fn names(settings: &[Setting], support: Support) -> String {
    let names: Vec<String> = settings
        .iter()
        .filter(|row| row.support == support)
        .map(|row| format!("`{}`", row.name))
        .collect();
    names.join(", ") + "\n"
}
