//! Test-only: what Apache Kafka's own Java classes wrote, for every message and version, must decode here and encode
//! to the same bytes. The file is made by `compat-tests/clients/java-recordings`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Message;
use crate::every_api;
use crate::wire::codec::{Reader, Writer};

static RECORDINGS: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/compat-tests/recordings/wire/messages.zst"
));

/// A message that Apache Kafka wrote.
struct Recording {
    key: i16,
    is_response: bool,
    version: i16,
    bytes: Bytes,
}

fn recordings() -> Vec<Recording> {
    let all = Bytes::from(zstd::decode_all(RECORDINGS).unwrap());
    let mut reader = Reader::new(all);
    let mut found = Vec::new();
    while reader.remaining() > 0 {
        found.push(Recording {
            key: reader.i16().unwrap(),
            is_response: reader.u8().unwrap() == 1,
            version: reader.i16().unwrap(),
            bytes: {
                let len = reader.i32().unwrap();
                reader.take(len as usize).unwrap()
            },
        });
    }
    found
}

/// What is wrong with how we read and write this, if anything.
fn fault<M: Message + std::fmt::Debug>(version: i16, bytes: &Bytes) -> Option<String> {
    let mut reader = Reader::new(bytes.clone());
    let message = match M::read(&mut reader, version) {
        Ok(message) => message,
        Err(error) => return Some(format!("{} v{version}: {error}", M::NAME)),
    };
    if let Err(error) = reader.finish() {
        return Some(format!("{} v{version}: {error}", M::NAME));
    }
    let mut writer = Writer::default();
    if let Err(error) = message.write(&mut writer, version) {
        return Some(format!("{} v{version}: {error}", M::NAME));
    }
    (writer.into_bytes() != bytes)
        .then(|| format!("{} v{version} became other bytes: {message:?}", M::NAME))
}

macro_rules! fault_by_key {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        fn fault_of(recording: &Recording) -> Option<String> {
            use crate::wire::message::*;
            let Recording { version, bytes, .. } = recording;
            match (recording.key, recording.is_response) {
                $(
                    ($key, false) => fault::<$module::[<$name Request>]>(*version, bytes),
                    ($key, true) => fault::<$module::[<$name Response>]>(*version, bytes),
                )*
                (key, _) => Some(format!("key {key} is unknown here")),
            }
        }
    } };
}

every_api!(fault_by_key);

#[test]
fn what_apache_kafka_wrote_comes_out_as_it_went_in() {
    let mut faults = BTreeMap::new();
    let recordings = recordings();
    for recording in &recordings {
        if let Some(fault) = fault_of(recording) {
            let place = (recording.key, recording.is_response, recording.version);
            faults.entry(place).or_insert(fault);
        }
    }
    assert!(recordings.len() > 4_000, "{}", recordings.len());
    assert!(faults.is_empty(), "{faults:#?}");
}
