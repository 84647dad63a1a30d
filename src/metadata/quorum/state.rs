//! `quorum-state`: epoch and leader of the quorum as this member knows them. Kafka's `QuorumStateData`. It is on disk before
//! the member acts in a new epoch, so the epoch of a member never goes back.

use std::path::Path;

use serde_json::{Value, json};

use super::Leadership;
use crate::base::ids::Uuid;
use crate::host::disk::Disk;
use crate::log::checkpoint;
use crate::log::error::{DiskContext, StorageError, malformed};

const NAME: &str = "quorum-state";
/// Size limit of the file in bytes. It has a few numbers, and the voters if they are static.
const BYTES_MAX: u64 = 64 << 10;

/// Reads the file; epoch 0 without a leader if there is none yet.
pub fn read(disk: &Disk, dir: &Path) -> Result<Leadership, StorageError> {
    let path = dir.join(NAME);
    let text = match disk.read_text(&path, BYTES_MAX) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Leadership {
                epoch: 0,
                leader: None,
            });
        }
        Err(error) => return Err(error).at("read", path),
    };
    let unreadable = || {
        let what = "it says neither an epoch nor a leader; take it from a copy of this directory";
        malformed(&path, what)
    };
    let state: Value = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let number = |name: &str| i32::try_from(state.get(name)?.as_i64()?).ok();
    let (epoch, leader) = (number("leaderEpoch"), number("leaderId"));
    match (epoch, leader) {
        (Some(epoch @ 0..), Some(leader)) => Ok(Leadership {
            epoch,
            leader: (leader >= 0).then_some(leader),
        }),
        _ => Err(unreadable()),
    }
}

/// Writes the file of a member that has not voted. `voters` are those of the settings; `None` if the log has the voters.
pub fn write(
    disk: &Disk,
    dir: &Path,
    leadership: Leadership,
    voters: Option<&[i32]>,
) -> Result<(), StorageError> {
    let leader = leadership.leader.unwrap_or(-1);
    let epoch = leadership.epoch;
    let state = match voters {
        Some(voters) => {
            let voters: Vec<Value> = voters.iter().map(|id| json!({ "voterId": id })).collect();
            json!({
                "clusterId": "",
                "leaderId": leader,
                "leaderEpoch": epoch,
                "votedId": -1,
                "appliedOffset": 0,
                "currentVoters": voters,
                "data_version": 0,
            })
        }
        None => json!({
            "leaderId": leader,
            "leaderEpoch": epoch,
            "votedId": -1,
            "votedDirectoryId": Uuid::ZERO.to_string(),
            "data_version": 1,
        }),
    };
    let text = state.to_string();
    checkpoint::replace(disk, &dir.join(NAME), text.as_bytes(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (Disk::default(), dir.path());
        let nothing = Leadership {
            epoch: 0,
            leader: None,
        };
        assert_eq!(read(&disk, path).unwrap(), nothing);
        for (leader, voters) in [
            (Some(3), None),
            (None, Some(&[1, 2][..])),
            (Some(0), Some(&[])),
        ] {
            let said = Leadership { epoch: 7, leader };
            write(&disk, path, said, voters).unwrap();
            assert_eq!(read(&disk, path).unwrap(), said);
        }
        // The file as Apache Kafka 4.4 writes it.
        let apache = r#"{"leaderId":100,"leaderEpoch":5,"votedId":-1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}"#;
        std::fs::write(path.join(NAME), apache).unwrap();
        let of_apache = Leadership {
            epoch: 5,
            leader: Some(100),
        };
        assert_eq!(read(&disk, path).unwrap(), of_apache);
        for wrong in ["", "{}", "[", r#"{"leaderId":1,"leaderEpoch":-1}"#, "1"] {
            std::fs::write(path.join(NAME), wrong).unwrap();
            let refused = read(&disk, path).unwrap_err().to_string();
            assert!(refused.contains(NAME), "{refused}");
        }
    }
}
