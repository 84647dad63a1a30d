//! pure: the partition of an internal topic that keeps a name. It is derived from Java's string hash, so that all brokers
//! agree.

use crate::base::ids::PartitionIndex;

/// Java's `String.hashCode`, which hashes UTF-16 units and not bytes.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// The partition of a name among `partitions`. Kafka: `Utils.abs(hash) % n`, where the absolute value of the smallest integer
/// is 0.
pub fn partition_of(name: &str, partitions: i32) -> PartitionIndex {
    let hash = java_hash(name);
    let magnitude = if hash == i32::MIN { 0 } else { hash.abs() };
    magnitude % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_land_where_kafka_puts_them() {
        for (name, hash, partition) in [
            ("test", 3_556_498, 48),
            ("my-group", -1_906_497_762, 12),
            ("console-consumer-1", 35_782_224, 24),
            ("group", 98_629_247, 47),
            ("polygenelubricants", i32::MIN, 0),
            ("😀", 1_772_899, 49),
            ("", 0, 0),
        ] {
            assert_eq!(
                (java_hash(name), partition_of(name, 50)),
                (hash, partition),
                "{name}"
            );
        }
    }
}
