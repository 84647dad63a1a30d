//! DescribeUserScramCredentials (key 50), v0. KIP-554.

use crate::api::context::{Reply, RequestContext};
use crate::metadata::controller::scram;
use crate::wire::message::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};

pub fn handle(
    context: RequestContext,
    request: DescribeUserScramCredentialsRequest,
) -> Reply<DescribeUserScramCredentialsResponse> {
    scram::describe(&context.services.image.load(), &request).into()
}
