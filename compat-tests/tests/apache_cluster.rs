//! A broker of this project joins a cluster whose controller is Apache Kafka's. It registers, its metadata equal the
//! controller's, and requests for the controller are forwarded. Both sides may stop and return.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use compat_tests::apache::{Apache, CLUSTER_ID, PRESENT, tool};
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, free_port};
use compat_tests::programs::eventually;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::metadata::MetadataRequest;

/// Time limit, long enough for a session to end and for a JVM to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Node id of this project's broker.
const OURS: &str = "5";

fn theirs(controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={{dir}}\n\
         offsets.topic.replication.factor=1\n"
    )
}

fn ours(controller: u16) -> String {
    format!(
        "process.roles=broker\n\
         node.id={OURS}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{{port}}\n\
         log.dirs={{dir}}\n"
    )
}

/// Apache Kafka as controller and broker 1, and this project's broker 5.
struct Cluster {
    dir: tempfile::TempDir,
    controller: u16,
    apache: Option<Apache>,
    ours: Node,
}

impl Cluster {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let controller = free_port()?;
        let apache = launch(dir.path(), controller)?;
        let ours = Node::of_cluster(CLUSTER_ID, &ours(controller))?;
        Ok(Self {
            dir,
            controller,
            apache: Some(apache),
            ours,
        })
    }

    fn apache(&self) -> Result<&Apache> {
        self.apache.as_ref().context("Apache Kafka is not running")
    }

    fn come_back(&mut self) -> Result<()> {
        self.apache = Some(launch(self.dir.path(), self.controller)?);
        Ok(())
    }

    /// Role and lag of node 5, as `kafka-metadata-quorum` reports them.
    fn observer(&self) -> Result<Option<(String, i64)>> {
        let address = self.apache()?.address();
        let words = ["--bootstrap-server", &address, "describe", "--replication"];
        let said = tool("org.apache.kafka.tools.MetadataQuorumCommand", &words, "")?;
        let line = said.stdout.lines().find(|line| {
            let mut columns = line.split_whitespace();
            columns.next() == Some(OURS)
        });
        Ok(line.and_then(|line| {
            // NodeId DirectoryId LogEndOffset Lag LastFetchTimestamp LastCaughtUpTimestamp Status
            let columns: Vec<&str> = line.split_whitespace().collect();
            let lag = columns.get(3)?.parse().ok()?;
            Some((columns.last()?.to_string(), lag))
        }))
    }

    /// Waits until the controller reports our broker as an observer that has caught up.
    fn is_observed(&self) -> Result<()> {
        let mut last = None;
        let seen = eventually(LIMIT, || {
            last = self.observer().ok().flatten();
            matches!(&last, Some((role, lag)) if role == "Observer" && *lag <= 2)
        });
        ensure!(seen, "{last:?}\n{}", self.ours.last_words());
        Ok(())
    }

    /// Creates a topic by a request to our broker, which forwards it to the controller. Returns the error code.
    fn create(&self, name: &str) -> Result<i16> {
        let mut connection = Connection::open(&self.ours.address())?;
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.into(),
                num_partitions: 2,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 30_000,
            ..Default::default()
        };
        let answer = connection.answered(&request, 7)?;
        Ok(answer.topics.first().context("no topic")?.error_code)
    }

    /// Names of the topics that our broker knows.
    fn topics(&self) -> Result<Vec<String>> {
        let mut connection = Connection::open(&self.ours.address())?;
        let request = MetadataRequest {
            topics: None,
            ..Default::default()
        };
        let answer = connection.answered(&request, 9)?;
        let names = answer.topics.iter().filter_map(|topic| topic.name.as_ref());
        Ok(names.map(ToString::to_string).collect())
    }

    fn shows(&self, topic: &str) -> Result<()> {
        let mut known = Vec::new();
        let shown = eventually(LIMIT, || {
            known = self.topics().unwrap_or_default();
            known.iter().any(|name| name == topic)
        });
        ensure!(
            shown,
            "{topic} is not in {known:?}\n{}",
            self.ours.last_words()
        );
        Ok(())
    }
}

fn launch(dir: &Path, controller: u16) -> Result<Apache> {
    Apache::start_with(PRESENT, &theirs(controller), dir, &dir.join("data"))
}

fn kafka_topics(address: &str, words: &[&str]) -> Result<()> {
    let words = [&["--bootstrap-server", address], words].concat();
    let done = tool("org.apache.kafka.tools.TopicCommand", &words, "")?;
    ensure!(done.success, "{}{}", done.stdout, done.stderr);
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn a_broker_of_ours_stands_in_a_cluster_of_apache_kafka() -> Result<()> {
    let cluster = Cluster::start()?;
    cluster.is_observed()?;
    let theirs = cluster.apache()?.address();

    // A topic created at the controller appears at our broker. A creation requested from our broker happens at the controller.
    kafka_topics(
        &theirs,
        &["--create", "--topic", "theirs", "--partitions", "3"],
    )?;
    cluster.shows("theirs")?;
    ensure!(cluster.create("forwarded")? == 0, "the topic is not made");
    cluster.shows("forwarded")?;
    ensure!(
        cluster.create("forwarded")? == 36,
        "the topic is made twice"
    );
    kafka_topics(&theirs, &["--describe", "--topic", "forwarded"])?;

    // Our broker is registered, but fenced: tools that ask the cluster for its brokers do not find it. Tools that are given its
    // address do.
    let words = ["--bootstrap-server", &theirs];
    let listed = tool(
        "org.apache.kafka.tools.BrokerApiVersionsCommand",
        &words,
        "",
    )?;
    ensure!(
        listed.success && !listed.stdout.contains("(id: 5 "),
        "{}",
        listed.stdout
    );
    let unregistered = ["unregister", "--bootstrap-server", &theirs, "--id", OURS];
    let forgotten = tool("org.apache.kafka.tools.ClusterTool", &unregistered, "")?;
    ensure!(
        forgotten.success,
        "{}{}",
        forgotten.stdout,
        forgotten.stderr
    );
    // After it was unregistered, the broker registers again.
    let again = eventually(LIMIT, || {
        let log = cluster.ours.log().unwrap_or_default();
        let registered = log
            .iter()
            .filter(|line| line.contains("registered with the controllers"));
        registered.count() == 2
    });
    ensure!(again, "{}", cluster.ours.last_words());
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn either_side_may_go_and_come_back() -> Result<()> {
    let mut cluster = Cluster::start()?;
    ensure!(cluster.create("one")? == 0, "the topic is not made");
    cluster.shows("one")?;

    // Our broker is stopped cleanly and started again.
    cluster.ours.stop()?;
    cluster.ours.resume()?;
    cluster.shows("one")?;
    ensure!(cluster.create("two")? == 0, "the topic is not made");
    // After a kill, our broker waits for its former session to end.
    cluster.ours.kill()?;
    cluster.ours.resume()?;
    cluster.shows("two")?;

    // The controller is killed and started again.
    let pid = cluster.apache()?.pid().to_string();
    Command::new("kill").args(["-9", &pid]).status()?;
    drop(cluster.apache.take());
    ensure!(cluster.topics()?.len() >= 2, "the metadata are gone");
    cluster.come_back()?;
    cluster.is_observed()?;
    let made = eventually(LIMIT, || {
        cluster.create("three").is_ok_and(|code| code == 0)
    });
    ensure!(made, "{}", cluster.ours.last_words());
    cluster.shows("three")?;
    cluster.ours.stop()
}
