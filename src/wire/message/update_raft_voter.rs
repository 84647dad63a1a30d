//! pure: schemas of the request and response of UpdateRaftVoter (API key 82).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 82 UpdateRaftVoterRequest -> UpdateRaftVoterResponse, versions 0..=0, flexible Some(0);
    {
        cluster_id: Option<ByteString> [0..] null [0..];
        current_leader_epoch: i32 [0..];
        voter_id: i32 [0..];
        voter_directory_id: Uuid [0..];
        listeners: Vec<Listener> [0..];
        k_raft_version_feature: KRaftVersionFeature [0..];
    }

    struct Listener {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
    }

    struct KRaftVersionFeature {
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }

    message UpdateRaftVoterResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        current_leader: CurrentLeader [0..] tag 0;
    }

    struct CurrentLeader {
        leader_id: i32 [0..] = -1;
        leader_epoch: i32 [0..] = -1;
        host: ByteString [0..];
        port: i32 [0..];
    }
}
