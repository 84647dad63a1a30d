//! pure: schemas of the request and response of BrokerHeartbeat (API key 63).

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 63 BrokerHeartbeatRequest -> BrokerHeartbeatResponse, versions 0..=2, flexible Some(0);
    {
        broker_id: i32 [0..];
        broker_epoch: i64 [0..] = -1;
        current_metadata_offset: i64 [0..];
        want_fence: bool [0..];
        want_shut_down: bool [0..];
        offline_log_dirs: Vec<Uuid> [1..] tag 0;
        cordoned_log_dirs: Option<Vec<Uuid>> [2..] null [2..] tag 1;
    }

    message BrokerHeartbeatResponse, versions 0..=2, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        is_caught_up: bool [0..];
        is_fenced: bool [0..] = true;
        should_shut_down: bool [0..];
    }
}
