//! Compose files as they are found in public repositories work with this image in place of the original one. The files of
//! `docker/compose` are started unmodified, on the ports that they name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::docker::image;
use compat_tests::java::jars;
use compat_tests::node::listens;
use compat_tests::packages::{packages, program};
use compat_tests::programs::{eventually, kcat, run, succeed};
use parking_lot::{Mutex, MutexGuard};

const LIMIT: Duration = Duration::from_secs(300);
/// Port that all of the files publish on the host.
const PORT: u16 = 9092;

/// The services of a compose file. Removed when dropped.
struct Project {
    files: Vec<PathBuf>,
    _dir: tempfile::TempDir,
    /// Only one project at a time, because all projects publish the same port.
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Project {
    fn up(name: &str) -> Result<Self> {
        Self::up_with(name, None)
    }

    /// Starts a file together with a second one that overrides services of the first.
    fn up_with(name: &str, over: Option<&str>) -> Result<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock();
        ensure!(!listens(PORT), "somebody listens on port {PORT}");
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/compose");
        let text = fs::read_to_string(text.join(name))?.replace("monedula:8.1.0", &image());
        let dir = tempfile::tempdir()?;
        let file = dir.path().join(name);
        fs::write(&file, text)?;
        let mut files = vec![file];
        if let Some(over) = over {
            let file = dir.path().join("over.yml");
            fs::write(&file, over)?;
            files.push(file);
        }
        let this = Self {
            files,
            _dir: dir,
            _one_at_a_time: guard,
        };
        this.compose(&["up", "--detach"])?;
        Ok(this)
    }

    fn compose(&self, words: &[&str]) -> Result<String> {
        // The compose plug-in, or the older separate program.
        let plug_in = run(
            Command::new("docker").args(["compose", "version"]),
            "",
            LIMIT,
        )?;
        let mut command = match plug_in.success {
            true => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            false => Command::new("docker-compose"),
        };
        command
            .args(["--project-name", "monedula-compose"])
            .args(
                self.files
                    .iter()
                    .flat_map(|file| [Path::new("--file"), file]),
            )
            .args(words)
            // Apache Kafka's image is only in a registry and not used; see the test of Connect.
            .env("CONNECT_IMAGE", image());
        succeed(&mut command, LIMIT)
    }

    /// Produces and consumes a record from the host, as soon as the broker is ready.
    fn exchange(&self) -> Result<()> {
        let there = || kcat(PORT, &["-L"], "").is_ok();
        ensure!(eventually(LIMIT, there), "{}", self.compose(&["logs"])?);
        kcat(PORT, &["-P", "-t", "t"], "hello\n")?;
        let seen = kcat(PORT, &["-C", "-t", "t", "-c", "1", "-o", "beginning"], "")?;
        ensure!(seen == "hello\n", "{seen}");
        Ok(())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if let Err(error) = self.compose(&["down", "--volumes"]) {
            eprintln!("{error:#}");
        }
    }
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_compose_single() -> Result<()> {
    let project = Project::up("single.yml")?;
    project.exchange()?;
    let healthy = || {
        let said = project.compose(&["ps"]).unwrap_or_default();
        said.contains("(healthy)")
    };
    ensure!(eventually(LIMIT, healthy), "{}", project.compose(&["ps"])?);
    Ok(())
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_compose_two_listeners() -> Result<()> {
    let project = Project::up("two-listeners.yml")?;
    project.exchange()?;
    // A second service created the topic when the broker was healthy.
    let partitions = || -> Result<usize> {
        let told = kcat(PORT, &["-L"], "")?;
        let topic = told
            .split("topic \"orders\" with ")
            .nth(1)
            .context("no topic")?;
        Ok(topic.split(' ').next().context("no partitions")?.parse()?)
    };
    let made = || partitions().is_ok_and(|count| count == 3);
    ensure!(eventually(LIMIT, made), "{}", project.compose(&["logs"])?);
    Ok(())
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_compose_zookeeper_era() -> Result<()> {
    Project::up("zookeeper-era.yml")?.exchange()
}

/// Volumes that give the worker's service the Java of this machine, with the jars of Kafka Connect from Maven, and the two
/// files of Apache Kafka's image that connect.yml names. The folders are mounted at the paths that they have on this machine.
fn worker_of_this_machine(work: &Path) -> Result<String> {
    let dir = packages("programs/connect")?.join("jars");
    jars(&dir, &program("programs/connect/pom.xml"), &[])?;
    // The folder replaces the image's own one, in which the name is a link to a different program.
    let scripts = work.join("bin");
    fs::create_dir(&scripts)?;
    let start = scripts.join("connect-distributed.sh");
    fs::write(
        &start,
        "#!/bin/sh\nexec java -Xmx256m -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' \
        org.apache.kafka.connect.cli.ConnectDistributed \"$@\"\n",
    )?;
    let shared = work.join("shared");
    fs::create_dir(&shared)?;
    for path in [&start, &scripts, &shared] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    }
    let mut volumes = vec![
        format!("{}:/opt/kafka/libs:ro", dir.display()),
        format!("{}:/opt/kafka/bin:ro", scripts.display()),
        format!("{}:/shared", shared.display()),
    ];
    let java = succeed(
        Command::new("sh").args(["-c", "readlink -f \"$(command -v java)\""]),
        LIMIT,
    )?;
    let home = Path::new(&java).ancestors().nth(2).context("no Java")?;
    let mut places = vec![PathBuf::from("/usr"), home.to_owned()];
    places.extend(["/lib", "/lib64"].map(PathBuf::from));
    // Debian has settings of Java there.
    let settings = fs::read_dir("/etc")?.flatten().map(|entry| entry.path());
    places.extend(settings.filter(|path| path.to_string_lossy().starts_with("/etc/java")));
    places.retain(|place| {
        place.exists() && (place == Path::new("/usr") || !place.starts_with("/usr"))
    });
    volumes.extend(
        places
            .iter()
            .map(|place| format!("{0}:{0}:ro", place.display())),
    );
    let mut over = String::from("services:\n  connect:\n    environment:\n      PATH: ");
    over += &format!(
        "{}/bin:/opt/kafka/bin:/usr/bin:/bin\n    volumes:\n",
        home.display()
    );
    over.extend(volumes.iter().map(|volume| format!("      - {volume}\n")));
    Ok(over)
}

#[test]
#[ignore = "needs docker-compose, kcat, java, maven and curl"]
fn container_compose_connect() -> Result<()> {
    let work = tempfile::tempdir()?;
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755))?;
    let project = Project::up_with("connect.yml", Some(&worker_of_this_machine(work.path())?))?;
    let shared = work.path().join("shared");
    let lines: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
    fs::write(shared.join("in"), lines.join("\n") + "\n")?;
    let connector = |name: &str, kind: &str, more: &str| {
        let class = format!("org.apache.kafka.connect.file.FileStream{kind}Connector");
        let settings = format!(
            r#"{{"connector.class":"{class}","tasks.max":"1","file":"/shared/{name}",{more}}}"#
        );
        let put = run(
            Command::new("curl")
                .args([
                    "-sf",
                    "-X",
                    "PUT",
                    "-H",
                    "Content-Type: application/json",
                    "-d",
                ])
                .arg(settings)
                .arg(format!("http://localhost:8083/connectors/{name}/config")),
            "",
            LIMIT,
        );
        put.is_ok_and(|put| put.success)
    };
    let made = eventually(LIMIT, || connector("in", "Source", r#""topic":"lines""#))
        && eventually(LIMIT, || connector("out", "Sink", r#""topics":"lines""#));
    ensure!(made, "{}", project.compose(&["logs"])?);
    let mut out = String::new();
    let arrived = eventually(LIMIT, || {
        out = fs::read_to_string(shared.join("out")).unwrap_or_default();
        out.lines().eq(lines.iter().map(String::as_str))
    });
    ensure!(arrived, "{out}\n{}", project.compose(&["logs"])?);
    // The worker created its three topics with three replicas requested; they are visible from the host.
    let told = kcat(PORT, &["-L"], "")?;
    for topic in [
        "connect-configs",
        "connect-offsets",
        "connect-status",
        "lines",
    ] {
        ensure!(told.contains(&format!("topic \"{topic}\" with ")), "{told}");
    }
    Ok(())
}
