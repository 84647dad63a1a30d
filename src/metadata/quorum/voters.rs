//! pure: voters of the quorum, from control records in its log (KIP-853). A quorum with static voters has no such records.

use bytes::Bytes;

use crate::wire::codec::{DecodeError, Reader};
use crate::wire::message::Message as _;
use crate::wire::message::embedded::{KRaftVersionRecord, VotersRecord};

/// Types of the control records.
pub const KRAFT_VERSION: u8 = 5;
pub const VOTERS: u8 = 6;

/// Newest control records about voters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoterSet {
    pub kraft_version: Option<KRaftVersionRecord>,
    pub voters: Option<VotersRecord>,
}

impl VoterSet {
    /// Applies a control record.
    pub fn apply(&mut self, kind: u8, value: &Bytes) -> Result<(), DecodeError> {
        let mut reader = Reader::new(value.clone());
        match kind {
            KRAFT_VERSION => self.kraft_version = Some(KRaftVersionRecord::read(&mut reader, 0)?),
            VOTERS => self.voters = Some(VotersRecord::read(&mut reader, 0)?),
            _ => {}
        }
        Ok(())
    }

    /// Whether voters can be added and removed.
    pub fn is_dynamic(&self) -> bool {
        let version = self.kraft_version.as_ref();
        version.is_some_and(|version| version.k_raft_version > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::Writer;
    use crate::wire::message::embedded::VotersVoter;

    #[test]
    fn the_last_record_of_a_kind_counts() {
        let mut set = VoterSet::default();
        for id in [1, 2] {
            let record = VotersRecord {
                voters: vec![VotersVoter {
                    voter_id: id,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let mut writer = Writer::default();
            record.write(&mut writer, 0).unwrap();
            set.apply(VOTERS, &writer.into_bytes()).unwrap();
        }
        assert_eq!(set.voters.as_ref().unwrap().voters[0].voter_id, 2);
        assert!(!set.is_dynamic());
        let before = set.clone();
        assert!(set.apply(VOTERS, &Bytes::from_static(&[9])).is_err());
        set.apply(2, &Bytes::from_static(&[9])).unwrap();
        assert_eq!(set, before);
    }
}
