//! DescribeCluster (key 60), v0 to v2. KIP-700, KIP-919 (endpoint types), KIP-1073 (fenced brokers).

use crate::api::context::{Reply, RequestContext};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub fn handle(
    context: RequestContext,
    request: DescribeClusterRequest,
) -> Reply<DescribeClusterResponse> {
    let services = &context.services;
    if context.api_version >= 1 && request.endpoint_type != BROKERS {
        let (error, refusal) = if request.endpoint_type == CONTROLLERS {
            let refusal = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            (ErrorCode::MismatchedEndpointType, refusal.to_owned())
        } else {
            let refusal = format!("Unsupported endpoint type {}", request.endpoint_type);
            (ErrorCode::UnsupportedEndpointType, refusal)
        };
        return DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(refusal.into()),
            endpoint_type: BROKERS,
            ..Default::default()
        }
        .into();
    }
    let image = services.image.load();
    let brokers = image
        .brokers
        .values()
        .filter(|broker| !broker.fenced || request.include_fenced_brokers)
        .filter_map(|broker| {
            let (host, port) = context.address_of(broker)?;
            Some(DescribeClusterBroker {
                broker_id: broker.id,
                host,
                port: i32::from(port),
                rack: broker.rack.as_deref().map(Into::into),
                is_fenced: broker.fenced && context.api_version >= 2,
            })
        })
        .collect();
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: services.cluster_id.as_str().into(),
        controller_id: services.controller_id(&image),
        brokers,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            context.rights().operations_of_cluster()
        } else {
            i32::MIN
        },
        ..Default::default()
    }
    .into()
}
