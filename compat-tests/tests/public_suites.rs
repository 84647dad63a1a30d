//! Tests of client libraries' public suites pass with this broker if they pass with Apache Kafka. The suites come from the
//! registries of their languages; `PUBLIC_SUITES.md` has the results.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use compat_tests::apache::PRESENT;
use compat_tests::node::{binary, free_port, listens};
use compat_tests::packages::{self, fetch};
use compat_tests::programs::{eventually, run};
use compat_tests::suites::{Results, Suite, check, read_go, read_librdkafka, read_pytest};

const SUITE_LIMIT: Duration = Duration::from_secs(1200);

#[test]
fn the_document_is_as_the_runs_wrote_it() -> Result<()> {
    check()
}

fn packages(name: &str) -> Result<PathBuf> {
    packages::packages(&format!("suites/{name}"))
}

/// Output of a suite, whether it succeeds or not. Also written to the file `notes`.
fn said(command: &mut Command, notes: &Path) -> Result<String> {
    let finished = run(command, "", SUITE_LIMIT)?;
    let text = format!("{}\n{}", finished.stdout, finished.stderr);
    fs::write(notes, &text)?;
    Ok(text)
}

/// A copy of a Go module's sources, tests included, that may be changed.
fn go_module(module: &str, version: &str) -> Result<PathBuf> {
    let own = packages(&module.replace('/', "-"))?.join(version);
    if !own.join(".complete").exists() {
        let told = fetch(
            Command::new("go")
                .args(["mod", "download", "-json"])
                .arg(format!("{module}@{version}")),
        )?;
        let dir = told
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"Dir\": \""))
            .and_then(|rest| rest.strip_suffix("\","))
            .context("Go does not tell where the module is")?;
        fetch(
            Command::new("cp")
                .args(["-r", "--no-preserve=mode", dir])
                .arg(&own),
        )?;
        fs::write(own.join(".complete"), "")?;
    }
    Ok(own)
}

/// Replaces words in the test files of a folder.
fn reword(dir: &Path, words: &[(&str, &str)]) -> Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if !path.to_string_lossy().ends_with("_test.go") {
            continue;
        }
        let old = fs::read_to_string(&path)?;
        let new = words
            .iter()
            .fold(old.clone(), |text, (from, to)| text.replace(from, to));
        if new != old {
            fs::write(&path, new)?;
        }
    }
    Ok(())
}

fn go_tests(dir: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let program = dir.join("suite.test");
    fetch(
        Command::new("go")
            .args(["test", "-mod=mod", "-c", "-o"])
            .arg(&program)
            .args(arguments)
            .current_dir(dir),
    )?;
    Ok(program)
}

#[test]
#[ignore = "needs go, java and maven"]
fn public_suite_franz_go() -> Result<()> {
    const SUITE: Suite = Suite {
        name: "franz-go",
        version: "1.22.2",
        origin: "`pkg/kgo` of the Go module, with KGO_TEST_RF=1 and KGO_TEST_RECORDS=50000",
        settings: "share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n",
        missing: &[],
    };
    let dir = go_module("github.com/twmb/franz-go", "v1.22.2")?.join("pkg/kgo");
    let program = go_tests(&dir, &["."])?;
    SUITE.measure(|ports, notes| {
        let mut command = Command::new(&program);
        command
            .args(["-test.v", "-test.timeout", "1000s"])
            .env("KGO_SEEDS", format!("127.0.0.1:{}", ports.plain))
            .env("KGO_TEST_SCRAM_SEEDS", format!("127.0.0.1:{}", ports.sasl))
            .env("KGO_TEST_SCRAM", "adminscram:admin-secret-256:256")
            .env("KGO_TEST_RF", "1")
            .env("KGO_TEST_RECORDS", "50000")
            .env("KGO_TEST_UNSAFE", "")
            .env("KGO_LOG_LEVEL", "none")
            .current_dir(&dir);
        Ok(read_go(&said(&mut command, notes)?))
    })
}

#[test]
#[ignore = "needs go, java and maven"]
fn public_suite_kafka_go() -> Result<()> {
    const SUITE: Suite = Suite {
        name: "segmentio/kafka-go",
        version: "0.4.51",
        origin: "The Go module, with another port than 9092 in its tests",
        settings: "advertised.listeners=PLAINTEXT://localhost:{port},SASL_PLAINTEXT://localhost:{sasl}\n",
        missing: &[],
    };
    let module = || go_module("github.com/segmentio/kafka-go", "v0.4.51");
    SUITE.measure(|ports, notes| {
        // A fresh copy, without the port of an earlier run.
        fs::remove_dir_all(module()?)?;
        let dir = module()?;
        let addresses = fs::read(dir.join("address_test.go"))?;
        let (port, sasl) = (ports.plain.to_string(), ports.sasl.to_string());
        let local = format!("TCP(\"127.0.0.1:{port}\")");
        let words = [
            ("9092", &*port),
            ("9093", &*sasl),
            ("TCP(\"127.0.0.1\")", &local),
            ("TCP(\"localhost\")", &local),
        ];
        reword(&dir, &words)?;
        // This test is about the default port.
        fs::write(dir.join("address_test.go"), addresses)?;
        reword(&dir.join("sasl"), &words)?;
        let mut results = Results::new();
        for package in [".", "./sasl"] {
            let program = go_tests(&dir, &[package])?;
            let mut command = Command::new(&program);
            command
                .args(["-test.v", "-test.timeout", "1000s"])
                .env("KAFKA_VERSION", PRESENT)
                .current_dir(dir.join(package));
            let notes = notes.with_extension(package.trim_start_matches(['.', '/']));
            results.extend(read_go(&said(&mut command, &notes)?));
        }
        Ok(results)
    })
}

/// A proxy that breaks connections on demand. Killed when dropped.
struct Toxiproxy {
    child: Child,
    address: String,
}

impl Toxiproxy {
    /// Forwards the five ports that sarama's tests use to one broker.
    fn start(program: &Path, dir: &Path, broker: u16) -> Result<Self> {
        let proxies: Vec<String> = (1..=5)
            .map(|n| {
                format!(
                    r#"{{"name":"kafka{n}","listen":"127.0.0.1:{}","upstream":"127.0.0.1:{broker}","enabled":true}}"#,
                    29_090 + n
                )
            })
            .collect();
        let file = dir.join("proxies.json");
        fs::write(&file, format!("[{}]", proxies.join(",")))?;
        let port = free_port()?;
        let child = Command::new(program)
            .args(["-port", &port.to_string(), "-config"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let this = Self {
            child,
            address: format!("http://127.0.0.1:{port}"),
        };
        let ready = || listens(port) && listens(29_095);
        ensure!(eventually(Duration::from_secs(20), ready), "no proxy");
        Ok(this)
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
#[ignore = "needs go, java and maven"]
fn public_suite_sarama() -> Result<()> {
    const SUITE: Suite = Suite {
        name: "sarama",
        version: "1.61.1",
        origin: "The functional tests of the Go module behind toxiproxy (a Go module too), one broker under the names of five, \
            so with replication factor 1 in place of 3; those that start and stop brokers of a compose file fail",
        settings: "advertised.listeners=PLAINTEXT://127.0.0.1:29091,SASL_PLAINTEXT://127.0.0.1:{sasl}\nauto.create.topics.enable=false\n",
        missing: &[],
    };
    let dir = go_module("github.com/IBM/sarama", "v1.61.1")?;
    reword(&dir, &[("ReplicationFactor: 3", "ReplicationFactor: 1")])?;
    let program = go_tests(&dir, &["-tags", "functional", "."])?;
    let tools = packages("tools")?;
    fetch(
        Command::new("go")
            .args([
                "install",
                "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0",
            ])
            .env("GOBIN", &tools),
    )?;
    SUITE.measure(|ports, notes| {
        let proxy = Toxiproxy::start(&tools.join("server"), &tools, ports.plain)?;
        let mut command = Command::new(&program);
        command
            .args(["-test.v", "-test.timeout", "1000s"])
            .env("TOXIPROXY_ADDR", &proxy.address)
            .env("KAFKA_VERSION", "4.3.1")
            .current_dir(&dir);
        Ok(read_go(&said(&mut command, notes)?))
    })
}

/// The sources of a Python package, tests included, and an environment with its dependencies.
fn python_package(package: &str, version: &str, others: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let dir = packages(package)?;
    let python = packages::python(&dir.join("venv"))?;
    let sources = dir.join(format!("{}-{version}", package.replace('-', "_")));
    if !sources.exists() {
        fetch(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "pytest>=8.3"])
                .arg(format!("{package}=={version}"))
                .args(others),
        )?;
        fetch(
            Command::new(&python)
                .args(["-m", "pip", "download", "--quiet", "--no-deps"])
                .args(["--no-binary", ":all:"])
                .arg(format!("{package}=={version}"))
                .current_dir(&dir),
        )?;
        let archive =
            sources.with_file_name(format!("{}-{version}.tar.gz", package.replace('-', "_")));
        fetch(
            Command::new("tar")
                .arg("xzf")
                .arg(archive)
                .current_dir(&dir),
        )?;
    }
    Ok((sources, python))
}

#[test]
#[ignore = "needs python, java and maven"]
fn public_suite_kafka_python() -> Result<()> {
    const SUITE: Suite = Suite {
        name: "kafka-python",
        version: "3.0.12",
        origin: "`test/integration` of the source distribution; a file of the tests that it leaves out is replaced by one \
            that starts no brokers, so the tests of TLS and SASL, which start their own, are out",
        settings: "node.id=0\ncontroller.quorum.voters=0@127.0.0.1:{controller}\nnum.partitions=4\n\
            advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl}\n",
        missing: &[],
    };
    // The tests use a broker that runs already.
    const SERVICE: &str = "class ExternalService:\n    def __init__(self, host, port):\n        self.host, self.port = host, port\n\n\
        \n    def close(self):\n        pass\n\n\nclass SpawnedService:\n    def __init__(self, *given):\n        raise RuntimeError\n";
    let (sources, python) = python_package(
        "kafka-python",
        "3.0.12",
        &[
            "pytest-mock",
            "pytest-timeout",
            "crc32c",
            "python-snappy",
            "lz4",
            "zstandard",
        ],
    )?;
    fs::write(sources.join("test/__init__.py"), "")?;
    fs::write(sources.join("test/service.py"), SERVICE)?;
    SUITE.measure(|ports, notes| {
        let mut command = Command::new(&python);
        command
            .args([
                "-m",
                "pytest",
                "-q",
                "-rA",
                "--no-fold-skipped",
                "--tb=short",
            ])
            .args([
                "-p",
                "no:cacheprovider",
                "-o",
                "addopts=",
                "-o",
                "log_level=WARNING",
            ])
            .args(["--timeout=90", "--timeout-method=signal"])
            .args([
                "test/integration",
                "--ignore=test/integration/test_ssl_integration.py",
            ])
            .arg("--ignore=test/integration/test_sasl_integration.py")
            .env("KAFKA_VERSION", PRESENT)
            .env("KAFKA_URI", format!("kafka://127.0.0.1:{}", ports.plain))
            // The variable must be set, but the folder is not used.
            .env("KAFKA_ROOT", &sources)
            .current_dir(&sources);
        Ok(read_pytest(&said(&mut command, notes)?))
    })
}

const LIBRDKAFKA: Suite = Suite {
    name: "librdkafka",
    version: "2.12.1",
    origin: "`tests` of the sources in the crate `rdkafka-sys`, in quick mode, without those that need no broker; the tools \
        that they call are our front-ends in both runs",
    // With the delay, two members that join one after the other are in the first generation.
    settings: "num.partitions=4\ngroup.initial.rebalance.delay.ms=3000\n",
    missing: &[],
};

#[test]
#[ignore = "needs cargo, a C++ compiler, java and maven"]
fn public_suite_librdkafka() -> Result<()> {
    measure_librdkafka(&LIBRDKAFKA, "classic")
}

#[test]
#[ignore = "needs cargo, a C++ compiler, java and maven"]
fn public_suite_librdkafka_with_consumer_protocol() -> Result<()> {
    let suite = Suite {
        name: "librdkafka with group.protocol=consumer",
        ..LIBRDKAFKA
    };
    measure_librdkafka(&suite, "consumer")
}

fn measure_librdkafka(suite: &Suite, group_protocol: &str) -> Result<()> {
    let dir = librdkafka("rdkafka-sys-4.10.0+2.12.1")?;
    let tools = dir.join("tools/bin");
    fs::create_dir_all(&tools)?;
    let names = fetch(Command::new(binary()).arg("tool-names"))?;
    for name in names.split_whitespace() {
        let link = tools.join(format!("{name}.sh"));
        drop(fs::remove_file(&link));
        std::os::unix::fs::symlink(fs::canonicalize(binary())?, link)?;
    }
    suite.measure(|ports, notes| {
        let address = format!("127.0.0.1:{}", ports.plain);
        let settings = format!("bootstrap.servers={address}\ntest.topic.random=true\n");
        fs::write(dir.join("tests/test.conf"), settings)?;
        let mut command = Command::new("./test-runner");
        command
            .args(["-L", "-Q", "-p2"])
            .env(
                "LD_LIBRARY_PATH",
                format!("{0}/src:{0}/src-cpp", dir.display()),
            )
            .env("KAFKA_PATH", dir.join("tools"))
            .env("BROKERS", &address)
            .env("TEST_KAFKA_VERSION", PRESENT)
            .env("TEST_CONSUMER_GROUP_PROTOCOL", group_protocol)
            .current_dir(dir.join("tests"));
        Ok(read_librdkafka(&said(&mut command, notes)?))
    })
}

/// librdkafka with its tests, built from the sources in a crate.
fn librdkafka(krate: &str) -> Result<PathBuf> {
    let dir = packages("librdkafka")?.join(krate);
    if dir.join(".complete").exists() {
        return Ok(dir);
    }
    let manifest = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/clients/matrix/rust/Cargo.toml"
    );
    let told = fetch(
        Command::new("cargo")
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--manifest-path", manifest]),
    )?;
    let end = format!("/{krate}/Cargo.toml");
    let place = told
        .split('"')
        .find_map(|word| word.strip_suffix(&end))
        .context("Cargo does not tell where the crate is")?;
    fetch(
        Command::new("cp")
            .args(["-r", "--no-target-directory"])
            .arg(format!("{place}/{krate}/librdkafka"))
            .arg(&dir),
    )?;
    let without = ["--disable-gssapi", "--disable-ssl", "--disable-curl"];
    fetch(
        Command::new("bash")
            .arg("configure")
            .args(without)
            .current_dir(&dir),
    )?;
    for what in [&["libs"][..], &["-C", "tests", "test-runner"]] {
        fetch(Command::new("make").arg("-j2").args(what).current_dir(&dir))?;
    }
    fs::write(dir.join(".complete"), "")?;
    Ok(dir)
}
