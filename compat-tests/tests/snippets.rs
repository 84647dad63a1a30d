//! Every example in the documentation pages works as printed. Only ports, paths and the name of the image are replaced, as a
//! reader would.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::docker::{docker, image};
use compat_tests::java::jars;
use compat_tests::node::{Node, binary, free_port, listens};
use compat_tests::packages::{self, packages, program};
use compat_tests::programs::{eventually, kcat, run, succeed};
use compat_tests::snippets::{page, snippet, snippets};

const README: &str = "README.md";
const SETTINGS_PAGE: &str = "config/README.md";
const LIMIT: Duration = Duration::from_secs(120);
const CONTAINER_LIMIT: Duration = Duration::from_secs(300);
/// Time limit for an installation, which compiles everything with optimization.
const INSTALL_LIMIT: Duration = Duration::from_secs(3_600);

/// Every snippet of a page, and the test that runs it. The Rust snippet is a documentation test of the library.
const RUN: &[(&str, &str, &str)] = &[
    (README, "cargo", "cargo_install"),
    (README, "image", "container_snippet_image"),
    (README, "kcat", "hello_with_kcat"),
    (README, "tools", "built_in_tools"),
    (README, "java", "hello_in_java"),
    (README, "python", "hello_in_python"),
    (README, "go", "hello_in_go"),
    (README, "node", "hello_in_node"),
    (README, "testcontainers-java", "container_snippet_java"),
    (README, "testcontainers-python", "container_snippet_python"),
    (README, "testcontainers-go", "container_snippet_go"),
    (README, "testcontainers-node", "container_snippet_node"),
    (README, "testcontainers-rust", "container_snippet_rust"),
    (README, "compose", "container_snippet_compose"),
    (README, "ci", "container_snippet_compose"),
    (README, "rust", "documentation test"),
    (README, "reset", "reset_and_metrics_by_http"),
    (README, "metrics", "reset_and_metrics_by_http"),
    (
        README,
        "takeover",
        "over_the_directory_of_apache_kafka_and_back",
    ),
    (README, "port", "another_port_and_directory"),
    (README, "network", "settings_for_a_network"),
    (README, "tls", "tls_with_pem"),
    (README, "certificate", "tls_with_pem"),
    (SETTINGS_PAGE, "start", "a_settings_file_with_an_override"),
    (SETTINGS_PAGE, "tls", "tls_with_pkcs12"),
    (
        SETTINGS_PAGE,
        "listeners",
        "listeners_and_certificates_of_a_running_broker",
    ),
    (
        SETTINGS_PAGE,
        "keystore",
        "listeners_and_certificates_of_a_running_broker",
    ),
    (SETTINGS_PAGE, "sasl", "a_listener_with_sasl"),
    (SETTINGS_PAGE, "sasl-client", "a_listener_with_sasl"),
    (SETTINGS_PAGE, "quotas", "quotas_and_users"),
    ("docker/README.md", "image", "container_snippet_image"),
];

#[test]
fn every_snippet_of_the_pages_is_run() -> Result<()> {
    let own = fs::read_to_string(page("compat-tests/tests/snippets.rs"))?;
    let pages: BTreeSet<&str> = RUN.iter().map(|(page, ..)| *page).collect();
    for page in pages {
        let found = snippets(page)?;
        let found: BTreeSet<&str> = found.iter().map(|one| &*one.name).collect();
        let listed = RUN.iter().filter(|(of, ..)| *of == page);
        let listed: BTreeSet<&str> = listed.map(|(_, name, _)| *name).collect();
        ensure!(found == listed, "{page} has {found:?}, run are {listed:?}");
    }
    for (_, name, test) in RUN {
        ensure!(
            *test == "documentation test" || own.contains(&format!("fn {test}(")),
            "{name}: there is no test {test}"
        );
    }
    Ok(())
}

/// A folder with the broker's binary under the name that the pages use.
fn programs() -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    symlink(fs::canonicalize(binary())?, dir.path().join("monedula"))?;
    Ok(dir)
}

/// A Bash command that runs a text in a folder, with these programs in its path.
fn shell(programs: &Path, text: &str, dir: &Path) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", text])
        .env("PATH", format!("{}:{path}", programs.display()))
        .current_dir(dir);
    command
}

/// Runs a shell snippet with some texts replaced; returns its output.
fn run_in_shell(page: &str, name: &str, replaced: &[(&str, &str)], dir: &Path) -> Result<String> {
    let programs = programs()?;
    let text = with(&snippet(page, name)?.text, replaced)?;
    succeed(&mut shell(programs.path(), &text, dir), LIMIT)
}

/// The text with some of its parts replaced. Errors: the text lacks one of these parts.
fn with(text: &str, replaced: &[(&str, &str)]) -> Result<String> {
    let mut text = text.to_owned();
    for (old, new) in replaced {
        ensure!(text.contains(old), "no {old} in {text}");
        text = text.replace(old, new);
    }
    Ok(text)
}

/// A broker that a snippet started. Killed when dropped.
struct Started(Child);

impl Started {
    /// Runs a shell snippet whose last command is the broker, and waits until the broker answers on a port.
    fn broker(text: &str, port: u16, dir: &Path) -> Result<Self> {
        let programs = programs()?;
        let child = shell(programs.path(), &format!("exec {text}"), dir)
            .stdout(Stdio::null())
            .spawn()?;
        let started = Self(child);
        ensure!(eventually(LIMIT, || listens(port)), "{text}: no broker");
        answers(port)?;
        Ok(started)
    }

    fn stop(mut self) -> Result<()> {
        let pid = self.0.id().to_string();
        succeed(Command::new("kill").arg(&pid), LIMIT)?;
        ensure!(
            eventually(LIMIT, || matches!(self.0.try_wait(), Ok(Some(_)))),
            "the broker goes on"
        );
        Ok(())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until a broker answers on the port.
fn answers(port: u16) -> Result<()> {
    let address = format!("localhost:{port}");
    let mut ready = Command::new(binary());
    ready.args(["ready", "--bootstrap-server", &address]);
    ensure!(
        eventually(LIMIT, || run(&mut ready, "", LIMIT)
            .is_ok_and(|finished| finished.success)),
        "nobody answers on {address}"
    );
    Ok(())
}

#[test]
#[ignore = "needs minutes to compile the broker"]
fn cargo_install() -> Result<()> {
    let text = snippet(README, "cargo")?.text;
    let (install, start) = text.split_once('\n').context("two lines")?;
    ensure!(start.trim() == "monedula", "{start}");
    let root = packages("cargo-install")?;
    let install = format!("{install} --root {}", root.display());
    let mut command = Command::new("bash");
    command
        .args(["-c", &install])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .current_dir(page("."));
    succeed(&mut command, INSTALL_LIMIT)?;
    let said = succeed(
        Command::new(root.join("bin/monedula")).arg("--version"),
        LIMIT,
    )?;
    ensure!(said.starts_with("monedula "), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs kcat"]
fn hello_with_kcat() -> Result<()> {
    let (node, dir) = (Node::start()?, tempfile::tempdir()?);
    let at = [("localhost:9092", &*node.address())];
    let said = run_in_shell(README, "kcat", &at, dir.path())?;
    ensure!(said == "hello", "{said}");
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn built_in_tools() -> Result<()> {
    let (node, dir) = (Node::start()?, tempfile::tempdir()?);
    let at = [("localhost:9092", &*node.address())];
    let said = run_in_shell(README, "tools", &at, dir.path())?;
    ensure!(
        said.contains("Created topic orders.") && said.contains("first"),
        "{said}"
    );
    Ok(())
}

/// Runs a hello program with a node: it must end by itself and print what it sent.
fn says_hello(
    name: &str,
    greeting: &str,
    command: impl FnOnce(&str) -> Result<Command>,
) -> Result<()> {
    let node = Node::start()?;
    let text = with(
        &snippet(README, name)?.text,
        &[("localhost:9092", &node.address())],
    )?;
    let said = succeed(&mut command(&text)?, LIMIT)?;
    ensure!(said.contains(greeting), "{name}: {said}");
    Ok(())
}

/// Writes a source file into the folder of a program's dependencies.
fn source(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let dir = dir.join("snippet");
    fs::create_dir_all(&dir)?;
    let file = dir.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

#[test]
#[ignore = "needs java and maven"]
fn hello_in_java() -> Result<()> {
    says_hello("java", "hello from Java", |text| {
        let dir = packages("snippets-java")?;
        let jars = jars(
            &dir.join("jars"),
            &program("java/pom.xml"),
            &[("clients", PRESENT)],
        )?;
        let mut command = Command::new("java");
        command
            .args(["-cp", &jars])
            .arg(source(&dir, "Hello.java", text)?);
        Ok(command)
    })
}

#[test]
#[ignore = "needs python"]
fn hello_in_python() -> Result<()> {
    says_hello("python", "hello from Python", |text| {
        let dir = packages("python")?;
        let python = packages::python_with_requirements(&dir, &program("python"))?;
        let mut command = Command::new(python);
        command.arg(source(&dir, "hello.py", text)?);
        Ok(command)
    })
}

/// Builds a Go program with the modules of another program.
fn go(dir: &Path, modules: &Path, text: &str) -> Result<PathBuf> {
    let file = source(dir, "main.go", text)?;
    let folder = file.parent().context("a folder")?;
    for name in ["go.mod", "go.sum"] {
        fs::copy(modules.join(name), folder.join(name))?;
    }
    packages::go(dir, folder)
}

#[test]
#[ignore = "needs go"]
fn hello_in_go() -> Result<()> {
    says_hello("go", "hello from Go", |text| {
        let binary = go(&packages("snippets-go")?, &program("matrix/go"), text)?;
        Ok(Command::new(binary))
    })
}

#[test]
#[ignore = "needs node and npm"]
fn hello_in_node() -> Result<()> {
    says_hello("node", "hello from Node", |text| {
        let dir = packages("node")?;
        packages::npm(&dir, &program("node"), &[])?;
        let mut command = Command::new("node");
        command.arg(source(&dir, "hello.js", text)?);
        Ok(command)
    })
}

/// Runs a program that starts a container with Testcontainers and prints the address of its broker.
fn prints_an_address(mut command: Command) -> Result<()> {
    command
        // Ryuk, which removes containers after a crash, is an image in a registry.
        .env("TESTCONTAINERS_RYUK_DISABLED", "true")
        .env("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1");
    let said = succeed(&mut command, CONTAINER_LIMIT)?;
    let last = said.lines().last().unwrap_or_default();
    let port = last
        .rsplit(':')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    ensure!(port.is_some(), "no address: {said}");
    Ok(())
}

/// Text of a snippet with the image under test in place of the printed one.
fn about_the_image(name: &str) -> Result<String> {
    with(
        &snippet(README, name)?.text,
        &[("monedula:8.1.0", &image())],
    )
}

#[test]
#[ignore = "needs docker, java and maven"]
fn container_snippet_java() -> Result<()> {
    let text = about_the_image("testcontainers-java")?;
    let dir = packages("testcontainers/java")?;
    let pom = program("testcontainers/java/pom.xml");
    let jars = jars(&dir.join("jars"), &pom, &[])?;
    let mut command = Command::new("java");
    command
        .args(["-cp", &jars])
        .arg(source(&dir, "Containers.java", &text)?);
    prints_an_address(command)
}

#[test]
#[ignore = "needs docker and python"]
fn container_snippet_python() -> Result<()> {
    let text = about_the_image("testcontainers-python")?;
    let dir = packages("testcontainers/python")?;
    let python = packages::python_with_requirements(&dir, &program("testcontainers/python"))?;
    let mut command = Command::new(python);
    command.arg(source(&dir, "containers.py", &text)?);
    prints_an_address(command)
}

#[test]
#[ignore = "needs docker and go"]
fn container_snippet_go() -> Result<()> {
    let text = about_the_image("testcontainers-go")?;
    let dir = packages("snippets-go-containers")?;
    let binary = go(&dir, &program("testcontainers/go"), &text)?;
    prints_an_address(Command::new(binary))
}

#[test]
#[ignore = "needs docker, node and npm"]
fn container_snippet_node() -> Result<()> {
    let text = about_the_image("testcontainers-node")?;
    let dir = packages("testcontainers/node")?;
    packages::npm(&dir, &program("testcontainers/node"), &["--ignore-scripts"])?;
    let mut command = Command::new(packages::recent_node(&dir)?);
    command.arg(source(&dir, "containers.mjs", &text)?);
    prints_an_address(command)
}

#[test]
#[ignore = "needs docker and cargo"]
fn container_snippet_rust() -> Result<()> {
    let (image, text) = (image(), snippet(README, "testcontainers-rust")?.text);
    let (name, tag) = image.rsplit_once(':').context("IMAGE needs a tag")?;
    let text = with(
        &text,
        &[
            ("\"monedula\"", &format!("{name:?}")),
            ("\"8.1.0\"", &format!("{tag:?}")),
        ],
    )?;
    let dir = packages("testcontainers/rust")?;
    let client = program("testcontainers/rust");
    let folder = dir.join("snippet");
    fs::create_dir_all(folder.join("src"))?;
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(client.join(file), folder.join(file))?;
    }
    fs::write(folder.join("src/main.rs"), text)?;
    // In a folder of its own, because the other program has the same name.
    let binaries = packages::cargo(&packages("snippets-rust")?, &folder)?;
    prints_an_address(Command::new(binaries.join("client")))
}

/// Containers that a test started from a compose file.
struct Composed {
    project: tempfile::TempDir,
}

impl Composed {
    fn up(text: &str) -> Result<Self> {
        let project = tempfile::tempdir()?;
        fs::write(project.path().join("compose.yml"), text)?;
        let this = Self { project };
        this.compose(&["up", "--detach"])?;
        Ok(this)
    }

    fn compose(&self, words: &[&str]) -> Result<String> {
        let file = self
            .project
            .path()
            .join("compose.yml")
            .display()
            .to_string();
        let plug_in = docker(&["compose", "version"], "")?.success;
        let mut command = Command::new(if plug_in { "docker" } else { "docker-compose" });
        if plug_in {
            command.arg("compose");
        }
        command
            .args(["--project-name", "monedula-snippet", "--file", &file])
            .args(words);
        succeed(&mut command, CONTAINER_LIMIT)
    }
}

impl Drop for Composed {
    fn drop(&mut self) {
        if let Err(error) = self.compose(&["down", "--volumes"]) {
            eprintln!("{error:#}");
        }
    }
}

#[test]
#[ignore = "needs docker-compose and kcat"]
fn container_snippet_compose() -> Result<()> {
    let image = image();
    for (name, theirs) in [
        ("compose", "monedula:8.1.0"),
        ("ci", "ghcr.io/your-organization/monedula:8.1.0"),
    ] {
        // A free port of this machine. Inside the container the port is unchanged, so clients inside use the printed one.
        let port = free_port()?.to_string();
        let mut text = with(
            &snippet(README, name)?.text,
            &[(theirs, &image), ("9092:9092", &format!("{port}:9092"))],
        )?;
        if name == "compose" {
            text = with(&text, &[("9644:9644", &format!("{}:9644", free_port()?))])?;
        }
        let project = Composed::up(&text)?;
        let listed = || kcat(port.parse().unwrap_or_default(), &["-L"], "").is_ok();
        ensure!(
            eventually(LIMIT, listed),
            "{name}: {}",
            project.compose(&["logs"])?
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs docker"]
fn container_snippet_image() -> Result<()> {
    for page in [README, "docker/README.md"] {
        let text = snippet(page, "image")?.text;
        let (build, start) = text.split_once('\n').context("two lines")?;
        ensure!(build == "docker/build.sh", "{page}: {build}");
        let port = free_port()?;
        let start = with(
            start.trim(),
            &[
                ("-p 9092:", &format!("-p {port}:")),
                ("monedula:8.1.0", &image()),
            ],
        )?;
        let container = succeed(Command::new("bash").args(["-ec", &start]), LIMIT)?;
        let ready = || {
            docker(&["exec", &container, "monedula", "ready"], "").is_ok_and(|done| done.success)
        };
        let served = eventually(LIMIT, ready);
        docker(&["rm", "--force", "--volumes", &container], "")?;
        ensure!(served, "{page}: the container does not serve");
    }
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary and curl"]
fn reset_and_metrics_by_http() -> Result<()> {
    let (port, dir) = (free_port()?, tempfile::tempdir()?);
    let admin = format!("localhost:{port}");
    let node = Node::with_settings(&format!(
        "listeners=PLAINTEXT://localhost:{{port}}\nlog.dirs={{dir}}\nmonedula.admin.listener=HTTP://{admin}\n"
    ))?;
    let said = run_in_shell(README, "reset", &[("localhost:9644", &admin)], dir.path())?;
    ensure!(said.contains("ready"), "{said}");
    let said = run_in_shell(README, "metrics", &[("localhost:9644", &admin)], dir.path())?;
    ensure!(
        said.contains("kafka_server_brokertopicmetrics_bytesin_total 0\n"),
        "{said}"
    );
    drop(node);
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn over_the_directory_of_apache_kafka_and_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let (settings, started) = (dir.path().join("config"), dir.path().join("apache"));
    fs::create_dir_all(&settings)?;
    fs::create_dir_all(&started)?;
    let tool = |address: &str, words: &[&str]| {
        let mut command = Command::new(binary());
        succeed(
            command.args(words).args(["--bootstrap-server", address]),
            LIMIT,
        )
    };
    let apache = Apache::start(&started, &data)?;
    tool(
        &apache.address(),
        &["topics", "--create", "--topic", "theirs"],
    )?;
    apache.stop()?;
    let port = free_port()?;
    let text = SETTINGS
        .replace("{port}", &port.to_string())
        .replace("{controller}", &free_port()?.to_string())
        .replace("{dir}", &data.display().to_string());
    fs::write(settings.join("server.properties"), text)?;
    let broker = Started::broker(&snippet(README, "takeover")?.text, port, dir.path())?;
    let address = format!("localhost:{port}");
    ensure!(tool(&address, &["topics", "--list"])?.contains("theirs"));
    tool(&address, &["topics", "--create", "--topic", "ours"])?;
    broker.stop()?;
    let apache = Apache::start(&started, &data)?;
    let listed = tool(&apache.address(), &["topics", "--list"])?;
    ensure!(
        listed.contains("ours") && listed.contains("theirs"),
        "{listed}"
    );
    apache.stop()
}

#[test]
#[ignore = "needs the broker's binary"]
fn another_port_and_directory() -> Result<()> {
    let (port, dir) = (free_port()?, tempfile::tempdir()?);
    let data = dir.path().join("kafka-logs").display().to_string();
    let replaced = [("9192", &*port.to_string()), ("/tmp/kafka-logs", &data)];
    let text = with(&snippet(README, "port")?.text, &replaced)?;
    Started::broker(&text, port, dir.path())?.stop()?;
    ensure!(
        Path::new(&data).join("meta.properties").exists(),
        "no data in {data}"
    );
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_settings_file_with_an_override() -> Result<()> {
    let (port, dir) = (free_port()?, tempfile::tempdir()?);
    fs::create_dir(dir.path().join("config"))?;
    let file = "config/single-node.properties";
    fs::copy(page(file), dir.path().join(file))?;
    let address = format!("PLAINTEXT://localhost:{port}");
    let text = format!(
        "{} --override listeners={address},CONTROLLER://localhost:{} --override advertised.listeners={address}",
        snippet(SETTINGS_PAGE, "start")?.text.trim(),
        free_port()?
    );
    Started::broker(&text, port, dir.path())?.stop()
}

#[test]
#[ignore = "needs the broker's binary"]
fn settings_for_a_network() -> Result<()> {
    let replaced = [("9092", "{port}")];
    let text = with(&snippet(README, "network")?.text, &replaced)?;
    let node = Node::with_settings(&format!("{text}log.dirs={{dir}}\n"))?;
    ensure!(
        node.log()?.iter().any(|line| line.contains("0.0.0.0")),
        "{:?}",
        node.log()?
    );
    Ok(())
}

/// A certificate authority with certificates of a broker and of a client, made by the snippet of the README.
fn certificates(dir: &Path) -> Result<()> {
    const AUTHORITY: &str = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 3650";
    const REQUEST: &str = "openssl req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /CN=localhost";
    const STORES: &str = "cat client.key client.pem > broker.pem
        openssl pkcs12 -export -in client.pem -inkey client.key -out broker.p12 -passout pass:changeit";
    let own = snippet(README, "certificate")?.text;
    for text in [AUTHORITY, REQUEST, &own, STORES] {
        succeed(
            Command::new("bash").args(["-ec", text]).current_dir(dir),
            LIMIT,
        )?;
    }
    Ok(())
}

/// A node with the settings of a snippet, whose files are in a folder; also returns its TLS port.
fn with_tls(page: &str, dir: &Path) -> Result<(Node, u16)> {
    let port = free_port()?;
    let replaced = [
        ("localhost:9092", "localhost:{port}"),
        ("SSL://:9093", &format!("SSL://localhost:{port}")),
        ("/etc/kafka", &dir.display().to_string()),
    ];
    let text = with(&snippet(page, "tls")?.text, &replaced)?;
    Ok((
        Node::with_settings(&format!("{text}log.dirs={{dir}}\n"))?,
        port,
    ))
}

/// Whether a TLS handshake succeeds, with the client's certificate or without one.
fn handshakes(port: u16, dir: &Path, known: bool) -> Result<bool> {
    let mut openssl = Command::new("openssl");
    // In TLS 1.3 an alert about a certificate comes only after the handshake.
    openssl.current_dir(dir).args([
        "s_client",
        "-tls1_2",
        "-CAfile",
        "ca.pem",
        "-verify_return_error",
    ]);
    openssl.args(["-connect", &format!("localhost:{port}")]);
    if known {
        openssl.args(["-cert", "client.pem", "-key", "client.key"]);
    }
    let finished = run(&mut openssl, "", LIMIT)?;
    Ok(finished.success && finished.stdout.contains("Verify return code: 0"))
}

fn serves_whom_it_knows(page: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    certificates(dir.path())?;
    let (_node, port) = with_tls(page, dir.path())?;
    ensure!(handshakes(port, dir.path(), true)?, "a client is refused");
    ensure!(!handshakes(port, dir.path(), false)?, "anybody is served");
    Ok(())
}

#[test]
#[ignore = "needs openssl"]
fn tls_with_pem() -> Result<()> {
    serves_whom_it_knows(README)
}

#[test]
#[ignore = "needs openssl"]
fn tls_with_pkcs12() -> Result<()> {
    serves_whom_it_knows(SETTINGS_PAGE)
}

#[test]
#[ignore = "needs openssl"]
fn listeners_and_certificates_of_a_running_broker() -> Result<()> {
    let dir = tempfile::tempdir()?;
    certificates(dir.path())?;
    let (node, port) = with_tls(SETTINGS_PAGE, dir.path())?;
    let path = dir.path().display().to_string();
    let at = [("localhost:9092", &*node.address()), ("/etc/kafka", &path)];
    run_in_shell(SETTINGS_PAGE, "keystore", &at, dir.path())?;
    ensure!(handshakes(port, dir.path(), true)?, "a client is refused");
    let plain = Node::start()?;
    let second = free_port()?;
    let at = [
        ("localhost:9092", &*plain.address()),
        ("9192", &second.to_string()),
    ];
    run_in_shell(SETTINGS_PAGE, "listeners", &at, dir.path())?;
    ensure!(
        eventually(LIMIT, || listens(second)),
        "nobody listens on {second}"
    );
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn a_listener_with_sasl() -> Result<()> {
    let (safe, dir) = (free_port()?, tempfile::tempdir()?);
    let replaced = [
        ("localhost:9092", "localhost:{port}"),
        ("SAFE://:9093", &format!("SAFE://localhost:{safe}")),
    ];
    let text = with(&snippet(SETTINGS_PAGE, "sasl")?.text, &replaced)?;
    let _node = Node::with_settings(&format!("{text}log.dirs={{dir}}\n"))?;
    let file = dir.path().join("client.properties");
    let text = snippet(SETTINGS_PAGE, "sasl-client")?.text;
    for (password, good) in [("ann-secret", true), ("bob-secret", false)] {
        fs::write(&file, text.replace("ann-secret", password))?;
        let mut list = Command::new(binary());
        list.args([
            "topics",
            "--list",
            "--bootstrap-server",
            &format!("localhost:{safe}"),
        ])
        .arg("--command-config")
        .arg(&file);
        let finished = run(&mut list, "", LIMIT)?;
        ensure!(finished.success == good, "{password}: {finished:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the broker's binary"]
fn quotas_and_users() -> Result<()> {
    let (node, dir) = (Node::start()?, tempfile::tempdir()?);
    let at = [("localhost:9092", &*node.address())];
    let said = run_in_shell(SETTINGS_PAGE, "quotas", &at, dir.path())?;
    for line in [
        "Quota configs for client-id 'shop' are producer_byte_rate=1048576.0",
        "SCRAM credential configs for user-principal 'ann' are SCRAM-SHA-256=iterations=8192",
    ] {
        ensure!(said.lines().any(|one| one == line), "{said}");
    }
    Ok(())
}
