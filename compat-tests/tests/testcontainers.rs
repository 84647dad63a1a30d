//! Testcontainers' Kafka modules for several languages start this image with only the image name changed, in their KRaft and
//! ZooKeeper modes. `IMAGE` names another image than the one that `docker/build.sh` builds.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::docker::image;
use compat_tests::java::{classes, jars};
use compat_tests::packages::{self, fetch};
use compat_tests::programs::succeed;

const CLIENT_LIMIT: Duration = Duration::from_secs(300);

fn program(language: &str) -> PathBuf {
    packages::program(&format!("testcontainers/{language}"))
}

fn packages(language: &str) -> Result<PathBuf> {
    packages::packages(&format!("testcontainers/{language}"))
}

/// Runs a client for each kind of module of its language, and prints its measurements.
fn clients(language: &str, kinds: &[&str], command: impl Fn() -> Command) -> Result<()> {
    let image = image();
    for kind in kinds {
        clients_of(&image, language, kind, command())?;
    }
    Ok(())
}

fn clients_of(image: &str, language: &str, kind: &str, mut command: Command) -> Result<()> {
    let said = succeed(
        command
            .args([kind, image])
            // Ryuk, which removes containers after a crash, is an image in a registry.
            .env("TESTCONTAINERS_RYUK_DISABLED", "true")
            .env("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1"),
        CLIENT_LIMIT,
    )
    .with_context(|| format!("{language} {kind}"))?;
    ensure!(said.contains("all records"), "{language} {kind}: {said}");
    let first = said.lines().find(|line| line.starts_with("first record"));
    println!("{image}, {language} {kind}: {}", first.unwrap_or_default());
    Ok(())
}

#[test]
#[ignore = "needs docker and cargo"]
fn testcontainers_rust() -> Result<()> {
    let binaries = packages::cargo(&packages("rust")?, &program("rust"))?;
    clients("rust", &["apache", "confluent"], || {
        Command::new(binaries.join("client"))
    })
}

#[test]
#[ignore = "needs docker, java and maven"]
fn testcontainers_java() -> Result<()> {
    let dir = packages("java")?;
    let jars = jars(&dir.join("jars"), &program("java").join("pom.xml"), &[])?;
    let compiled = dir.join("classes");
    classes(
        &compiled,
        &jars,
        &[],
        &[program("java").join("Containers.java")],
    )?;
    let class_path = format!("{}:{jars}", compiled.display());
    clients(
        "java",
        &["apache", "confluent", "legacy", "zookeeper"],
        || {
            let mut command = Command::new("java");
            command.args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &class_path,
                "Containers",
            ]);
            command
        },
    )
}

#[test]
#[ignore = "needs docker and python"]
fn testcontainers_python() -> Result<()> {
    let dir = packages("python")?;
    let python = packages::python_with_requirements(&dir, &program("python"))?;
    clients("python", &["kraft", "zookeeper"], || {
        let mut command = Command::new(&python);
        command.arg(program("python").join("client.py"));
        command
    })
}

#[test]
#[ignore = "needs docker and go"]
fn testcontainers_go() -> Result<()> {
    let binary = packages::go(&packages("go")?, &program("go"))?;
    clients("go", &["kraft"], || Command::new(&binary))
}

#[test]
#[ignore = "needs docker, node and npm"]
fn testcontainers_node() -> Result<()> {
    let dir = packages("node")?;
    packages::npm(&dir, &program("node"), &["--ignore-scripts"])?;
    let node = packages::recent_node(&dir)?;
    let client = || {
        let mut command = Command::new(&node);
        command.arg(dir.join("client.js"));
        command
    };
    clients("node", &["kraft"], client)?;
    // From tag 8.0.0 on, the module always uses KRaft mode.
    let image = image();
    let (name, _) = image.rsplit_once(':').context("IMAGE needs a tag")?;
    let old = format!("{name}:7.9.0");
    fetch(Command::new("docker").args(["tag", &image, &old]))?;
    clients_of(&old, "node", "zookeeper", client())
}
