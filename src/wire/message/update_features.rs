//! pure: schemas of the request and response of UpdateFeatures (API key 57).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 57 UpdateFeaturesRequest -> UpdateFeaturesResponse, versions 0..=2, flexible Some(0);
    {
        timeout_ms: i32 [0..] = 60000;
        feature_updates: Vec<FeatureUpdateKey> [0..];
        validate_only: bool [1..];
    }

    struct FeatureUpdateKey {
        feature: ByteString [0..];
        max_version_level: i16 [0..];
        allow_downgrade: bool [0..=0];
        upgrade_type: i8 [1..] = 1;
    }

    message UpdateFeaturesResponse, versions 0..=2, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        #[ignorable] results: Vec<UpdatableFeatureResult> [0..=1];
    }

    struct UpdatableFeatureResult {
        feature: ByteString [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
