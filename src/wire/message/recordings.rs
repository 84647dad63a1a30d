//! Test-only: messages that Apache Kafka's Java classes encoded, for every message and version. Each must decode here and
//! encode to the same bytes. `compat-tests/clients/java-recordings` makes the file.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Message;
use crate::every_api;
use crate::wire::codec::{Reader, Writer};

static MESSAGES: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/compat-tests/recordings/wire/messages.zst"
));
static RECORDS: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/compat-tests/recordings/wire/records.zst"
));

/// Kinds of recordings.
const REQUEST: u8 = 0;
const RESPONSE: u8 = 1;
pub const METADATA_RECORD: u8 = 2;
pub const GROUP_KEY: u8 = 3;
pub const GROUP_VALUE: u8 = 4;
pub const TRANSACTION_KEY: u8 = 5;
pub const TRANSACTION_VALUE: u8 = 6;

/// A message, or a key or value of a record, that Apache Kafka encoded.
pub struct Recording {
    /// Key of the API, or number of the record's type.
    pub key: i16,
    pub of: u8,
    pub version: i16,
    pub bytes: Bytes,
}

/// Recordings of kind `of`, from the internal topics `__consumer_offsets`, `__transaction_state` and `__cluster_metadata`.
pub fn records(of: u8) -> Vec<Recording> {
    let mut records = recordings(RECORDS);
    records.retain(|recording| recording.of == of);
    records
}

fn recordings(compressed: &[u8]) -> Vec<Recording> {
    let all = Bytes::from(zstd::decode_all(compressed).unwrap());
    let mut reader = Reader::new(all);
    let mut found = Vec::new();
    while reader.remaining() > 0 {
        found.push(Recording {
            key: reader.i16().unwrap(),
            of: reader.u8().unwrap(),
            version: reader.i16().unwrap(),
            bytes: {
                let len = reader.i32().unwrap();
                reader.take(len as usize).unwrap()
            },
        });
    }
    found
}

/// Difference between our decoding and encoding of `bytes` and Apache Kafka's; `None` if there is none.
pub fn fault<M: Message + std::fmt::Debug>(version: i16, bytes: &Bytes) -> Option<String> {
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
            match (recording.key, recording.of) {
                $(
                    ($key, REQUEST) => fault::<$module::[<$name Request>]>(*version, bytes),
                    ($key, RESPONSE) => fault::<$module::[<$name Response>]>(*version, bytes),
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
    let recordings = recordings(MESSAGES);
    for recording in &recordings {
        if let Some(fault) = fault_of(recording) {
            let place = (recording.key, recording.of, recording.version);
            faults.entry(place).or_insert(fault);
        }
    }
    assert!(recordings.len() > 4_000, "{}", recordings.len());
    assert!(faults.is_empty(), "{faults:#?}");
}
