//! Java programs: jars by Maven, classes by javac.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::packages::{alone, fetch, packages};

/// The jars that a pom.xml names, in a folder, with some of its properties set; gives their class path.
pub fn jars(dir: &Path, pom: &Path, properties: &[(&str, &str)]) -> Result<String> {
    let complete = dir.join(".complete");
    alone(dir, || {
        if complete.exists() {
            return Ok(());
        }
        // Several test processes may want them at the same time; each fetches into a folder of its own.
        let mut name = dir.as_os_str().to_owned();
        name.push(format!("-{}", std::process::id()));
        let own = PathBuf::from(name);
        fetch(
            Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(pom)
                .args(
                    properties
                        .iter()
                        .map(|(name, value)| format!("-D{name}={value}")),
                )
                .arg(format!("-DoutputDirectory={}", own.display())),
        )?;
        fs::write(own.join(".complete"), "")?;
        if fs::rename(&own, dir).is_err() && !complete.exists() {
            // Something that was never completed is in the way.
            fs::remove_dir_all(dir)?;
            fs::rename(&own, dir)?;
        } else if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        ensure!(complete.exists(), "{} could not be filled", dir.display());
        Ok(())
    })?;
    Ok(format!("{}/*", dir.display()))
}

/// Compiles into a folder, which is replaced as a whole and only if something has changed: somebody may be running the classes
/// already.
pub fn classes(dir: &Path, jars: &str, options: &[&str], sources: &[PathBuf]) -> Result<()> {
    let mut hasher = DefaultHasher::new();
    (jars, options).hash(&mut hasher);
    for source in sources {
        fs::read(source)?.hash(&mut hasher);
    }
    let made_of = format!("{:016x}", hasher.finish());
    let note = ".made-of";
    let is_made = || fs::read_to_string(dir.join(note)).is_ok_and(|made| made == made_of);
    alone(dir, || {
        if is_made() {
            return Ok(());
        }
        // Several test processes may want them at the same time; each compiles into a folder of its own.
        let mut name = dir.as_os_str().to_owned();
        name.push(format!("-{}", std::process::id()));
        let own = PathBuf::from(name);
        fetch(
            Command::new("javac")
                .args(["-nowarn", "-cp", jars])
                .args(options)
                .arg("-d")
                .arg(&own)
                .args(sources),
        )?;
        fs::write(own.join(note), &made_of)?;
        if fs::rename(&own, dir).is_err() && !is_made() {
            // What was made of something else is in the way.
            fs::remove_dir_all(dir)?;
            fs::rename(&own, dir)?;
        } else if own.exists() {
            fs::remove_dir_all(&own)?;
        }
        Ok(())
    })
}

/// The class path of a program: `sources` compiled, and the jars of `pom`, with its property `clients` set to `version`.
/// Kept in `target/clients/<name>`.
pub fn class_path(name: &str, pom: &Path, version: &str, sources: &[PathBuf]) -> Result<String> {
    let dir = packages(name)?;
    let jars = jars(&dir.join("jars"), pom, &[("clients", version)])?;
    let compiled = dir.join("classes");
    classes(&compiled, &jars, &[], sources)?;
    Ok(format!("{}:{jars}", compiled.display()))
}
