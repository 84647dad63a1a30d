//! Each crate that is used comes from crates.io, under a licence that `.deny.toml` allows. This repeats a part of cargo-deny's
//! checks for machines without it; security advisories are left to cargo-deny.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that `.deny.toml` allows.
fn allowed(settings: &str) -> Vec<&str> {
    let list = settings
        .split_once("allow = [")
        .map_or("", |(_, list)| list);
    let list = list.split_once(']').map_or("", |(list, _)| list);
    list.split(',')
        .map(|one| one.trim().trim_matches('"'))
        .filter(|one| !one.is_empty())
        .collect()
}

/// Whether an SPDX expression can be met by the allowed licences: by one alternative of each of its parts.
fn is_met(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ");
    expression.split(" AND ").all(|part| {
        part.trim_matches(['(', ')'])
            .split(" OR ")
            // `+` means "or any later version".
            .any(|one| allowed.contains(&one.trim().trim_end_matches('+')))
    })
}

#[test]
fn crates_come_from_one_place_under_licences_that_are_allowed() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let settings = std::fs::read_to_string(root.join(".deny.toml"))?;
    let allowed = allowed(&settings);
    let cargo = std::env::var_os("CARGO").context("no cargo runs this")?;
    // Dependencies of other systems would have to be downloaded first.
    let here = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let told = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", &here])
        .current_dir(&root)
        .output()?;
    ensure!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    let told: Value = serde_json::from_slice(&told.stdout)?;
    let packages = told["packages"].as_array().context("no packages")?;
    ensure!(packages.len() > 50, "{} packages", packages.len());
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("no name")?;
        let licence = package["license"].as_str().unwrap_or("no licence");
        if !is_met(licence, &allowed) {
            faults.push(format!("{name}: {licence}"));
        }
        let source = &package["source"];
        if !source.is_null() && source != SOURCE {
            faults.push(format!("{name}: from {source}"));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn licences_are_read_as_they_are_meant() {
    let all = allowed("[licenses]\nallow = [\"MIT\", \"Unicode-3.0\",\n\"MPL-2.0\"]\n");
    assert_eq!(all, ["MIT", "Unicode-3.0", "MPL-2.0"]);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("Unlicense/MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0", false),
        ("MPL-2.0+", true),
        ("no licence", false),
    ] {
        assert_eq!(is_met(expression, &all), met, "{expression}");
    }
}
