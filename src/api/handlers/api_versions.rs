//! ApiVersions (key 18), v0 to v5. KIP-35, KIP-511, KIP-584, KIP-1242 (cluster and node that the client expects, v5).
//!
//! A request of an unknown version is answered in version 0 with UNSUPPORTED_VERSION and the supported range of ApiVersions, so
//! that the client can retry. Produce is listed from version 0 on, because librdkafka derives from that whether it may
//! compress.

use crate::api::context::{Reply, RequestContext};
use crate::api::table::{APIS, Row};
use crate::base::ids::BrokerId;
use crate::metadata::bootstrap::{SERVED_FEATURES, SUPPORTED_FEATURES};
use crate::metadata::remote::Remote;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

pub fn handle(context: RequestContext, request: ApiVersionsRequest) -> Reply<ApiVersionsResponse> {
    if context.api_version >= 3
        && !(is_plausible(&request.client_software_name)
            && is_plausible(&request.client_software_version))
    {
        return refuse(ErrorCode::InvalidRequest).into();
    }
    let services = &context.services;
    if let Err(error) = check_address(&request, &services.cluster_id, services.node_id) {
        return refuse(error).into();
    }
    let image = context.services.image.load();
    let controllers = services.remote.as_ref().and_then(Remote::versions);
    let served = |name: &str| SERVED_FEATURES.contains(&name);
    ApiVersionsResponse {
        api_keys: api_keys(controllers.as_deref()),
        supported_features: SUPPORTED_FEATURES
            .iter()
            // Clients of versions before 4 fail on a minimum version of 0.
            .filter(|(name, min, _)| served(name) && (*min > 0 || context.api_version >= 4))
            .map(|(name, min, max)| SupportedFeatureKey {
                name: (*name).into(),
                min_version: *min,
                max_version: *max,
            })
            .collect(),
        finalized_features_epoch: image.features_epoch,
        finalized_features: image
            .features
            .iter()
            .filter(|(name, _)| served(name))
            .map(|(name, level)| FinalizedFeatureKey {
                name: (**name).into(),
                max_version_level: *level,
                min_version_level: *level,
            })
            .collect(),
        ..Default::default()
    }
    .into()
}

fn refuse(error: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: error.code(),
        ..Default::default()
    }
}

/// Checks that the client expects this broker: a request names both its cluster and its node, or neither.
fn check_address(
    request: &ApiVersionsRequest,
    cluster_id: &str,
    node_id: BrokerId,
) -> Result<(), ErrorCode> {
    const NOBODY: BrokerId = -1;
    match (request.cluster_id.as_deref(), request.node_id) {
        (None, NOBODY) => Ok(()),
        (None, _) | (Some(_), NOBODY) => Err(ErrorCode::InvalidRequest),
        (Some(cluster), node) if cluster == cluster_id && node == node_id => Ok(()),
        // Another broker has the address that the client knew. The client must start again with its bootstrap servers.
        _ => Err(ErrorCode::RebootstrapRequired),
    }
}

/// Response to a request of an unsupported version.
pub fn unsupported(_: &RequestContext) -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: api_keys(None)
            .into_iter()
            .filter(|api| api.api_key == 18)
            .collect(),
        ..Default::default()
    }
}

/// Versions of all APIs. What is forwarded to controllers is listed in the versions that they have too.
fn api_keys(controllers: Option<&[ApiVersion]>) -> Vec<ApiVersion> {
    let row = |row: &Row| {
        let (min, max) = (*row.versions.start(), *row.versions.end());
        let (min, max) = match controllers.filter(|_| row.forwarded) {
            Some(theirs) => {
                let theirs = theirs.iter().find(|api| api.api_key == row.key)?;
                (min.max(theirs.min_version), max.min(theirs.max_version))
            }
            None => (min, max),
        };
        (min <= max).then_some(ApiVersion {
            api_key: row.key,
            min_version: min,
            max_version: max,
        })
    };
    APIS.iter().filter_map(row).collect()
}

/// Whether a client's software name or version consists of letters, digits, dots and dashes, with a letter or digit at both
/// ends.
fn is_plausible(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(text.as_bytes().first()) && ends(text.as_bytes().last()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forwarded_is_listed_in_versions_that_the_controllers_have() {
        let of = |controllers: Option<&[ApiVersion]>, key| {
            let all = api_keys(controllers);
            let found = all.iter().find(|api| api.api_key == key);
            found.map(|api| (api.min_version, api.max_version))
        };
        let (create_topics, fetch, delete_topics) = (19, 1, 20);
        let theirs = |min_version, max_version| {
            [ApiVersion {
                api_key: create_topics,
                min_version,
                max_version,
            }]
        };
        assert_eq!(of(None, create_topics), Some((0, 7)));
        assert_eq!(of(Some(&theirs(2, 99)), create_topics), Some((2, 7)));
        assert_eq!(of(Some(&theirs(2, 5)), create_topics), Some((2, 5)));
        assert_eq!(of(Some(&theirs(8, 9)), create_topics), None);
        assert_eq!(of(Some(&theirs(2, 5)), delete_topics), None);
        assert_eq!(of(Some(&theirs(2, 5)), fetch), of(None, fetch));
    }

    #[test]
    fn a_client_that_means_another_broker_is_told() {
        let (invalid, other) = (ErrorCode::InvalidRequest, ErrorCode::RebootstrapRequired);
        for (cluster, node, expected) in [
            (None, -1, Ok(())),
            (Some("c"), 1, Ok(())),
            (Some("c"), 2, Err(other)),
            (Some("d"), 1, Err(other)),
            (Some(""), 1, Err(other)),
            (Some("c"), -1, Err(invalid)),
            (Some(""), -1, Err(invalid)),
            (None, 1, Err(invalid)),
            (None, -2, Err(invalid)),
        ] {
            let request = ApiVersionsRequest {
                cluster_id: cluster.map(Into::into),
                node_id: node,
                ..Default::default()
            };
            assert_eq!(
                check_address(&request, "c", 1),
                expected,
                "{cluster:?} {node}"
            );
        }
    }
}
