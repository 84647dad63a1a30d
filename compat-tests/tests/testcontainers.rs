//! The promise: Testcontainers' Kafka modules of several languages start our image with nothing but its name exchanged, in
//! their KRaft and their ZooKeeper modes. `IMAGE` names another image than the one that `docker/build.sh` makes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::programs::run;

const FETCH_LIMIT: Duration = Duration::from_secs(900);
const CLIENT_LIMIT: Duration = Duration::from_secs(150);

fn program(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients/testcontainers")
        .join(language)
}

fn packages(language: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients/testcontainers")
        .join(language);
    std::fs::create_dir_all(&path)?;
    Ok(std::fs::canonicalize(path)?)
}

fn succeed(command: &mut Command, limit: Duration) -> Result<String> {
    let finished = run(command, "", limit)?;
    ensure!(
        finished.success,
        "{command:?}\n{}\n{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout)
}

/// Runs a client for each kind of module that its language has. What they measured is printed.
fn clients(language: &str, kinds: &[&str], command: impl Fn() -> Command) -> Result<()> {
    let image = image();
    for kind in kinds {
        clients_of(&image, language, kind, command())?;
    }
    Ok(())
}

fn image() -> String {
    // The tag is read as a Confluent version by some modules.
    std::env::var("IMAGE").unwrap_or_else(|_| "monedula:8.1.0".to_owned())
}

fn clients_of(image: &str, language: &str, kind: &str, mut command: Command) -> Result<()> {
    let said = succeed(
        command
            .args([kind, image])
            // The one that tidies up after a crash is an image of its own, from a registry.
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
    let dir = packages("rust")?;
    succeed(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--manifest-path"])
            .arg(program("rust").join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &dir),
        FETCH_LIMIT,
    )?;
    clients("rust", &["apache", "confluent"], || {
        Command::new(dir.join("debug/client"))
    })
}

#[test]
#[ignore = "needs docker, java and maven"]
fn testcontainers_java() -> Result<()> {
    let dir = packages("java")?;
    if !dir.join(".complete").exists() {
        succeed(
            Command::new("mvn")
                .args(["-q", "-B", "dependency:copy-dependencies", "-f"])
                .arg(program("java").join("pom.xml"))
                .arg(format!("-DoutputDirectory={}", dir.join("jars").display())),
            FETCH_LIMIT,
        )?;
        std::fs::write(dir.join(".complete"), "")?;
    }
    let classes = format!("{0}/classes:{0}/jars/*", dir.display());
    succeed(
        Command::new("javac")
            .args(["-nowarn", "-cp", &classes, "-d"])
            .arg(dir.join("classes"))
            .arg(program("java").join("Containers.java")),
        FETCH_LIMIT,
    )?;
    clients(
        "java",
        &["apache", "confluent", "legacy", "zookeeper"],
        || {
            let mut command = Command::new("java");
            command.args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &classes,
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
    let python = dir.join("bin/python");
    if !python.exists() {
        succeed(
            Command::new("python3").args(["-m", "venv"]).arg(&dir),
            FETCH_LIMIT,
        )?;
    }
    succeed(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(program("python").join("requirements.txt")),
        FETCH_LIMIT,
    )?;
    clients("python", &["kraft", "zookeeper"], || {
        let mut command = Command::new(&python);
        command.arg(program("python").join("client.py"));
        command
    })
}

#[test]
#[ignore = "needs docker and go"]
fn testcontainers_go() -> Result<()> {
    let binary = packages("go")?.join("client");
    succeed(
        Command::new("go")
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(program("go")),
        FETCH_LIMIT,
    )?;
    clients("go", &["kraft"], || Command::new(&binary))
}

#[test]
#[ignore = "needs docker, node and npm"]
fn testcontainers_node() -> Result<()> {
    let dir = packages("node")?;
    for file in ["package.json", "client.js"] {
        std::fs::copy(program("node").join(file), dir.join(file))?;
    }
    succeed(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&dir),
        FETCH_LIMIT,
    )?;
    let node = node_for_the_module(&dir)?;
    let client = || {
        let mut command = Command::new(&node);
        command.arg(dir.join("client.js"));
        command
    };
    clients("node", &["kraft"], client)?;
    // From tag 8.0.0 on the module is always in KRaft mode.
    let image = image();
    let (name, _) = image.rsplit_once(':').context("IMAGE needs a tag")?;
    let old = format!("{name}:7.9.0");
    succeed(
        Command::new("docker").args(["tag", &image, &old]),
        FETCH_LIMIT,
    )?;
    clients_of(&old, "node", "zookeeper", client())
}

/// The module wants Node 22.22 or later; npm has it as a package, for machines with an older one.
fn node_for_the_module(dir: &Path) -> Result<PathBuf> {
    let said = succeed(Command::new("node").arg("--version"), CLIENT_LIMIT)?;
    let numbers: Vec<u32> = said
        .trim()
        .trim_start_matches('v')
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect();
    if numbers >= vec![22, 22] {
        return Ok("node".into());
    }
    ["x64", "arm64"]
        .map(|kind| dir.join(format!("node_modules/node-linux-{kind}/bin/node")))
        .into_iter()
        .find(|node| node.exists())
        .context("npm brought no Node for this machine")
}
