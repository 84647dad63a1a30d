//! pure: hash of the topics that a group's members subscribe to. A changed hash tells the group to compute a new assignment.
//! The hash equals Kafka's, so that a group needs no rebalance when its coordinator moves between Kafka and this broker
//! (KIP-1101).

use bytestring::ByteString;
use twox_hash::XxHash3_64;

use crate::metadata::image::{Image, Topic};

/// Kafka's version of the hash format ("magic byte"). It changes if Kafka changes what is hashed.
const FORMAT: u8 = 0;

/// Hash of the topics with these names, which must be sorted. Names without a topic are skipped; the hash of no topics is 0.
pub fn metadata_hash<'a>(names: impl IntoIterator<Item = &'a ByteString>, image: &Image) -> i64 {
    let mut bytes = Vec::new();
    for topic in names
        .into_iter()
        .filter_map(|name| image.topics.by_name(name))
    {
        bytes.extend(topic_hash(topic, image).to_le_bytes());
    }
    if bytes.is_empty() {
        return 0;
    }
    XxHash3_64::oneshot(&bytes).cast_signed()
}

fn topic_hash(topic: &Topic, image: &Image) -> u64 {
    let mut bytes = vec![FORMAT];
    let (high, low) = topic.id.0.split_at(8);
    // The id is hashed as two 64-bit numbers, each in little-endian order.
    bytes.extend(high.iter().rev());
    bytes.extend(low.iter().rev());
    put(&mut bytes, &topic.name);
    bytes.extend((topic.partitions.len() as i32).to_le_bytes());
    for (index, partition) in (0i32..).zip(&topic.partitions) {
        bytes.extend(index.to_le_bytes());
        let brokers = partition
            .replicas
            .iter()
            .filter_map(|id| image.brokers.get(id));
        let mut racks: Vec<&str> = brokers.filter_map(|one| one.rack.as_deref()).collect();
        racks.sort_unstable();
        for rack in racks {
            let length = rack.encode_utf16().count() as i32;
            bytes.extend(length.to_le_bytes());
            put(&mut bytes, rack);
        }
    }
    XxHash3_64::oneshot(&bytes)
}

/// Appends the UTF-16 units of a string, followed by their number, as hash4j does.
fn put(bytes: &mut Vec<u8>, text: &str) {
    let mut length = 0i32;
    for unit in text.encode_utf16() {
        bytes.extend(unit.to_le_bytes());
        length += 1;
    }
    bytes.extend(length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;
    use crate::metadata::image::Delta;
    use crate::metadata::record::Record;
    use crate::metadata::record::schema::{PartitionRecord, RegisterBrokerRecord, TopicRecord};

    /// Topic name, topic id, and the replicas of each partition.
    type Named<'a> = (&'a str, [u8; 16], &'a [&'a [i32]]);

    fn image(topics: &[Named<'_>]) -> Image {
        let mut image = Image::empty();
        let mut delta = Delta::default();
        let mut apply = |record: Record| image.apply(&record, 0, &mut delta);
        for (broker_id, rack) in [(1, "a"), (2, "b")] {
            apply(Record::RegisterBroker(RegisterBrokerRecord {
                broker_id,
                rack: Some(rack.into()),
                ..Default::default()
            }));
        }
        for (name, id, partitions) in topics {
            let topic_id = Uuid(*id);
            apply(Record::Topic(TopicRecord {
                name: (*name).into(),
                topic_id,
            }));
            for (partition_id, replicas) in (0..).zip(*partitions) {
                apply(Record::Partition(PartitionRecord {
                    partition_id,
                    topic_id,
                    replicas: replicas.to_vec(),
                    ..Default::default()
                }));
            }
        }
        image
    }

    /// The expected values were computed with hash4j 0.22, which Kafka uses.
    #[test]
    fn topics_and_groups_have_kafkas_numbers() {
        let one = u128::from_be_bytes;
        let t = 0x0102_0304_0506_0708_1112_1314_1516_1718u128.to_be_bytes();
        let orders = 0x0102_0304_0506_0708_2122_2324_2526_2728u128.to_be_bytes();
        assert_ne!(one(t), one(orders));
        // Broker 9 is not registered, so the replica has no rack.
        let nowhere: &[i32] = &[9];
        let image = image(&[
            ("t", t, &[nowhere; 3]),
            ("orders", orders, &[&[2, 1], &[2]]),
        ]);
        let number = |name: &str| topic_hash(image.topics.by_name(name).unwrap(), &image);
        assert_eq!(number("t"), 0xf828_0f85_110f_f641);
        assert_eq!(number("orders"), 0xd0b5_954d_6d1a_5320);
        let names: [ByteString; 3] = ["absent".into(), "orders".into(), "t".into()];
        let of_both = metadata_hash(&names, &image);
        assert_eq!(of_both.cast_unsigned(), 0xf312_7303_0408_81a6);
        assert_eq!(metadata_hash(&names[..1], &image), 0);
    }
}
