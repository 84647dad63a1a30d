//! pure: schemas of the request and response of AlterUserScramCredentials (API key 51).

use bytes::Bytes;
use bytestring::ByteString;

use crate::wire::message::macros::message;

message! {
    request 51 AlterUserScramCredentialsRequest -> AlterUserScramCredentialsResponse, versions 0..=0, flexible Some(0);
    {
        deletions: Vec<ScramCredentialDeletion> [0..];
        upsertions: Vec<ScramCredentialUpsertion> [0..];
    }

    struct ScramCredentialDeletion {
        name: ByteString [0..];
        mechanism: i8 [0..];
    }

    struct ScramCredentialUpsertion {
        name: ByteString [0..];
        mechanism: i8 [0..];
        iterations: i32 [0..];
        salt: Bytes [0..];
        salted_password: Bytes [0..];
    }

    message AlterUserScramCredentialsResponse, versions 0..=0, flexible Some(0);
    {
        throttle_time_ms: i32 [0..];
        results: Vec<AlterUserScramCredentialsResult> [0..];
    }

    struct AlterUserScramCredentialsResult {
        user: ByteString [0..];
        error_code: i16 [0..];
        error_message: Option<ByteString> [0..] null [0..];
    }
}
