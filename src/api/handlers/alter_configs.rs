//! AlterConfigs (key 33), v0 to v2. KIP-133. Settings of a resource that the request does not list are reset to their defaults.

use bytestring::ByteString;

use super::certificates;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights::{self, Rights};
use crate::metadata::controller::settings;
use crate::security::acl::Operation;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

pub fn handle(
    context: RequestContext,
    mut request: AlterConfigsRequest,
) -> Reply<AlterConfigsResponse> {
    let denied = take_denied(&context.rights(), &mut request.resources, |resource| {
        (resource.resource_type, &resource.resource_name)
    });
    Reply::later(async move {
        let named = request.resources.iter();
        let named: Vec<_> = named
            .map(|resource| (resource.resource_type, resource.resource_name.clone()))
            .collect();
        let refused = refused(&context, &mut request).await;
        let own = request.resources.iter().any(|one| is_own(&context, one));
        let decided = context.services.controller.ask(request).await;
        if own {
            certificates::refresh(&context.services).await;
        }
        let mut answer = decided.unwrap_or_else(|_| AlterConfigsResponse {
            responses: named
                .into_iter()
                .map(|which| told(which, ErrorCode::NotController, None))
                .collect(),
            ..Default::default()
        });
        answer.responses.extend(refused);
        let denied = denied.into_iter();
        answer.responses.extend(
            denied.map(|(kind, name, error)| told((kind, name), error, rights::words(error))),
        );
        answer
    })
}

/// Result for a resource whose settings were not altered.
fn told(
    (resource_type, resource_name): (i8, ByteString),
    error: ErrorCode,
    error_message: Option<ByteString>,
) -> AlterConfigsResourceResponse {
    AlterConfigsResourceResponse {
        error_code: error.code(),
        error_message,
        resource_type,
        resource_name,
    }
}

/// Removes the resources whose settings the client may not alter from the request, and returns them with their errors.
pub(super) fn take_denied<T>(
    rights: &Rights<'_>,
    resources: &mut Vec<T>,
    which: impl Fn(&T) -> (i8, &ByteString),
) -> Vec<(i8, ByteString, ErrorCode)> {
    let mut denied = Vec::new();
    resources.retain(|resource| {
        let (kind, name) = which(resource);
        let (of, whose) = rights::of_settings(kind, name);
        let Err(error) = rights.require(Operation::AlterConfigs, of, whose) else {
            return true;
        };
        denied.push((kind, name.clone(), error));
        false
    });
    denied
}

fn is_own(context: &RequestContext, resource: &AlterConfigsResource) -> bool {
    certificates::is_own(context, resource.resource_type, &resource.resource_name)
}

/// Removes this broker's resource from the request if its settings would leave a listener without a certificate; returns its
/// result.
async fn refused(
    context: &RequestContext,
    request: &mut AlterConfigsRequest,
) -> Option<AlterConfigsResourceResponse> {
    let after = |resource: &AlterConfigsResource| {
        let given = resource.configs.iter();
        let target = given
            .filter_map(|config| {
                Some((config.name.to_string(), config.value.as_ref()?.to_string()))
            })
            .collect();
        let services = &context.services;
        Some(settings::of_listeners(
            &services.config.settings,
            Some(&target),
        ))
    };
    let is_own = |resource: &AlterConfigsResource| is_own(context, resource);
    let parts = &mut request.resources;
    let (resource, why) = certificates::take_out(&context.services, parts, is_own, after).await?;
    let which = (resource.resource_type, resource.resource_name);
    Some(told(which, ErrorCode::InvalidRequest, Some(why.into())))
}
