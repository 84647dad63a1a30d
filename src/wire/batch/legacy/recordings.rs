//! Test-only: segments that Apache Kafka 2.8 wrote in both old formats with every codec. `compat-tests/recordings/message-sets`
//! describes their content.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1 << 20;
pub(crate) const RECORDS: i64 = 300;

macro_rules! recording {
    ($($path:literal)+) => {
        [$(($path, include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/compat-tests/recordings/message-sets/",
            $path,
            ".log"
        )))),+]
    };
}

/// Segments, each with its format and codec, such as `v0/lz4`.
pub(crate) static SEGMENTS: [(&str, &[u8]); 8] = recording!(
    "v0/none" "v0/gzip" "v0/snappy" "v0/lz4" "v1/none" "v1/gzip" "v1/snappy" "v1/lz4"
);

/// Segments of partition 2 of `__consumer_offsets`, in both formats.
pub(crate) static OFFSETS: [(&str, &[u8]); 2] = recording!("v0/offsets-2" "v1/offsets-2");

type Row = (Offset, Timestamp, Vec<u8>, Vec<u8>);

/// The records before the first error.
fn rows(set: &[u8]) -> Vec<Row> {
    let mut rest = set;
    let mut all = Vec::new();
    while !rest.is_empty() {
        let Ok(message) = read_message(&mut rest) else {
            break;
        };
        let read = message.each_record(LIMIT, |record| {
            let own = |bytes: Option<&[u8]>| bytes.unwrap_or_default().to_vec();
            let (key, value) = (own(record.key), own(record.value));
            all.push((record.offset, record.timestamp, key, value));
            Ok::<(), BatchError>(())
        });
        if read.is_err() {
            break;
        }
    }
    all
}

#[test]
fn every_record_that_kafka_wrote_is_read() {
    for (name, segment) in SEGMENTS {
        let (format, codec) = name.split_once('/').unwrap();
        let read = rows(segment);
        assert_eq!(read.len() as i64, RECORDS, "{name}");
        for (index, (offset, timestamp, key, value)) in (0..).zip(&read) {
            assert_eq!(*offset, index, "{name}");
            assert_eq!(*timestamp > 1_700_000_000_000, format == "v1", "{name}");
            assert_eq!(String::from_utf8_lossy(key), format!("{codec}-{index}"));
            assert_eq!(key, value);
        }
        // Converted to format v0 for the oldest clients, the records are the same except for the timestamps.
        let how = Downgrade {
            magic: MAGIC_V0,
            from: 0,
            enough: LIMIT,
            decompressed_max: LIMIT,
        };
        let oldest = rows(&downgrade(&Bytes::from_static(segment), how).unwrap());
        assert!(
            oldest
                .iter()
                .map(|row| (row.0, &row.2))
                .eq(read.iter().map(|row| (row.0, &row.2)))
        );
        assert!(oldest.iter().all(|row| row.1 == -1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Damage causes no panic, and no keys or values that Kafka did not write. Only offsets and sizes are outside of the
    /// checksum.
    #[test]
    fn damage_gives_a_prefix_or_an_error(
        which in 0_usize..8,
        harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = SEGMENTS[which].1.to_vec();
        let whole = rows(&bytes);
        for (at, value) in &harm {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let read = rows(&bytes);
        let same = read.iter().zip(&whole).all(|(read, whole)| (&read.2, &read.3) == (&whole.2, &whole.3));
        prop_assert!(same && read.len() <= whole.len());
        let how = Downgrade { magic: MAGIC_V0, from: 0, enough: LIMIT, decompressed_max: LIMIT };
        drop(downgrade(&Bytes::from(bytes), how));
    }
}
