//! ListConfigResources (key 74), v0 (client metrics only) and v1. KIP-714, KIP-1142.

use indexmap::IndexSet;

use crate::api::answer::distinct;
use crate::api::context::{Reply, RequestContext};
use crate::metadata::image::{
    BROKER_LOGGER_RESOURCE, BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE,
    TOPIC_RESOURCE, configured,
};
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

const KNOWN: &[i8] = &[
    TOPIC_RESOURCE,
    BROKER_RESOURCE,
    BROKER_LOGGER_RESOURCE,
    CLIENT_METRICS_RESOURCE,
    GROUP_RESOURCE,
];

pub fn handle(
    context: RequestContext,
    request: ListConfigResourcesRequest,
) -> Reply<ListConfigResourcesResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::DescribeConfigs) {
        return ListConfigResourcesResponse {
            error_code: error.code(),
            ..Default::default()
        }
        .into();
    }
    let asked: IndexSet<i8> = match (context.api_version, request.resource_types.is_empty()) {
        (0, _) => IndexSet::from([CLIENT_METRICS_RESOURCE]),
        (_, true) => KNOWN.iter().copied().collect(),
        (_, false) => distinct(request.resource_types),
    };
    if asked.iter().any(|kind| !KNOWN.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Default::default()
        }
        .into();
    }
    let image = context.services.image.load();
    let mut config_resources = Vec::new();
    for kind in asked {
        let names: Vec<String> = match kind {
            TOPIC_RESOURCE => image
                .topics
                .iter()
                .map(|topic| topic.name.to_string())
                .collect(),
            BROKER_RESOURCE | BROKER_LOGGER_RESOURCE => {
                image.brokers.keys().map(ToString::to_string).collect()
            }
            other => configured(&image, other)
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        config_resources.extend(names.into_iter().map(|name| ConfigResource {
            resource_name: name.into(),
            resource_type: if context.api_version == 0 {
                Default::default()
            } else {
                kind
            },
        }));
    }
    if context.api_version == 0 {
        for resource in &mut config_resources {
            resource.resource_type = ConfigResource::default().resource_type;
        }
    }
    ListConfigResourcesResponse {
        config_resources,
        ..Default::default()
    }
    .into()
}
