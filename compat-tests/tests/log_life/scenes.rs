//! Scenes for both brokers: rolling, retention and compaction of logs.

use anyhow::Result;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;

use super::broker::{Broker, KEY, Seen};

/// Requests for both brokers, and the condition under which their effects are complete.
pub struct Scene {
    pub name: &'static str,
    pub settings: &'static [(&'static str, &'static str)],
    /// `now` is the same for both brokers.
    pub tell: fn(&mut Broker, now: i64) -> Result<()>,
    pub settled: fn(&Seen) -> bool,
}

pub const DAY: i64 = 24 * 3_600_000;
pub const SIZED: &[u8] = &[b'v'; 300_000];

/// Scenes in which the number of the cleaner's passes depends on the brokers' speed, or in which the broker decides when a log
/// is rolled.
pub const SCENES_WITHOUT_BYTES: [&str; 5] = [
    "rolls-for-the-cleaner",
    "compacted",
    "compacted-and-old",
    "too-young-to-compact",
    "jitter-beyond-the-segment",
];

pub const SCENES: &[Scene] = &[
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
            // Without delete.retention.ms, which would make the result depend on the number of each broker's passes.
            ("min.cleanable.dirty.ratio", "0.01"),
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
            // The cleaner never compacts the active segment.
            broker.put(topic, now + 90_000, b"last", Some(b"1"))
        },
        settled: |seen| seen.records.len() < 60,
    },
    Scene {
        name: "compacted-and-old",
        settings: &[
            ("cleanup.policy", ""),
            ("segment.bytes", "1048576"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("retention.ms", "86400000"),
        ],
        tell: |broker, now| {
            // Segments so large that the cleaner does not merge any: a merged one would be as young as the youngest of them.
            for n in 0..13_i64 {
                let at = if n < 6 { now - 2 * DAY } else { now - DAY / 2 };
                let key = format!("k{}", n.min(11));
                broker.put("compacted-and-old", at, key.as_bytes(), Some(SIZED))?;
            }
            (0..4).try_for_each(|_| broker.put("compacted-and-old", now, b"last", Some(SIZED)))?;
            broker.configure("compacted-and-old", "cleanup.policy", "compact,delete")
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
