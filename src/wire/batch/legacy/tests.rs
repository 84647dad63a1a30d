//! Tests of the old formats: a built set is read back, and conversion keeps offsets, timestamps, keys and values.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wire::batch::builder::BatchBuilder;

const LIMIT: usize = 1 << 20;
const CODECS: [Compression; 4] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
];

type Plain = (Offset, Timestamp, Option<Vec<u8>>, Option<Vec<u8>>);

fn read_all(set: &[u8]) -> Result<Vec<Plain>, BatchError> {
    let mut rest = set;
    let mut all = Vec::new();
    while !rest.is_empty() {
        read_message(&mut rest)?.each_record(LIMIT, |record| {
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            all.push((
                record.offset,
                record.timestamp,
                own(record.key),
                own(record.value),
            ));
            Ok::<(), BatchError>(())
        })?;
    }
    Ok(all)
}

fn some_records() -> impl Strategy<Value = Vec<Plain>> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec((1..5_i64, 0..10_000_i64, bytes(), bytes()), 1..20).prop_map(|list| {
        let mut offset = 1_000;
        list.into_iter()
            .map(|(step, timestamp, key, value)| {
                offset += step;
                (offset, timestamp, key, value)
            })
            .collect()
    })
}

fn set_of(records: &[Plain], magic: i8, codec: Compression) -> Vec<u8> {
    let mut set = SetBuilder::new(magic, codec, false);
    for (offset, timestamp, key, value) in records {
        set.push(*offset, *timestamp, key.as_deref(), value.as_deref());
    }
    set.build()
}

fn batch_of(records: &[Plain], codec: Compression) -> Bytes {
    let base = records[0].0;
    let mut batch = BatchBuilder::new(codec).at(base, 3);
    for (offset, timestamp, key, value) in records {
        let header = [(&b"h"[..], Some(&b"lost"[..]))];
        let delta = (*offset - base) as i32;
        batch.push_with_headers(
            delta,
            *timestamp,
            key.as_deref(),
            value.as_deref(),
            header.into_iter(),
        );
    }
    batch.build()
}

fn as_seen(records: &[Plain], magic: i8) -> Vec<Plain> {
    let mut seen = records.to_vec();
    if magic == MAGIC_V0 {
        seen.iter_mut().for_each(|record| record.1 = -1);
    }
    seen
}

fn how(magic: i8, from: Offset) -> Downgrade {
    Downgrade {
        magic,
        from,
        enough: usize::MAX,
        decompressed_max: LIMIT,
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read_again(records in some_records(), magic in 0..=1_i8, codec in 0..4_usize) {
        let set = set_of(&records, magic, CODECS[codec]);
        prop_assert_eq!(read_all(&set).unwrap(), as_seen(&records, magic));
    }

    #[test]
    fn the_way_down_keeps_what_the_format_can_say(
        records in some_records(), magic in 0..=1_i8, codec in 0..4_usize,
    ) {
        let batch = batch_of(&records, CODECS[codec]);
        let set = downgrade(&batch, how(magic, 0)).unwrap();
        prop_assert_eq!(read_all(&set).unwrap(), as_seen(&records, magic));
        let older = downgrade(&Bytes::from(set), how(0, 0)).unwrap();
        prop_assert_eq!(read_all(&older).unwrap(), as_seen(&records, 0));
    }

    #[test]
    fn damage_does_no_harm(
        records in some_records(), magic in 0..=1_i8, codec in 0..4_usize,
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let good = set_of(&records, magic, CODECS[codec]);
        let mut bad = good.clone();
        let at = at.index(bad.len());
        bad[at] = byte;
        // Only the offset and the size are outside of the checksum.
        if at >= OVERHEAD && bad != good {
            prop_assert_ne!(read_all(&bad).ok(), read_all(&good).ok());
        }
        let _ = downgrade(&Bytes::from(bad.clone()), how(0, 0));
        bad.truncate(cut.index(bad.len()));
        let _ = read_all(&bad);
        let _ = downgrade(&Bytes::from(bad), how(0, 0));
    }
}

#[test]
fn uncompressed_records_before_the_asked_offset_are_left_out() {
    let records: Vec<Plain> = (5..10)
        .map(|at| (at, 7, None, Some(vec![at as u8])))
        .collect();
    let offsets = |codec, from| {
        let set = downgrade(&batch_of(&records, codec), how(1, from)).unwrap();
        read_all(&set)
            .unwrap()
            .iter()
            .map(|record| record.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(offsets(Compression::None, 8), [8, 9]);
    assert_eq!(offsets(Compression::Gzip, 8), [5, 6, 7, 8, 9]);
}

#[test]
fn what_an_old_client_cannot_know_is_left_out_or_refused() {
    let marker = {
        let mut batch = BatchBuilder::default()
            .control()
            .transactional()
            .producer(1, 0, -1);
        batch.push(1, Some(&[0, 0, 0, 1]), Some(&[0; 6]));
        batch.build()
    };
    assert_eq!(downgrade(&marker, how(1, 0)).unwrap(), b"");
    let zstd = batch_of(&[(0, 1, None, None)], Compression::Zstd);
    assert_eq!(
        downgrade(&zstd, how(1, 0)),
        Err(BatchError::CompressionKind(4))
    );
    // Valid batches before it are converted; the next request begins with the zstd batch and fails.
    let good = batch_of(&[(0, 1, None, None)], Compression::None);
    let both = Bytes::from([&good[..], &zstd].concat());
    assert_eq!(
        read_all(&downgrade(&both, how(1, 0)).unwrap())
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn the_broken_lz4_checksum_of_v0_is_written_and_read() {
    let records = [(3, -1, None, Some(vec![1; 500]))];
    let set = set_of(&records, MAGIC_V0, Compression::Lz4);
    let wrapper = read_message(&mut &set[..]).unwrap();
    let packed = wrapper.value.unwrap();
    assert_ne!(lz4_frame::mend_checksum(packed), packed);
    assert!(Compression::Lz4.decompress(packed, LIMIT).is_err());
    assert_eq!(read_all(&set).unwrap().len(), 1);
}

#[test]
fn a_bomb_in_a_wrapper_stops_at_the_ceiling() {
    let set = set_of(
        &[(0, 1, None, Some(vec![0; 3 << 20]))],
        MAGIC_V1,
        Compression::Gzip,
    );
    assert_eq!(read_all(&set), Err(BatchError::DecompressedTooLarge(LIMIT)));
}

#[test]
fn a_record_is_found_where_a_walk_finds_it() {
    for (name, segment) in recordings::SEGMENTS {
        let mut rest = segment;
        while !rest.is_empty() {
            let message = read_message(&mut rest).unwrap();
            let mut all = Vec::new();
            let each = message.each_record(LIMIT, |record| {
                all.push((record.offset, record.timestamp));
                Ok::<(), BatchError>(())
            });
            each.unwrap();
            for &(offset, timestamp) in &all {
                let wanted = |at, time| at >= offset && time >= timestamp;
                let first = all.iter().find(|(at, time)| wanted(*at, *time));
                let found = message.find_record(LIMIT, wanted, |_| Ok(()));
                assert_eq!(found, Ok(first.copied()), "{name}, {offset}");
            }
            let none = message.find_record(LIMIT, |_, _| false, |_| Ok(()));
            assert_eq!(none, Ok(None), "{name}");
        }
    }
}

#[test]
fn no_more_is_unpacked_than_finding_a_record_takes() {
    let large = vec![0; 300 << 10];
    let records: Vec<Plain> = (0..3)
        .map(|at| (at, 5, None, Some(large.clone())))
        .collect();
    for (magic, all) in [(MAGIC_V0, 0), (MAGIC_V1, 900 << 10)] {
        let set = set_of(&records, magic, Compression::Gzip);
        let message = read_message(&mut &set[..]).unwrap();
        let mut unpacked = 0;
        let count = |bytes| {
            unpacked += bytes;
            Ok(())
        };
        // Offsets in a v0 wrapper are absolute; those in a v1 wrapper are known only after its end was read.
        let found = message.find_record(LIMIT, |at, _| at == 0, count);
        assert_eq!(found.unwrap().unwrap().0, 0);
        let expected = all + (300 << 10)..all + (400 << 10);
        assert!(expected.contains(&unpacked), "{magic}: {unpacked}");
        let ended = message.find_record(
            LIMIT,
            |_, _| false,
            |_| Err(std::io::Error::other("enough")),
        );
        assert!(ended.is_err());
    }
}

proptest! {
    #[test]
    fn damage_hides_records_and_makes_none(
        records in some_records(), magic in 0..=1_i8, codec in 1..4_usize,
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        // The wrapper's checksum is valid, so the codec and the messages in it face arbitrary bytes.
        let set = set_of(&records, magic, CODECS[codec]);
        let good = read_message(&mut &set[..]).unwrap();
        let mut packed = good.value.unwrap().to_vec();
        let at = at.index(packed.len());
        packed[at] = byte;
        let bad = Message { value: Some(&packed), ..good };
        let mut seen = Vec::new();
        let walked = bad.each_record(LIMIT, |record| {
            seen.push((record.offset, record.timestamp));
            Ok::<(), BatchError>(())
        });
        let found = bad.find_record(LIMIT, |_, _| true, |_| Ok(()));
        if walked.is_ok() {
            prop_assert_eq!(found, Ok(seen.first().copied()));
        } else {
            prop_assert!(magic == MAGIC_V0 || !matches!(found, Ok(Some(_))));
        }
    }
}
