//! The promise: a log rolls, ages and is compacted as Apache Kafka's does: the same settings and the same batches leave the
//! same segments, positions and records, also when each has restarted on the directory of the other.

#[path = "log_life/compaction.rs"]
mod compaction;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use compat_tests::apache::{Apache, PRESENT, SETTINGS};
use compat_tests::exchange::{Answer, Connection};
use compat_tests::node::Node;
use compat_tests::programs::eventually;
use monedula::base::time::Clock;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::batch::header::BatchHeader;
use monedula::wire::batch::record;
use monedula::wire::codec::Records;
use monedula::wire::message::Request;
use monedula::wire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use monedula::wire::message::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use monedula::wire::message::describe_log_dirs::DescribeLogDirsRequest;
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

/// Both work in the background as often as they can.
const BACKGROUND: &str = "\
log.retention.check.interval.ms=500
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=200
log.cleaner.dedupe.buffer.size=2000000
log.segment.delete.delay.ms=500
offsets.topic.num.partitions=1
";
const SOON: Duration = Duration::from_secs(60);
const KEY: &[u8] = b"key";

struct Broker {
    address: String,
    data: PathBuf,
    connection: Option<Connection>,
}

/// What is seen of a partition.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// First offset and size of each segment.
    segments: Vec<(i64, u64)>,
    start: i64,
    end: i64,
    /// Offset and time of the newest record, as ListOffsets says.
    newest: (i64, i64),
    /// As DescribeLogDirs says.
    size: i64,
    /// Offset, time, key and value.
    records: Vec<(i64, i64, Option<Bytes>, Option<Bytes>)>,
}

impl Broker {
    fn new(address: String, data: &Path) -> Self {
        Self {
            address,
            data: data.to_owned(),
            connection: None,
        }
    }

    fn ask<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => Connection::open(&self.address)?,
        };
        match connection.ask(request, version)? {
            Some(Answer::Response(response)) => {
                self.connection = Some(connection);
                Ok(response)
            }
            _ => bail!("{} v{version} was not answered", R::NAME),
        }
    }

    fn create(&mut self, scene: &Scene) -> Result<()> {
        let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        };
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: scene.name.into(),
                num_partitions: 1,
                replication_factor: 1,
                configs: scene.settings.iter().map(config).collect(),
                ..Default::default()
            }],
            timeout_ms: 20_000,
            ..Default::default()
        };
        let answer = self.ask(&request, 7)?;
        ensure!(answer.topics[0].error_code == 0, "{answer:?}");
        let led = eventually(SOON, || {
            self.offset(scene.name, -1).is_ok_and(|end| end.0 == 0)
        });
        ensure!(led, "{} is not there", scene.name);
        Ok(())
    }

    fn produce(&mut self, topic: &str, batch: Bytes) -> Result<()> {
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 10_000,
            topic_data: vec![TopicProduceData {
                name: topic.into(),
                partition_data: vec![PartitionProduceData {
                    index: 0,
                    records: Some(Records::Bytes(batch)),
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(&request, 9)?;
        let answer = &answer.responses[0].partition_responses[0];
        ensure!(answer.error_code == 0, "{answer:?}");
        Ok(())
    }

    /// One record in a batch of its own.
    fn put(&mut self, topic: &str, at: i64, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.produce(topic, batch(Compression::None, at, key, value))
    }

    fn delete_before(&mut self, topic: &str, offset: i64) -> Result<()> {
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: topic.into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: 0,
                    offset,
                }],
            }],
            timeout_ms: 10_000,
        };
        let answer = self.ask(&request, 2)?;
        ensure!(answer.topics[0].partitions[0].error_code == 0, "{answer:?}");
        Ok(())
    }

    /// Error, offset and time.
    fn offset(&mut self, topic: &str, timestamp: i64) -> Result<(i16, i64, i64)> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: topic.into(),
                partitions: vec![ListOffsetsPartition {
                    timestamp,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let answer = self.ask(&request, 7)?;
        let answer = &answer.topics[0].partitions[0];
        Ok((answer.error_code, answer.offset, answer.timestamp))
    }

    fn records(&mut self, topic: &str, from: i64, end: i64) -> Result<Vec<Record>> {
        let (mut found, mut next) = (Vec::new(), from);
        while next < end {
            let request = FetchRequest {
                replica_id: -1,
                max_wait_ms: 100,
                min_bytes: 1,
                max_bytes: 1 << 24,
                session_epoch: -1,
                topics: vec![FetchTopic {
                    topic: topic.into(),
                    partitions: vec![FetchPartition {
                        fetch_offset: next,
                        partition_max_bytes: 1 << 24,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let answer = self.ask(&request, 12)?;
            let answer = &answer.responses[0].partitions[0];
            ensure!(answer.error_code == 0, "{answer:?}");
            let Some(Records::Bytes(bytes)) = &answer.records else {
                break;
            };
            let (mut rest, from) = (bytes.clone(), next);
            while let Ok(header) = BatchHeader::parse(&rest)
                && header.size() <= rest.len()
            {
                let batch = rest.split_to(header.size());
                header.verify(&batch)?;
                let body = record::decompressed(&header, &batch, 1 << 24)?;
                for record in record::records(&header, &body) {
                    let record = record?;
                    let own = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice);
                    if record.offset >= next {
                        found.push((
                            record.offset,
                            record.timestamp,
                            own(record.key),
                            own(record.value),
                        ));
                    }
                }
                next = next.max(header.next_offset());
            }
            // Compaction may have left nothing up to the end.
            if next == from {
                break;
            }
        }
        Ok(found)
    }

    fn look(&mut self, topic: &str) -> Result<Seen> {
        let dir = self.data.join(format!("{topic}-0"));
        let mut segments = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if let Some(base) = entry.file_name().to_string_lossy().strip_suffix(".log") {
                segments.push((base.parse()?, entry.metadata()?.len()));
            }
        }
        segments.sort_unstable();
        let described = self.ask(&DescribeLogDirsRequest::default(), 4)?;
        let size = described
            .results
            .iter()
            .flat_map(|dir| dir.topics.iter().filter(|one| *one.name == *topic))
            .flat_map(|one| &one.partitions)
            .map(|one| one.partition_size)
            .sum();
        let (_, start, _) = self.offset(topic, -2)?;
        let (_, end, _) = self.offset(topic, -1)?;
        let newest = match self.offset(topic, -3)? {
            // Of records without times Apache Kafka names the first after a restart, and none before.
            (_, _, -1) => (-1, -1),
            (_, offset, at) => (offset, at),
        };
        Ok(Seen {
            segments,
            start,
            end,
            newest,
            size,
            records: self.records(topic, start, end)?,
        })
    }
}

type Record = (i64, i64, Option<Bytes>, Option<Bytes>);

fn batch(codec: Compression, at: i64, key: &[u8], value: Option<&[u8]>) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    builder.push(at, Some(key), value);
    builder.build()
}

/// What is asked of both, and when it is over.
struct Scene {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// `now` is the same for both.
    tell: fn(&mut Broker, now: i64) -> Result<()>,
    settled: fn(&Seen) -> bool,
}

const DAY: i64 = 24 * 3_600_000;
const SIZED: &[u8] = &[b'v'; 300_000];

const SCENES: &[Scene] = &[
    Scene {
        name: "rolls-by-size",
        settings: &[("segment.bytes", "1048576"), ("retention.ms", "-1")],
        tell: |broker, now| {
            (0..10).try_for_each(|n| broker.put("rolls-by-size", now + n, KEY, Some(SIZED)))
        },
        settled: |seen| seen.segments.len() == 4,
    },
    Scene {
        name: "rolls-by-time",
        settings: &[("segment.ms", "10000"), ("retention.ms", "-1")],
        tell: |broker, now| {
            for at in [0, 10_000, 10_001, 5_000, 20_001, 20_002, 90_000] {
                broker.put("rolls-by-time", now + at, KEY, Some(KEY))?;
            }
            broker.put("rolls-by-time", -1, KEY, Some(KEY))
        },
        settled: |seen| seen.segments.len() == 4,
    },
    Scene {
        name: "jitter-beyond-the-segment",
        settings: &[
            ("segment.ms", "3600000"),
            ("segment.jitter.ms", "999999999999"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| {
            (0..5).try_for_each(|_| broker.put("jitter-beyond-the-segment", now, KEY, Some(KEY)))
        },
        settled: |seen| seen.end == 5,
    },
    Scene {
        name: "rolls-by-index",
        settings: &[
            ("segment.index.bytes", "60"),
            ("index.interval.bytes", "0"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| {
            (0..30).try_for_each(|n| broker.put("rolls-by-index", now + n, KEY, Some(KEY)))
        },
        settled: |seen| seen.end == 30,
    },
    Scene {
        name: "rolls-for-the-cleaner",
        settings: &[
            ("cleanup.policy", "compact"),
            ("max.compaction.lag.ms", "10000"),
            ("min.cleanable.dirty.ratio", "1.0"),
        ],
        tell: |broker, now| {
            for n in 0..3 {
                broker.put("rolls-for-the-cleaner", now - DAY + n, KEY, Some(KEY))?;
            }
            broker.put("rolls-for-the-cleaner", now, KEY, Some(KEY))
        },
        settled: |seen| seen.records.len() == 2,
    },
    Scene {
        name: "too-old",
        settings: &[("retention.ms", "86400000"), ("segment.bytes", "1048576")],
        tell: |broker, now| {
            for n in 0..10 {
                broker.put("too-old", now - 2 * DAY + n, KEY, Some(SIZED))?;
            }
            Ok(())
        },
        settled: |seen| seen.start == 10 && seen.segments.len() == 1,
    },
    Scene {
        name: "without-times",
        settings: &[("retention.ms", "86400000")],
        tell: |broker, _| (0..3).try_for_each(|_| broker.put("without-times", -1, KEY, Some(KEY))),
        settled: |seen| seen.end == 3,
    },
    Scene {
        name: "too-much",
        settings: &[("retention.bytes", "1000000"), ("segment.bytes", "1048576")],
        tell: |broker, now| {
            (0..11).try_for_each(|n| broker.put("too-much", now + n, KEY, Some(SIZED)))
        },
        settled: |seen| seen.start > 0,
    },
    Scene {
        name: "no-bytes-at-all",
        settings: &[("retention.bytes", "0")],
        tell: |broker, now| {
            (0..3).try_for_each(|n| broker.put("no-bytes-at-all", now + n, KEY, Some(KEY)))
        },
        settled: |seen| seen.start == 3,
    },
    Scene {
        name: "no-policy",
        settings: &[
            ("cleanup.policy", ""),
            ("retention.ms", "1"),
            ("retention.bytes", "1"),
        ],
        tell: |broker, now| {
            (0..3).try_for_each(|n| broker.put("no-policy", now - DAY + n, KEY, Some(KEY)))
        },
        settled: |seen| seen.end == 3,
    },
    Scene {
        name: "deleted-amidst",
        settings: &[("segment.bytes", "1048576")],
        tell: |broker, now| {
            for n in 0..8 {
                broker.put("deleted-amidst", now + n, KEY, Some(SIZED))?;
            }
            broker.delete_before("deleted-amidst", 5)
        },
        settled: |seen| seen.start == 5 && seen.segments.len() == 2,
    },
    Scene {
        name: "allocated",
        settings: &[("segment.bytes", "1048576"), ("preallocate", "true")],
        tell: |broker, now| {
            (0..5).try_for_each(|n| broker.put("allocated", now + n, KEY, Some(SIZED)))
        },
        settled: |seen| seen.end == 5,
    },
    Scene {
        name: "compacted",
        settings: &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "10000"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("delete.retention.ms", "0"),
        ],
        tell: |broker, now| {
            let topic = "compacted";
            let codecs = [
                Compression::None,
                Compression::Gzip,
                Compression::Snappy,
                Compression::Lz4,
                Compression::Zstd,
            ];
            for n in 0..40 {
                let mut builder = BatchBuilder::new(codecs[n % 5]);
                for m in 0..5 {
                    let key = format!("k{}", (n * 5 + m * 7) % 23);
                    let value = (n * m % 3 > 0).then(|| format!("{n} {m}"));
                    builder.push_with_headers(
                        m as i32,
                        now + n as i64 * 1_000,
                        Some(key.as_bytes()),
                        value.as_deref().map(str::as_bytes),
                        [(&b"h"[..], Some(&b"x"[..]))].into_iter(),
                    );
                }
                broker.produce(topic, builder.build())?;
            }
            // The cleaner never looks at the last segment.
            broker.put(topic, now + 90_000, b"last", Some(b"1"))
        },
        settled: |seen| seen.records.len() < 60,
    },
    Scene {
        name: "compacted-and-old",
        settings: &[
            ("cleanup.policy", "compact,delete"),
            ("segment.bytes", "1048576"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("retention.ms", "86400000"),
        ],
        tell: |broker, now| {
            // Segments so large that the cleaner makes none of several: it would be as young as the youngest.
            for n in 0..13_i64 {
                let at = if n < 6 { now - 2 * DAY } else { now - DAY / 2 };
                let key = format!("k{}", n.min(11));
                broker.put("compacted-and-old", at, key.as_bytes(), Some(SIZED))?;
            }
            (0..4).try_for_each(|_| broker.put("compacted-and-old", now, b"last", Some(SIZED)))
        },
        settled: |seen| seen.start == 6 && seen.records.first().is_some_and(|first| first.0 == 6),
    },
    Scene {
        name: "too-young-to-compact",
        settings: &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "10000"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("min.compaction.lag.ms", "86400000"),
        ],
        tell: |broker, now| {
            for n in 0..5 {
                broker.put("too-young-to-compact", now - 2 * DAY + n, KEY, Some(KEY))?;
            }
            for n in 0..5 {
                broker.put("too-young-to-compact", now - 60_000 + n, KEY, Some(KEY))?;
            }
            broker.put("too-young-to-compact", now, KEY, Some(KEY))
        },
        settled: |seen| seen.records.len() == 7,
    },
];

/// What must be the same; sizes are not where records were rewritten, as codecs are not the same programs.
fn same(scene: &Scene, ours: &mut Broker, theirs: &mut Broker) -> Result<()> {
    let (mut own, mut other) = (Seen::default(), Seen::default());
    let equal = eventually(SOON, || {
        own = ours.look(scene.name).unwrap_or_default();
        other = theirs.look(scene.name).unwrap_or_default();
        if scene
            .settings
            .iter()
            .any(|(_, value)| value.contains("compact"))
        {
            for seen in [&mut own, &mut other] {
                seen.size = 0;
                seen.segments.clear();
            }
        }
        (scene.settled)(&other) && own == other
    });
    let brief = |seen: &Seen| {
        let records: Vec<_> = seen
            .records
            .iter()
            .map(|(offset, at, key, value)| {
                let text = |bytes: &Option<Bytes>| {
                    bytes.as_ref().map(|bytes| {
                        String::from_utf8_lossy(&bytes[..bytes.len().min(8)]).into_owned()
                    })
                };
                (*offset, *at, text(key), text(value))
            })
            .collect();
        format!(
            "segments {:?}, {}..{}, newest {:?}, {} bytes, {records:?}",
            seen.segments, seen.start, seen.end, seen.newest, seen.size
        )
    };
    ensure!(
        equal,
        "{}:\nours:   {}\ntheirs: {}",
        scene.name,
        brief(&own),
        brief(&other)
    );
    Ok(())
}

#[test]
#[ignore = "needs java and maven"]
fn logs_roll_age_and_are_compacted_as_apache_kafkas_are() -> Result<()> {
    let home = tempfile::tempdir()?;
    let data = home.path().join("data");
    let settings = format!("{SETTINGS}{BACKGROUND}");
    let mut node = Node::with_settings(&format!(
        "node.id=1\nlisteners=PLAINTEXT://localhost:{{port}}\nlog.dirs={{dir}}\n{BACKGROUND}"
    ))?;
    let apache = Apache::start_with(PRESENT, &settings, home.path(), &data)?;
    let mut ours = Broker::new(node.address(), node.dir());
    let mut theirs = Broker::new(apache.address(), &data);
    let now = Clock.now();
    let wanted = std::env::var("LOG_LIFE_SCENE").ok();
    let scenes = || {
        let wanted = wanted.as_deref();
        SCENES
            .iter()
            .filter(move |scene| wanted.is_none_or(|wanted| wanted == scene.name))
    };
    for scene in scenes() {
        for broker in [&mut ours, &mut theirs] {
            broker.create(scene)?;
            (scene.tell)(broker, now).with_context(|| scene.name)?;
        }
    }
    let mut wrong = Vec::new();
    let mut compare = |ours: &mut Broker, theirs: &mut Broker, when: &str| {
        for scene in scenes() {
            if let Err(error) = same(scene, ours, theirs) {
                wrong.push(format!("{when}: {error:#}"));
            }
        }
    };
    compare(&mut ours, &mut theirs, "running");
    node.stop()?;
    apache.stop()?;
    // Each goes on with what the other has left.
    let exchanged = Node::on(&data)?;
    let apache = Apache::start_with(PRESENT, &settings, home.path(), node.dir())?;
    ours = Broker::new(exchanged.address(), &data);
    theirs = Broker::new(apache.address(), node.dir());
    for scene in scenes() {
        let there = eventually(SOON, || {
            theirs.offset(scene.name, -1).is_ok_and(|end| end.0 == 0)
        });
        ensure!(there, "{} is not there again", scene.name);
    }
    compare(&mut ours, &mut theirs, "exchanged");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
