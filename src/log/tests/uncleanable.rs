//! Logs that compaction must refuse, because they violate the formats. They stay unchanged, and other logs are compacted.

use super::ageing::{bases, compacted, put};
use super::*;
use crate::host::Host;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::wire::batch::header::{self, BatchHeader};

const FAR: Offset = 1 << 40;

/// A wrapper whose own offset may differ from that of its last message.
fn wrapper(magic: i8, inner: &[Offset], own: Offset) -> Vec<u8> {
    // Inner offsets are written unchanged, even if the format requires relative ones.
    let mut plain = Vec::new();
    for offset in inner {
        let mut one = SetBuilder::new(magic, Compression::None, false);
        one.push(*offset, NOW, Some(&offset.to_be_bytes()), Some(b"v"));
        plain.extend(one.build());
    }
    let packed = Compression::Gzip
        .compress(&plain, Default::default())
        .unwrap();
    let mut outer = SetBuilder::new(magic, Compression::None, false);
    outer.push(own, NOW, None, Some(&packed));
    let mut outer = outer.build();
    outer[17] |= Compression::Gzip.id();
    let crc = crc32fast::hash(&outer[16..]);
    outer[12..16].copy_from_slice(&crc.to_be_bytes());
    outer
}

/// A batch at offset 10 whose records have these offset deltas; `change` can modify the header.
fn batch_of(deltas: &[i32], change: fn(&mut [u8])) -> Vec<u8> {
    let mut builder = BatchBuilder::default().at(10, 0).producer(7, 0, 0);
    for delta in deltas {
        let key = format!("k{delta}");
        builder.push_with_headers(
            *delta,
            NOW,
            Some(key.as_bytes()),
            Some(b"v"),
            [].into_iter(),
        );
    }
    changed(&builder, change)
}

fn changed(builder: &BatchBuilder, change: fn(&mut [u8])) -> Vec<u8> {
    let mut batch = builder.clone().build().to_vec();
    change(&mut batch);
    header::seal(&mut batch);
    batch
}

/// Files of a first segment that ends before offset `FAR + 100`.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    let mut marker = BatchBuilder::default().producer(7, 0, -1).transactional();
    marker = marker.control();
    marker.push(NOW, Some(&[0, 0, 0, 1]), Some(&[0; 6]));
    for magic in [0, 1] {
        found.extend([
            ("too far apart", wrapper(magic, &[0, FAR], FAR)),
            ("just too far apart", wrapper(magic, &[0, 1 << 31], 1 << 31)),
            ("back", wrapper(magic, &[9, 5, 12], 12)),
            ("twice", wrapper(magic, &[12, 12], 12)),
            ("negative", wrapper(magic, &[-3, 12], 12)),
            (
                "at the end of all numbers",
                wrapper(magic, &[5, i64::MAX], 12),
            ),
            ("from there on", wrapper(magic, &[i64::MIN, 12], 12)),
        ]);
    }
    found.extend([
        (
            "behind what came before",
            [wrapper(0, &[11, 12], 12), wrapper(0, &[3, 20], 20)].concat(),
        ),
        ("beyond its wrapper", wrapper(0, &[5, 30], 12)),
        ("records back", batch_of(&[3, 1, 5], |_| ())),
        ("records twice", batch_of(&[3, 3, 5], |_| ())),
        ("before their batch", batch_of(&[-11, 5], |_| ())),
        ("far before their batch", batch_of(&[i32::MIN, 5], |_| ())),
        (
            "behind their batch",
            batch_of(&[0, 5], |batch| {
                batch[23..27].copy_from_slice(&2_i32.to_be_bytes())
            }),
        ),
        (
            "fewer than they say",
            batch_of(&[0, 5], |batch| {
                batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes())
            }),
        ),
        (
            "a marker of many",
            changed(&marker, |batch| {
                batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
            }),
        ),
    ]);
    found
}

/// A log whose first segment is `file`, followed by the active segment.
fn log_of(dir: &Path, file: &[u8]) -> PartitionLog {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(file_name(0, ".log")), file).unwrap();
    fs::write(dir.join(file_name(FAR + 100, ".log")), b"").unwrap();
    reopen(dir, compacted(), true, FAR + 100)
}

#[test]
fn what_nobody_writes_is_left_as_it_is() {
    for (what, file) in hostile() {
        let root = tempfile::tempdir().unwrap();
        let log = log_of(root.path(), &file);
        // A start splits segments with offsets that are too far apart.
        let data = || {
            bases(root.path())
                .into_iter()
                .map(|base| fs::read(root.path().join(file_name(base, ".log"))).unwrap())
                .collect::<Vec<_>>()
        };
        let before = (bases(root.path()), data());
        assert_eq!(before.1.concat(), file, "{what}");
        let error = log.compact(0, &Budget::of(1 << 16), NOW).expect_err(what);
        assert!(error.to_string().contains(".log"), "{what}: {error}");
        assert_eq!((bases(root.path()), data()), before, "{what}");
        let names = fs::read_dir(root.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(!names.any(|name| name.ends_with(".cleaned")), "{what}");
    }
}

#[test]
fn what_may_be_odd_and_is_right_is_compacted() {
    let whole = [
        wrapper(0, &[3, 9, 12], 12),
        wrapper(1, &[0, 5, 6], 20),
        wrapper(1, &[0], i64::from(i32::MAX)),
    ];
    let root = tempfile::tempdir().unwrap();
    let log = log_of(root.path(), &whole.concat());
    let next = log.compact(0, &Budget::of(1 << 16), NOW).unwrap();
    assert_eq!(next, Some(FAR + 100));
    let left = fs::read(root.path().join(file_name(0, ".log"))).unwrap();
    let (mut rest, mut found) = (&left[..], Vec::new());
    while let Ok(header) = BatchHeader::parse(rest) {
        found.push((header.base_offset, header.last_offset()));
        rest = &rest[header.size()..];
    }
    let most = i64::from(i32::MAX);
    assert_eq!(found, [(3, 12), (19, 20), (most, most)]);
}

/// Apache Kafka's cleaner fails here. A reader must be able to reach the end of the log.
#[test]
fn old_messages_of_which_nothing_stays_leave_the_end_of_the_log_where_it_was() {
    for (magic, codec) in [
        (0, Compression::None),
        (0, Compression::Gzip),
        (1, Compression::Gzip),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mut parts = Vec::new();
        for (offset, key) in [(3, Some(&b"k"[..])), (9, None), (12, None)] {
            let mut set = SetBuilder::new(magic, codec, false);
            set.push(offset, NOW, key, Some(b"v"));
            parts.extend(set.build());
        }
        fs::write(root.path().join(file_name(0, ".log")), parts).unwrap();
        fs::write(root.path().join(file_name(13, ".log")), b"").unwrap();
        let log = reopen(root.path(), compacted(), true, 13);
        assert_eq!(log.compact(0, &Budget::of(1 << 16), NOW).unwrap(), Some(13));
        assert_eq!(read(&log, 3, 1_000), [3, 12], "v{magic}");
        assert_eq!(read(&log, 12, 1_000), [12]);
        log.close().unwrap();
        drop(log);
        let log = reopen(root.path(), compacted(), false, 0);
        assert_eq!(
            (read(&log, 4, 1_000), log.reader().log_end()),
            (vec![12], 13)
        );
        // When other segments follow, the batch at offset 12 is not kept any more.
        while log.reader().segment_count() < 4 {
            put(&log, NOW, &[("k", Some("a newer value"))]);
        }
        log.high_watermark().set(log.reader().log_end());
        log.compact(0, &Budget::of(1 << 16), NOW).unwrap();
        assert!(read(&log, 0, 1_000)[0] > 12);
    }
}

/// As in Kafka, such a log is not compacted again until the next start, and does not block other logs.
#[test]
fn one_that_cannot_be_compacted_does_not_keep_the_others_waiting() {
    let root = tempfile::tempdir().unwrap();
    let open = || {
        let dirs = vec![(root.path().to_owned(), Ok(Uuid([9; 16])))];
        let manager = LogManager::open(&Host::default(), dirs, ManagerSettings::default()).unwrap();
        manager.load(1, &|_| compacted(), NOW).unwrap();
        manager
    };
    let dirty = |manager: &LogManager, index: i32| {
        let log = manager.get(&TopicPartition::new("t", index)).unwrap();
        for n in 0..40 {
            put(&log, 500 + n, &[("k", Some("value"))]);
        }
        log.high_watermark().set(log.reader().log_end());
        log
    };
    let manager = open();
    for index in 0..5 {
        let partition = TopicPartition::new("t", index);
        let id = Uuid([1; 16]);
        let made = manager.get_or_create(&partition, id, id, &compacted(), NOW);
        made.unwrap();
        dirty(&manager, index);
    }
    manager.close(1, -1);
    drop(manager);
    let path = root.path().join("t-2").join(file_name(0, ".log"));
    let whole = fs::read(&path).unwrap();
    let mut broken = whole.clone();
    broken[70] ^= 1;
    fs::write(&path, &broken).unwrap();

    let manager = open();
    let budget = Budget::of(1 << 16);
    assert!(manager.compact(&budget, NOW));
    assert_eq!(manager.uncleanable(), [TopicPartition::new("t", 2)]);
    let size = |manager: &LogManager, index: i32| {
        let log = manager.get(&TopicPartition::new("t", index)).unwrap();
        log.reader().size()
    };
    let compacted_to = [0, 1, 2, 3, 4].map(|index| size(&manager, index));
    let [first, _, refused, ..] = compacted_to;
    assert_eq!(compacted_to, [first, first, refused, first, first]);
    assert!(first < refused / 2, "{compacted_to:?}");
    // The log is not tried again even after its repair, and other logs are compacted.
    fs::write(&path, &whole).unwrap();
    dirty(&manager, 4);
    assert!(manager.compact(&budget, NOW));
    assert!(!manager.compact(&budget, NOW));
    assert_eq!(size(&manager, 2), refused);
    manager.close(1, -1);
    drop(manager);

    let manager = open();
    assert!(manager.uncleanable().is_empty());
    assert!(manager.compact(&budget, NOW));
    assert_eq!(size(&manager, 2), first);
    assert!(manager.uncleanable().is_empty());
}
