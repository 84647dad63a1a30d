//! pure: schemas of the request and response of AddRaftVoter (API key 80).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 80 AddRaftVoterRequest -> AddRaftVoterResponse, versions 0..=1, flexible Some(0);
    {
        cluster_id: Option<ByteString> [0..] null [0..];
        timeout_ms: i32 [0..];
        voter_id: i32 [0..];
        voter_directory_id: Uuid [0..];
        listeners: Vec<Listener> [0..];
        ack_when_committed: bool [1..] = true;
    }

    struct Listener {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
    }

    message AddRaftVoterResponse, versions 0..=1, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [0..] null [0..];
    }
}
