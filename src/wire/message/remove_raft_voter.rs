//! pure: schemas of the request and response of RemoveRaftVoter (API key 81).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 81 RemoveRaftVoterRequest -> RemoveRaftVoterResponse, versions 0..=0, flexible Some(0);
    {
        cluster_id: Option<ByteString> [0..] null [0..];
        voter_id: i32 [0..];
        voter_directory_id: Uuid [0..];
    }

    message RemoveRaftVoterResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        #[ignorable] error_message: Option<ByteString> [0..] null [0..];
    }
}
