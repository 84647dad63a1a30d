//! A broker of this project joins a cluster whose controller is Apache Kafka's. It registers, its metadata equal the
//! controller's, and requests for the controller are forwarded. It leads and follows partitions, and coordinates groups and
//! transactions. Both sides may stop and return.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use compat_tests::apache::{Apache, CLUSTER_ID, PRESENT, tool, tools};
use compat_tests::exchange::Connection;
use compat_tests::node::{Node, free_port};
use compat_tests::programs::{eventually, kcat};
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::metadata::{MetadataRequest, MetadataRequestTopic};

/// Time limit, long enough for a session to end and for a JVM to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// Node id of this project's broker.
const OURS: &str = "5";
const SEGMENT: &str = "00000000000000000000.log";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const ELECT: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
/// Pause between two records of a writer.
const PACE: Duration = Duration::from_millis(10);

/// Internal topics with a replica on both brokers. A broker that is alone still appends to them.
const INTERNAL_TOPICS: &str = "\
    offsets.topic.replication.factor=2\n\
    offsets.topic.num.partitions=4\n\
    transaction.state.log.replication.factor=2\n\
    transaction.state.log.min.isr=1\n\
    transaction.state.log.num.partitions=4\n\
    share.coordinator.state.topic.replication.factor=2\n\
    share.coordinator.state.topic.min.isr=1\n\
    share.coordinator.state.topic.num.partitions=4\n";

fn theirs(controller: u16) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         log.dirs={{dir}}\n\
         broker.session.timeout.ms=6000\n\
         {INTERNAL_TOPICS}"
    )
}

fn ours(controller: u16) -> String {
    format!(
        "process.roles=broker\n\
         node.id={OURS}\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{{port}}\n\
         log.dirs={{dir}}\n\
         {INTERNAL_TOPICS}"
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
        let cluster = Self {
            dir,
            controller,
            apache: Some(apache),
            ours,
        };
        cluster.is_unfenced()?;
        Ok(cluster)
    }

    /// Waits until clients of Apache Kafka's broker see our broker.
    fn is_unfenced(&self) -> Result<()> {
        let address = self.apache()?.address();
        let seen = eventually(LIMIT, || {
            let mut connection = Connection::open(&address);
            let answer = connection
                .as_mut()
                .map(|connection| connection.answered(&MetadataRequest::default(), 9));
            matches!(answer, Ok(Ok(answer)) if answer.brokers.len() == 2)
        });
        ensure!(seen, "{}", self.ours.last_words());
        Ok(())
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

    /// Addresses of both brokers, for clients.
    fn servers(&self) -> Result<String> {
        Ok(format!(
            "{},127.0.0.1:{}",
            self.apache()?.address(),
            self.ours.port()
        ))
    }

    /// Leader and number of replicas in sync of each partition of a topic, as this broker shows them.
    fn leaders(address: &str, topic: &str) -> Result<Vec<(i32, usize)>> {
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(topic.into()),
                ..Default::default()
            }]),
            ..Default::default()
        };
        let answer = Connection::open(address)?.answered(&request, 9)?;
        let topic = answer.topics.into_iter().next().context("no topic")?;
        let mut partitions = topic.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        let shown = partitions.iter();
        Ok(shown
            .map(|partition| (partition.leader_id, partition.isr_nodes.len()))
            .collect())
    }

    /// Waits until both brokers show these leaders, and all replicas in sync.
    fn leads(&self, topic: &str, leaders: &[i32]) -> Result<()> {
        let wanted: Vec<_> = leaders.iter().map(|leader| (*leader, 2)).collect();
        for address in [self.apache()?.address(), self.ours.address()] {
            let mut last = Ok(Vec::new());
            let seen = eventually(LIMIT, || {
                last = Self::leaders(&address, topic);
                matches!(&last, Ok(leaders) if *leaders == wanted)
            });
            ensure!(
                seen,
                "{topic} at {address}: {last:?} instead of {wanted:?}\n{}",
                self.ours.last_words()
            );
        }
        Ok(())
    }

    /// Gives the replicas of a topic a new order, and the leadership to the first of each partition.
    fn reorder(&self, topic: &str, replicas: &[[i32; 2]]) -> Result<()> {
        let named = replicas.iter().enumerate().map(|(index, replicas)| {
            format!(r#"{{"topic":"{topic}","partition":{index},"replicas":{replicas:?}}}"#)
        });
        let named: Vec<_> = named.collect();
        let file = self.dir.path().join("reassignment.json");
        let text = format!(r#"{{"version":1,"partitions":[{}]}}"#, named.join(","));
        std::fs::write(&file, text)?;
        let (file, address) = (file.display().to_string(), self.apache()?.address());
        let words = |more: &[&'static str]| [&["--bootstrap-server", &address], more].concat();
        let mut reassign = words(&["--execute", "--reassignment-json-file"]);
        reassign.push(&file);
        let elect = words(&["--election-type", "preferred", "--all-topic-partitions"]);
        let said = tools(&[(REASSIGN, reassign, ""), (ELECT, elect, "")])?;
        ensure!(said.iter().all(|(_, code)| *code == 0), "{said:?}");
        let leaders: Vec<i32> = replicas.iter().map(|replicas| replicas[0]).collect();
        self.leads(topic, &leaders)
    }

    /// Waits until our broker gets more records of a partition. If our broker leads it, the writer is connected to it then:
    /// kcat gives up when it has no connection at all.
    fn is_written(&self, topic: &str, partition: usize) -> Result<()> {
        let file = self
            .ours
            .dir()
            .join(format!("{topic}-{partition}"))
            .join(SEGMENT);
        let before = std::fs::metadata(&file)?.len();
        let written = eventually(LIMIT, || {
            std::fs::metadata(&file).is_ok_and(|now| now.len() > before)
        });
        ensure!(written, "nothing is written to {}", file.display());
        Ok(())
    }

    /// Kills Apache Kafka and starts it again.
    fn kill_apache(&mut self) -> Result<()> {
        let pid = self.apache()?.pid().to_string();
        Command::new("kill").args(["-9", &pid]).status()?;
        drop(self.apache.take());
        self.come_back()
    }

    /// Checks that the replicas of a partition are equal, byte for byte, with the same leader epochs, and that Apache Kafka's
    /// tool prints the same of both.
    fn are_equal(&self, topic: &str, partition: usize) -> Result<()> {
        let name = format!("{topic}-{partition}");
        let folders = [
            self.dir.path().join("data").join(&name),
            self.ours.dir().join(&name),
        ];
        for file in [SEGMENT, "leader-epoch-checkpoint"] {
            let read = |folder: &std::path::PathBuf| std::fs::read(folder.join(file));
            let mut sizes = Vec::new();
            let equal = eventually(LIMIT, || {
                let [theirs, ours] = folders
                    .each_ref()
                    .map(|folder| read(folder).unwrap_or_default());
                sizes = vec![theirs.len(), ours.len()];
                !theirs.is_empty() && theirs == ours
            });
            ensure!(equal, "{name}/{file} differs: {sizes:?} bytes");
        }
        let files = folders.map(|folder| folder.join(SEGMENT).display().to_string());
        let dumps = files
            .iter()
            .map(|file| (DUMP, vec!["--print-data-log", "--files", file], ""));
        let dumps: Vec<_> = dumps.collect();
        let said = tools(&dumps)?;
        let records = |(text, _): &(String, i32)| {
            let lines = text.lines().filter(|line| !line.contains(SEGMENT));
            lines.collect::<Vec<_>>().join("\n")
        };
        ensure!(
            records(&said[0]) == records(&said[1]) && said[0].0.lines().count() > 2,
            "{name}: {said:?}"
        );
        Ok(())
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

/// A kcat that appends numbered records with acks=all, idempotently, while brokers come and go.
struct Writer {
    child: Child,
    stop: Arc<AtomicBool>,
    feeder: JoinHandle<usize>,
    /// Messages of kcat.
    said: tempfile::NamedTempFile,
}

impl Writer {
    fn start(servers: &str, topic: &str) -> Result<Self> {
        let mut command = Command::new("kcat");
        command.args(["-b", servers, "-P", "-t", topic, "-X", "acks=all"]);
        command.args(["-X", "enable.idempotence=true", "-X", "linger.ms=1"]);
        let said = tempfile::NamedTempFile::new()?;
        command.stdin(Stdio::piped()).stderr(said.reopen()?);
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("no standard input")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let feeder = thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) && writeln!(input, "{count}").is_ok() {
                count += 1;
                thread::sleep(PACE);
            }
            count
        });
        Ok(Self {
            child,
            stop,
            feeder,
            said,
        })
    }

    /// Ends the writer; all its records must be acknowledged. Returns their number.
    fn finish(mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        let count = self
            .feeder
            .join()
            .ok()
            .context("the writer's feeder panicked")?;
        let mut status = None;
        eventually(LIMIT, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        let succeeded = status.is_some_and(|status| status.success());
        if !succeeded {
            drop(self.child.kill());
            drop(self.child.wait());
        }
        let said = std::fs::read_to_string(self.said.path())?;
        ensure!(succeeded, "kcat ended with {status:?}\n{said}");
        Ok(count)
    }
}

/// Checks that a topic has the records of a writer, each once.
fn has_all(port: u16, topic: &str, count: usize) -> Result<()> {
    let read = kcat(port, &["-C", "-t", topic, "-e", "-q"], "")?;
    let values: Vec<usize> = read.lines().filter_map(|line| line.parse().ok()).collect();
    let distinct: BTreeSet<_> = values.iter().copied().collect();
    ensure!(
        values.len() == count && distinct.into_iter().eq(0..count),
        "{} of {count} records at {port}",
        values.len()
    );
    Ok(())
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

    // Our broker is unfenced: tools that ask the cluster for its brokers find it.
    let words = ["--bootstrap-server", &theirs];
    let mut listed = String::new();
    let found = eventually(LIMIT, || {
        let said = tool(
            "org.apache.kafka.tools.BrokerApiVersionsCommand",
            &words,
            "",
        );
        listed = said.map(|said| said.stdout).unwrap_or_default();
        listed.contains("(id: 5 ")
    });
    ensure!(found, "{listed}");
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
#[ignore = "needs java, maven and kcat"]
fn replicas_of_both_stay_equal_while_leaders_move_and_die() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let theirs = cluster.apache()?.address();
    kafka_topics(
        &theirs,
        &[
            "--create",
            "--topic",
            "t",
            "--replica-assignment",
            "1:5,5:1",
        ],
    )?;
    cluster.leads("t", &[1, 5])?;
    let writer = Writer::start(&cluster.servers()?, "t")?;
    // Leaders move there and back.
    cluster.reorder("t", &[[5, 1], [1, 5]])?;
    cluster.reorder("t", &[[1, 5], [5, 1]])?;
    // Our broker dies as leader of one partition and follower of the other; the other broker leads both then.
    cluster.ours.kill()?;
    cluster.ours.resume()?;
    cluster.leads("t", &[1, 1])?;
    // Our broker leads again, and gives its leaderships away when it stops.
    cluster.reorder("t", &[[5, 1], [5, 1]])?;
    cluster.ours.stop()?;
    cluster.ours.resume()?;
    cluster.leads("t", &[1, 1])?;
    // The other one dies, with the controller in it.
    cluster.reorder("t", &[[5, 1], [1, 5]])?;
    cluster.is_written("t", 0)?;
    cluster.kill_apache()?;
    cluster.leads("t", &[5, 5])?;
    let count = writer.finish()?;
    for port in [cluster.apache()?.port(), cluster.ours.port()] {
        has_all(port, "t", count)?;
    }
    // A follower learns a leader epoch with the first batch in it.
    for partition in ["0", "1"] {
        let words = ["-P", "-t", "t", "-p", partition, "-X", "acks=all"];
        kcat(cluster.ours.port(), &words, "end\n")?;
    }
    cluster.are_equal("t", 0)?;
    cluster.are_equal("t", 1)
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
