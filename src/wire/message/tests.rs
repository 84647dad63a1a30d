//! Tests of the schemas, over every API and version: an encoded message decodes to the same message, and no input does harm.

use bytes::Bytes;

use super::arbitrary::{Arbitrary, Dice};
use super::{Message, Request};
use crate::every_api;
use crate::wire::codec::{Layout, Reader, Writer};

/// Number of messages per version and type.
const ROUNDS: u64 = 12;

fn round_trip<M: Message + Arbitrary + PartialEq + std::fmt::Debug>() {
    for version in M::VERSIONS {
        for seed in 0..ROUNDS {
            let layout = Layout::new(version, M::is_flexible(version));
            let message = M::arbitrary(&mut Dice::new(seed), layout);
            let mut writer = Writer::default();
            message
                .write(&mut writer, version)
                .unwrap_or_else(|error| panic!("{} v{version} seed {seed}: {error}", M::NAME));
            let mut reader = Reader::new(writer.into_bytes());
            let again = M::read(&mut reader, version)
                .unwrap_or_else(|error| panic!("{} v{version} seed {seed}: {error}", M::NAME));
            assert_eq!(again, message, "{} v{version} seed {seed}", M::NAME);
            reader
                .finish()
                .unwrap_or_else(|error| panic!("{} v{version} seed {seed}: {error}", M::NAME));
        }
    }
}

macro_rules! round_trip_every_api {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        $(
            #[test]
            fn [<$module _survives_the_wire>]() {
                use crate::wire::message::$module::{[<$name Request>], [<$name Response>]};
                assert_eq!([<$name Request>]::KEY, $key);
                round_trip::<[<$name Request>]>();
                round_trip::<[<$name Response>]>();
            }
        )*
    } };
}

every_api!(round_trip_every_api);

#[test]
fn a_count_beyond_the_frame_is_refused_before_memory_is_taken() {
    let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0]));
    assert!(super::metadata::MetadataRequest::read(&mut reader, 1).is_err());
}
