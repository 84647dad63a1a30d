//! Scenes for both brokers: every kind of file that a partition can have.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use compat_tests::transactional::Transactional;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;

use super::broker::{Broker, CODECS, KEY, batch};
use super::files::CHOSEN;
use super::scenes::{DAY, Scene};

const KILOBYTES: &[u8] = &[b'w'; 200_000];
/// Pause that makes two timestamps of the broker differ.
const TICK: Duration = Duration::from_millis(3);
const LONG: i32 = 600_000;

/// A batch of several records, whose timestamps are not in order.
fn several(codec: Compression, n: i64, now: i64) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for m in 0..1 + n % 4 {
        let key = format!("key {n} {m}");
        let value = vec![b'a' + (n % 26) as u8; (n * 37 % 700) as usize];
        let at = now + n * 10 - (m * 7 + n % 3 * 40);
        builder.push(at, Some(key.as_bytes()), Some(&value));
    }
    builder.build()
}

/// A batch of an idempotent producer with a producer id that the test chose.
fn from_producer(id: i64, epoch: i16, sequence: i32, at: i64, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::default().producer(CHOSEN + id, epoch, sequence);
    builder.push(at, Some(b"a"), Some(value));
    builder.push(at + 1, Some(b"b"), Some(b"2"));
    builder.build()
}

/// Transactions of two producers that overlap; some are aborted. Markers get different timestamps, later than those of the
/// records.
fn transactions(broker: &mut Broker, topic: &str, now: i64, value: &str) -> Result<()> {
    let address = broker.address.clone();
    let mut first = Transactional::open(&address, &format!("{topic}-1"), LONG)?;
    let mut second = Transactional::open(&address, &format!("{topic}-2"), LONG)?;
    (first.key, second.key) = (Some("first".into()), Some("second".into()));
    let end = |broker: &mut Broker, producer: &mut Transactional, commit| -> Result<()> {
        sleep(TICK);
        producer.end(commit)?;
        // The marker must be written before a record of the other producer can follow it.
        broker.await_no_transaction(topic, producer.producer_id)
    };
    for round in 0..6 {
        // Long before any marker.
        first.timestamp = now - DAY + round * 1_000;
        second.timestamp = first.timestamp + 500;
        first.send_many(topic, 0, value, 2)?;
        second.send(topic, 0, value)?;
        end(broker, &mut first, round % 2 == 0)?;
        second.send(topic, 0, value)?;
        broker.put(topic, first.timestamp, KEY, Some(KEY))?;
        end(broker, &mut second, round % 3 == 0)?;
    }
    Ok(())
}

fn recompressed(broker: &mut Broker, topic: &str, now: i64) -> Result<()> {
    (0..30).try_for_each(|n| broker.produce(topic, several(CODECS[n as usize % 5], n, now)))
}

/// Appends some more records, few enough that no log is rolled.
pub fn more(broker: &mut Broker, topic: &str, now: i64) -> Result<()> {
    for n in 0..4 {
        let sequence = 100 + 2 * n;
        let at = now + i64::from(n);
        if topic == "stamped" {
            sleep(TICK);
        }
        broker.produce(topic, from_producer(9, 0, sequence, at, KEY))?;
        if topic == "stamped" {
            sleep(TICK);
        }
        broker.put(topic, at, KEY, Some(KEY))?;
    }
    Ok(())
}

/// Topics whose batches the broker compresses.
pub const REWRITTEN: &[&str] = &["to-gzip", "to-snappy", "to-lz4", "to-zstd"];

pub const TALES: &[Scene] = &[
    Scene {
        name: "untouched",
        settings: &[],
        tell: |_, _| Ok(()),
        settled: |seen| seen.end == 0,
    },
    Scene {
        name: "indexed",
        settings: &[
            ("index.interval.bytes", "500"),
            ("segment.bytes", "1048576"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| {
            for n in 0..120 {
                broker.produce("indexed", several(CODECS[n as usize % 5], n, now))?;
                if n % 12 == 0 {
                    broker.put("indexed", now + n * 10, KEY, Some(KILOBYTES))?;
                }
            }
            Ok(())
        },
        settled: |seen| seen.segments.len() == 2,
    },
    Scene {
        name: "full-indexes",
        settings: &[
            ("segment.index.bytes", "100"),
            ("index.interval.bytes", "100"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| {
            (0..60).try_for_each(|n| broker.produce("full-indexes", several(CODECS[0], n, now)))
        },
        settled: |seen| seen.segments.len() > 2,
    },
    Scene {
        name: "producers",
        settings: &[
            ("segment.bytes", "1048576"),
            ("index.interval.bytes", "0"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| {
            let topic = "producers";
            for n in 0..6 {
                for id in [1, 5, 3] {
                    let (epoch, sequence) = if id == 3 { (n as i16, 0) } else { (0, n * 2) };
                    let value = if id == 5 { KILOBYTES } else { KEY };
                    let at = now + i64::from(n) * 100 + id;
                    broker.produce(topic, from_producer(id, epoch, sequence, at, value))?;
                }
            }
            // A record without a producer id.
            broker.put(topic, now, KEY, Some(KEY))
        },
        settled: |seen| seen.segments.len() == 2,
    },
    Scene {
        name: "transactions",
        settings: &[
            ("segment.index.bytes", "64"),
            ("index.interval.bytes", "0"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| transactions(broker, "transactions", now, "v"),
        settled: |seen| seen.end > 0,
    },
    Scene {
        name: "deleted-transactions",
        settings: &[("retention.ms", "-1"), ("segment.bytes", "1048576")],
        tell: |broker, now| {
            let topic = "deleted-transactions";
            let value = String::from_utf8_lossy(&KILOBYTES[..90_000]).into_owned();
            transactions(broker, topic, now, &value)?;
            broker.delete_before(topic, 17)
        },
        settled: |seen| seen.start == 17,
    },
    Scene {
        name: "all-deleted",
        settings: &[("segment.bytes", "1048576"), ("retention.ms", "-1")],
        tell: |broker, now| {
            let topic = "all-deleted";
            for n in 0..8 {
                let at = now + i64::from(n);
                broker.produce(topic, from_producer(1, 0, n * 2, at, KILOBYTES))?;
            }
            broker.delete_before(topic, -1)
        },
        settled: |seen| seen.start == 16,
    },
    Scene {
        name: "stamped",
        settings: &[
            ("message.timestamp.type", "LogAppendTime"),
            ("index.interval.bytes", "100"),
            ("retention.ms", "-1"),
        ],
        tell: |broker, now| {
            for n in 0..8 {
                sleep(TICK);
                broker.produce("stamped", several(CODECS[n as usize % 5], n, now))?;
            }
            Ok(())
        },
        settled: |seen| seen.end == 20,
    },
    Scene {
        name: "of-long-ago",
        settings: &[("retention.ms", "-1"), ("index.interval.bytes", "0")],
        tell: |broker, _| {
            for at in [0, 1, 0, 999, 1_000_000_000_000, 5] {
                broker.produce("of-long-ago", batch(Compression::None, at, KEY, Some(KEY)))?;
            }
            Ok(())
        },
        settled: |seen| seen.end == 6,
    },
    Scene {
        name: "flushed",
        settings: &[("flush.messages", "1"), ("flush.ms", "1000")],
        tell: |broker, now| (0..5).try_for_each(|n| broker.put("flushed", now + n, KEY, Some(KEY))),
        settled: |seen| seen.end == 5,
    },
    Scene {
        name: "to-plain",
        settings: &[("compression.type", "uncompressed")],
        tell: |broker, now| recompressed(broker, "to-plain", now),
        settled: |seen| seen.end > 0,
    },
    Scene {
        name: "to-gzip",
        settings: &[("compression.type", "gzip")],
        tell: |broker, now| recompressed(broker, "to-gzip", now),
        settled: |seen| seen.end > 0,
    },
    Scene {
        name: "to-snappy",
        settings: &[("compression.type", "snappy")],
        tell: |broker, now| recompressed(broker, "to-snappy", now),
        settled: |seen| seen.end > 0,
    },
    Scene {
        name: "to-lz4",
        settings: &[("compression.type", "lz4")],
        tell: |broker, now| recompressed(broker, "to-lz4", now),
        settled: |seen| seen.end > 0,
    },
    Scene {
        name: "to-zstd",
        settings: &[("compression.type", "zstd")],
        tell: |broker, now| recompressed(broker, "to-zstd", now),
        settled: |seen| seen.end > 0,
    },
    Scene {
        name: "compacted-producers",
        settings: &[
            ("retention.ms", "-1"),
            ("segment.ms", "10000"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("index.interval.bytes", "100"),
        ],
        tell: |broker, now| {
            let topic = "compacted-producers";
            for n in 0..12 {
                let at = now + i64::from(n) * 4_000;
                for id in [1, 2] {
                    broker.produce(topic, from_producer(id, 0, n * 2, at, KEY))?;
                }
                broker.put(topic, at, format!("gone {}", n % 3).as_bytes(), None)?;
            }
            // The cleaner never compacts the active segment.
            broker.put(topic, now + 90_000, b"last", Some(b"1"))?;
            broker.configure(topic, "cleanup.policy", "compact")
        },
        settled: |seen| seen.records.len() < 14,
    },
    Scene {
        name: "compacted-transactions",
        settings: &[
            ("retention.ms", "-1"),
            ("segment.index.bytes", "64"),
            ("index.interval.bytes", "0"),
            ("min.cleanable.dirty.ratio", "0.01"),
        ],
        tell: |broker, now| {
            let topic = "compacted-transactions";
            transactions(broker, topic, now, "v")?;
            broker.put(topic, now + 60_000, b"last", Some(b"1"))?;
            broker.configure(topic, "cleanup.policy", "compact")
        },
        settled: |seen| seen.records.len() < 25,
    },
];
