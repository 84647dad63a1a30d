//! pure: schemas of the request and response of DescribeUserScramCredentials (API key 50).

use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 50 DescribeUserScramCredentialsRequest -> DescribeUserScramCredentialsResponse, versions 0..=0, flexible Some(0);
    {
        users: Option<Vec<UserName>> [0..] null [0..];
    }

    struct UserName {
        name: ByteString [0..];
    }

    message DescribeUserScramCredentialsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        results: Vec<DescribeUserScramCredentialsResult> [0..];
    }

    struct DescribeUserScramCredentialsResult {
        user: ByteString [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
        credential_infos: Vec<CredentialInfo> [0..];
    }

    struct CredentialInfo {
        mechanism: i8 [0..];
        iterations: i32 [0..];
    }
}
