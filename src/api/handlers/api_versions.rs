//! ApiVersions (key 18), v0 to v4. KIP-35, KIP-511, KIP-584.
//!
//! A version that we do not know is answered in version 0 with UNSUPPORTED_VERSION and our range, so that the client
//! can ask again. Produce is listed from 0 on: librdkafka looks there before it dares to compress.

use crate::api::context::{Reply, RequestContext};
use crate::api::table::APIS;
use crate::metadata::bootstrap::SUPPORTED_FEATURES;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

/// Features whose capability is there; a cluster may have finalized others that only Apache Kafka serves.
const SERVED_FEATURES: &[&str] = &[
    "eligible.leader.replicas.version",
    "kraft.version",
    "metadata.version",
    "transaction.version",
];

pub fn handle(context: RequestContext, request: ApiVersionsRequest) -> Reply<ApiVersionsResponse> {
    if context.api_version >= 3
        && !(is_plausible(&request.client_software_name)
            && is_plausible(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..Default::default()
        }
        .into();
    }
    let image = context.services.image.load();
    let served = |name: &str| SERVED_FEATURES.contains(&name);
    ApiVersionsResponse {
        api_keys: api_keys(),
        supported_features: SUPPORTED_FEATURES
            .iter()
            // Before version 4 clients choke on a minimum of 0.
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

/// The answer to a version that is too new.
pub fn unsupported(_: &RequestContext) -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys: api_keys()
            .into_iter()
            .filter(|api| api.api_key == 18)
            .collect(),
        ..Default::default()
    }
}

fn api_keys() -> Vec<ApiVersion> {
    APIS.iter()
        .map(|row| ApiVersion {
            api_key: row.key,
            min_version: *row.versions.start(),
            max_version: *row.versions.end(),
        })
        .collect()
}

/// Letters, digits, dots and dashes, with a letter or digit at both ends.
fn is_plausible(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(text.as_bytes().first()) && ends(text.as_bytes().last()) && text.bytes().all(inner)
}
