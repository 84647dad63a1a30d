//! Identifiers used across modules, under Kafka's own names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Id of a node, unique among brokers and controllers (`node.id`).
pub type BrokerId = i32;
/// A position in a partition's log.
pub type Offset = i64;
/// Epoch of a partition's leader, incremented with each change of the leader; -1 if unknown.
pub type LeaderEpoch = i32;
/// Epoch of a partition's metadata, incremented with each change of leader, in-sync replicas or replicas.
pub type PartitionEpoch = i32;
/// Epoch of a broker's registration with the controller, which rises with each registration; -1 if unknown.
pub type BrokerEpoch = i64;
/// Id of a producer. The controller hands out ids in blocks; -1 for a producer that is not idempotent.
pub type ProducerId = i64;
/// Epoch of a producer id, incremented to fence earlier instances of a producer; -1 if there is none.
pub type ProducerEpoch = i16;
/// Number of a partition within its topic.
pub type PartitionIndex = i32;

/// Kafka's `Uuid`: 16 bytes whose text form is URL-safe base64 without padding, 22 characters.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// "No id": value on the wire where an id is unknown.
    pub const ZERO: Self = Self([0; 16]);
    /// The reserved id of `__cluster_metadata`.
    pub const METADATA_TOPIC: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Reserved id for a replica whose log directory is not known yet.
    pub const UNASSIGNED_DIR: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A version 4 UUID of 16 random bytes. `None` for the rare values whose text starts with `-`, which command-line tools
    /// would take for an option.
    pub fn from_random_bytes(mut bytes: [u8; 16]) -> Option<Self> {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let id = Self(bytes);
        (!id.to_string().starts_with('-')).then_some(id)
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not a [`Uuid`].
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not an id: expected 22 characters of URL-safe base64")]
pub struct InvalidUuid(String);

impl FromStr for Uuid {
    type Err = InvalidUuid;

    fn from_str(text: &str) -> Result<Self, InvalidUuid> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidUuid(text.to_owned()))?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| InvalidUuid(text.to_owned()))
    }
}

/// Partition of a named topic. Clones share the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionIndex) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_what_kafka_prints() {
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(
            "AAAAAAAAAAAAAAAAAAAAAQ".parse::<Uuid>().unwrap(),
            Uuid::METADATA_TOPIC
        );
        assert!("AAAA".parse::<Uuid>().is_err());
    }

    #[test]
    fn random_uuids_never_start_like_an_option() {
        assert!(Uuid::from_random_bytes([0xff; 16]).is_some());
        assert_eq!(Uuid::from_random_bytes([0xf8; 16]), None);
    }
}
