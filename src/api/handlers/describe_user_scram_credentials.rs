//! DescribeUserScramCredentials (key 50), v0. KIP-554.

use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::metadata::controller::scram;
use crate::security::acl::Operation;
use crate::wire::message::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};

pub fn handle(
    context: RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> Reply<DescribeUserScramCredentialsResponse> {
    if let Err(error) = context.requires_of_cluster(Operation::Describe) {
        return DescribeUserScramCredentialsResponse {
            error_code: error.code(),
            error_message: rights::words(error),
            // As in Kafka, the error is repeated in a result.
            results: vec![DescribeUserScramCredentialsResult {
                error_code: error.code(),
                error_message: rights::words(error),
                ..Default::default()
            }],
            ..Default::default()
        }
        .into();
    }
    scram::describe(&context.services.image.load(), &request).into()
}
