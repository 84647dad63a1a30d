//! pure: schemas of the request and response of BrokerRegistration (API key 62).

use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::message::macros::message;

message! {
    request 62 BrokerRegistrationRequest -> BrokerRegistrationResponse, versions 0..=4, flexible Some(0);
    {
        broker_id: i32 [0..];
        cluster_id: ByteString [0..];
        incarnation_id: Uuid [0..];
        listeners: Vec<Listener> [0..];
        features: Vec<Feature> [0..];
        rack: Option<ByteString> [0..] null [0..];
        is_migrating_zk_broker: bool [1..];
        #[ignorable] log_dirs: Vec<Uuid> [2..];
        #[ignorable] previous_broker_epoch: i64 [3..] = -1;
    }

    struct Listener {
        name: ByteString [0..];
        host: ByteString [0..];
        port: u16 [0..];
        security_protocol: i16 [0..];
    }

    struct Feature {
        name: ByteString [0..];
        min_supported_version: i16 [0..];
        max_supported_version: i16 [0..];
    }

    message BrokerRegistrationResponse, versions 0..=4, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        broker_epoch: i64 [0..] = -1;
    }
}
