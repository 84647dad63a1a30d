//! Java programs: jars from Maven, classes from javac.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::packages::{alone, fetch, packages};

/// Fetches the dependencies of a pom.xml, with some of its properties set, into a folder; returns their class path.
pub fn jars(dir: &Path, pom: &Path, properties: &[(&str, &str)]) -> Result<String> {
    let properties = properties
        .iter()
        .map(|(name, value)| format!("-D{name}={value}"));
    filled(dir, "", |own| {
        fetch(
            Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(pom)
                .args(properties)
                .arg(format!("-DoutputDirectory={}", own.display())),
        )
        .map(drop)
    })?;
    Ok(format!("{}/*", dir.display()))
}

/// Compiles sources into a folder, which is replaced only if something has changed.
pub fn classes(dir: &Path, jars: &str, options: &[&str], sources: &[PathBuf]) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    (jars, options).hash(&mut hasher);
    for source in sources {
        fs::read(source)?.hash(&mut hasher);
    }
    filled(dir, &format!("{:016x}", hasher.finish()), |own| {
        fetch(
            Command::new("javac")
                .args(["-nowarn", "-cp", jars])
                .args(options)
                .arg("-d")
                .arg(own)
                .args(sources),
        )
        .map(drop)
    })
}

/// Fills a folder unless it was already completed from the same `made_of`. The folder is replaced as a whole, because another
/// process may be using its files.
fn filled(dir: &Path, made_of: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let note = ".complete";
    let is_full = || fs::read_to_string(dir.join(note)).is_ok_and(|noted| noted == made_of);
    alone(dir, || {
        if is_full() {
            return Ok(());
        }
        // Several test processes may fill it at the same time; each fills a folder of its own and renames it.
        let mut name = dir.as_os_str().to_owned();
        name.push(format!("-{}", std::process::id()));
        let own = PathBuf::from(name);
        fill(&own)?;
        fs::write(own.join(note), made_of)?;
        if fs::rename(&own, dir).is_err() && !is_full() {
            // An incomplete folder, or one made from other sources, is in the way.
            fs::remove_dir_all(dir)?;
            fs::rename(&own, dir)?;
        } else if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        ensure!(is_full(), "{} could not be filled", dir.display());
        Ok(())
    })
}

/// Class path of a program: `sources` compiled, and the jars of `pom` with its property `clients` set to `version`. Kept in
/// `target/clients/<name>`.
pub fn class_path(name: &str, pom: &Path, version: &str, sources: &[PathBuf]) -> Result<String> {
    let dir = packages(name)?;
    let jars = jars(&dir.join("jars"), pom, &[("clients", version)])?;
    let compiled = dir.join("classes");
    classes(&compiled, &jars, &[], sources)?;
    Ok(format!("{}:{jars}", compiled.display()))
}
