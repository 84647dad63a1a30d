//! A broker with three log directories, monedula or Apache Kafka, and the requests of the suite.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use compat_tests::apache::{PRESENT, SETTINGS, java};
use compat_tests::exchange::{Answer, Connection, produce};
use compat_tests::node::{binary, free_port, listens};
use compat_tests::programs::{eventually, run};
use monedula::base::ids::Uuid;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::codec::Records;
use monedula::wire::message::Request;
use monedula::wire::message::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::metadata::{MetadataRequest, MetadataResponsePartition};
use monedula::wire::message::produce::ProduceRequest;

const START_LIMIT: Duration = Duration::from_secs(180);
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";
pub const DIRS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Apache,
}

/// Result of a start.
#[derive(Debug)]
pub enum Start {
    Serves,
    /// The process has exited; its output.
    Ended(String),
}

/// A broker with three log directories. Killed when dropped.
pub struct Broker {
    pub kind: Kind,
    root: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    connection: Option<Connection>,
}

impl Broker {
    /// Creates the settings with three directories; nothing is formatted or started yet.
    pub fn new(kind: Kind) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let (port, controller) = (free_port()?, free_port()?);
        let dirs: Vec<String> = (0..DIRS)
            .map(|index| root.path().join(format!("d{index}")).display().to_string())
            .collect();
        let settings = SETTINGS
            .replace("{port}", &port.to_string())
            .replace("{controller}", &controller.to_string())
            .replace("{dir}", &dirs.join(","));
        let this = Self {
            kind,
            root,
            port,
            child: None,
            connection: None,
        };
        fs::write(
            this.settings(),
            // The records are old, and Apache Kafka would delete them half a minute after its start.
            settings
                + "log.segment.delete.delay.ms=1000\nlog.retention.ms=-1\nlog.segment.bytes=1048576\n",
        )?;
        Ok(this)
    }

    fn settings(&self) -> PathBuf {
        self.root.path().join("server.properties")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn dir(&self, index: usize) -> PathBuf {
        self.root.path().join(format!("d{index}"))
    }

    /// Formats the directories.
    pub fn format(&self) -> Result<()> {
        let mut command = match self.kind {
            Kind::Ours => {
                let mut command = Command::new(binary());
                command.arg("storage");
                command
            }
            Kind::Apache => java(PRESENT, "kafka.tools.StorageTool")?,
        };
        let formatted = run(
            command
                .args(["format", "-t", CLUSTER_ID, "-c"])
                .arg(self.settings()),
            "",
            START_LIMIT,
        )?;
        ensure!(
            formatted.success,
            "{}{}",
            formatted.stdout,
            formatted.stderr
        );
        Ok(())
    }

    /// Keeps the files for inspection; returns their folder.
    pub fn keep(&mut self) -> PathBuf {
        self.root.disable_cleanup(true);
        self.root.path().to_owned()
    }

    /// Starts the process without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = match self.kind {
            Kind::Ours => {
                let mut command = Command::new(binary());
                command.arg("start");
                command
            }
            Kind::Apache => java(PRESENT, "kafka.Kafka")?,
        };
        let out = File::create(self.said())?;
        let child = command
            .arg(self.settings())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        self.child = Some(child);
        self.connection = None;
        Ok(())
    }

    /// File with the output of the process.
    fn said(&self) -> PathBuf {
        self.root.path().join("log")
    }

    /// Starts the process and waits until it serves or has exited.
    pub fn try_start(&mut self) -> Result<Start> {
        self.spawn()?;
        let (mut ended, mut serves) = (false, false);
        eventually(START_LIMIT, || {
            ended = self.ended().is_ok_and(|code| code.is_some());
            // Apache Kafka listens some time before it answers.
            serves = listens(self.port)
                && self
                    .ask(&MetadataRequest::default(), 9)
                    .is_ok_and(|answer| !answer.brokers.is_empty());
            ended || serves
        });
        let said = || fs::read_to_string(self.said());
        match (ended, serves) {
            (true, _) => Ok(Start::Ended(said()?)),
            (_, true) => Ok(Start::Serves),
            _ => bail!("it neither serves nor ends: {}", said()?),
        }
    }

    pub fn start(&mut self) -> Result<()> {
        match self.try_start()? {
            Start::Serves => Ok(()),
            Start::Ended(said) => bail!("{:?} ended: {said}", self.kind),
        }
    }

    /// Exit code of the process, once it has exited by itself.
    pub fn ended(&mut self) -> Result<Option<Option<i32>>> {
        let child = self.child.as_mut().context("it was not started")?;
        Ok(child.try_wait()?.map(|status| status.code()))
    }

    /// Stops the process with SIGTERM.
    pub fn stop(&mut self) -> Result<()> {
        self.connection = None;
        let mut child = self.child.take().context("it does not run")?;
        Command::new("kill").arg(child.id().to_string()).status()?;
        let mut ended = false;
        eventually(START_LIMIT, || {
            ended = child.try_wait().is_ok_and(|status| status.is_some());
            ended
        });
        if !ended {
            drop(child.kill());
            child.wait()?;
        }
        ensure!(ended, "{:?} did not stop", self.kind);
        Ok(())
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.connection = None;
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => Connection::open(&self.address())?,
        };
        match connection.ask(request, version)? {
            Some(Answer::Response(response)) => {
                self.connection = Some(connection);
                Ok(response)
            }
            _ => bail!("{} v{version} was not answered", R::NAME),
        }
    }

    pub fn create(&mut self, topic: &str, partitions: i32) -> Result<Uuid> {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.into(),
                num_partitions: partitions,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 20_000,
            ..Default::default()
        };
        let answer = self.ask(&request, 7)?;
        ensure!(answer.topics[0].error_code == 0, "{answer:?}");
        let id = answer.topics[0].topic_id;
        // Apache Kafka creates the logs some time after its response.
        let led = eventually(START_LIMIT, || {
            (0..partitions).all(|index| {
                self.end(topic, index)
                    .is_ok_and(|end| [0, 56].contains(&end.0))
            })
        });
        ensure!(led, "{topic} is not there");
        Ok(id)
    }

    /// Appends one record; returns error code and offset.
    pub fn produce(&mut self, topic: &str, index: i32, value: &[u8]) -> Result<(i16, i64)> {
        let answer = self.ask(&record(topic, index, value), 9)?;
        let answer = &answer.responses[0].partition_responses[0];
        Ok((answer.error_code, answer.base_offset))
    }

    /// Error code, high watermark and records of a fetch.
    pub fn fetch(
        &mut self,
        topic: &str,
        index: i32,
        from: i64,
        version: i16,
    ) -> Result<(i16, i64, Vec<u8>)> {
        let request = FetchRequest {
            replica_id: -1,
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![FetchTopic {
                topic: topic.into(),
                partitions: vec![FetchPartition {
                    partition: index,
                    fetch_offset: from,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(&request, version)?;
        let answer = &answer.responses[0].partitions[0];
        let records = match &answer.records {
            Some(Records::Bytes(records)) => records.to_vec(),
            _ => Vec::new(),
        };
        Ok((answer.error_code, answer.high_watermark, records))
    }

    /// Error code and end offset of a partition.
    pub fn end(&mut self, topic: &str, index: i32) -> Result<(i16, i64)> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: index,
                    timestamp: -1,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let answer = self.ask(&request, 6)?;
        let answer = &answer.topics[0].partitions[0];
        Ok((answer.error_code, answer.offset))
    }

    pub fn partitions(&mut self, topic: &str) -> Result<Vec<MetadataResponsePartition>> {
        let answer = self.ask(&MetadataRequest::default(), 9)?;
        let found = answer
            .topics
            .into_iter()
            .find(|found| found.name.as_deref() == Some(topic));
        let mut partitions = found.context("no such topic")?.partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        Ok(partitions)
    }

    pub fn describe(&mut self) -> Result<DescribeLogDirsResponse> {
        let mut answer = self.ask(&DescribeLogDirsRequest::default(), 4)?;
        answer.results.sort_by(|a, b| a.log_dir.cmp(&b.log_dir));
        Ok(answer)
    }

    /// Error code of each directory, and the partitions of a topic in it.
    pub fn placed(&mut self, topic: &str) -> Result<Vec<(i16, Vec<i32>)>> {
        let described = self.describe()?.results.into_iter().map(|dir| {
            let mut found: Vec<i32> = dir
                .topics
                .iter()
                .filter(|one| *one.name == *topic)
                .flat_map(|one| one.partitions.iter().filter(|one| !one.is_future_key))
                .map(|one| one.partition_index)
                .collect();
            found.sort_unstable();
            (dir.error_code, found)
        });
        Ok(described.collect())
    }

    /// Sends AlterReplicaLogDirs for one partition; returns its error code.
    pub fn alter(&mut self, dir: &Path, topic: &str, partition: i32) -> Result<i16> {
        let request = AlterReplicaLogDirsRequest {
            dirs: vec![AlterReplicaLogDir {
                path: dir.display().to_string().into(),
                topics: vec![AlterReplicaLogDirTopic {
                    name: topic.into(),
                    partitions: vec![partition],
                }],
            }],
        };
        Ok(self.ask(&request, 2)?.results[0].partitions[0].error_code)
    }

    /// All files and directories in the given log directories, including these, with their contents.
    pub fn contents(&self, dirs: impl IntoIterator<Item = usize>) -> BTreeMap<PathBuf, Content> {
        let mut all = BTreeMap::new();
        let mut left: Vec<PathBuf> = dirs.into_iter().map(|index| self.dir(index)).collect();
        while let Some(path) = left.pop() {
            let changed = fs::symlink_metadata(&path).and_then(|facts| facts.modified());
            let mut bytes = Vec::new();
            match fs::read_dir(&path) {
                Ok(entries) => left.extend(entries.flatten().map(|entry| entry.path())),
                Err(_) => bytes = fs::read(&path).unwrap_or_default(),
            }
            all.insert(path, (changed.ok(), bytes));
        }
        all
    }
}

/// Modification time of a file or directory, and the bytes of a file.
pub type Content = (Option<SystemTime>, Vec<u8>);

/// Timestamp and header value of a record, both derived from the record's value.
pub fn around(value: &[u8]) -> (i64, [u8; 8]) {
    let sum = value
        .iter()
        .fold(7_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    (
        1_700_000_000_000 + (sum % 1_000_000) as i64,
        sum.to_be_bytes(),
    )
}

fn record(topic: &str, index: i32, value: &[u8]) -> ProduceRequest {
    let (timestamp, header) = around(value);
    let headers = [(&b"around"[..], Some(&header[..]))];
    let mut batch = BatchBuilder::default();
    batch.push_with_headers(0, timestamp, None, Some(value), headers.into_iter());
    produce(topic, index, batch.build())
}

/// A producer with a connection of its own.
pub struct Producer(Connection);

impl Producer {
    pub fn open(address: &str) -> Result<Self> {
        Ok(Self(Connection::open(address)?))
    }

    /// Like [`Broker::produce`].
    pub fn produce(&mut self, topic: &str, index: i32, value: &[u8]) -> Result<(i16, i64)> {
        match self.0.ask(&record(topic, index, value), 9)? {
            Some(Answer::Response(answer)) => {
                let answer = &answer.responses[0].partition_responses[0];
                Ok((answer.error_code, answer.base_offset))
            }
            _ => bail!("a record was not answered"),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
