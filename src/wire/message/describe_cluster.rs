//! pure: schemas of the request and response of DescribeCluster (API key 60).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 60 DescribeClusterRequest -> DescribeClusterResponse, versions 0..=2, flexible Some(0);
    {
        include_cluster_authorized_operations: bool [0..];
        endpoint_type: i8 [1..] = 1;
        include_fenced_brokers: bool [2..];
    }

    message DescribeClusterResponse, versions 0..=2, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        endpoint_type: i8 [1..] = 1;
        cluster_id: ByteString [0..];
        controller_id: i32 [0..] = -1;
        brokers: Vec<DescribeClusterBroker> [0..];
        cluster_authorized_operations: i32 [0..] = i32::MIN;
    }

    struct DescribeClusterBroker {
        broker_id: i32 [0..];
        host: ByteString [0..];
        port: i32 [0..];
        rack: Option<ByteString> [0..] null [0..];
        is_fenced: bool [2..];
    }
}
