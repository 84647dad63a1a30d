//! IncrementalAlterConfigs (key 44), v0 and v1. KIP-339: sets or deletes settings, appends to or subtracts from lists.

use bytestring::ByteString;

use super::alter_configs::take_denied;
use super::certificates;
use crate::api::context::{Reply, RequestContext};
use crate::api::rights;
use crate::config::broker::BrokerSettings;
use crate::metadata::controller::{Context, settings};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

pub fn handle(
    context: RequestContext,
    mut request: IncrementalAlterConfigsRequest,
) -> Reply<IncrementalAlterConfigsResponse> {
    let denied = take_denied(&context.rights(), &mut request.resources, |resource| {
        (resource.resource_type, &resource.resource_name)
    });
    Reply::later(async move {
        let named = request.resources.iter();
        let named: Vec<_> = named
            .map(|resource| (resource.resource_type, resource.resource_name.clone()))
            .collect();
        let readvertises = request.resources.iter().any(|resource| {
            resource
                .configs
                .iter()
                .any(|config| &*config.name == settings::ADVERTISED_LISTENERS)
        });
        let refused = refused(&context, &mut request).await;
        let certified = request.resources.iter().any(|one| concerned(&context, one));
        let decided = context.services.controller.ask(request).await;
        if readvertises {
            // Testcontainers' Kafka module for Rust waits for this line after it has set the mapped port in
            // `advertised.listeners`.
            tracing::info!("Checking need to trigger auto leader balancing: not with one node");
        }
        if certified {
            certificates::refresh(&context.services).await;
        }
        let mut answer = decided.unwrap_or_else(|_| IncrementalAlterConfigsResponse {
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

fn is_own(context: &RequestContext, resource: &AlterConfigsResource) -> bool {
    certificates::is_own(context, resource.resource_type, &resource.resource_name)
}

/// Whether a resource is this broker with settings of its certificates or listeners.
fn concerned(context: &RequestContext, resource: &AlterConfigsResource) -> bool {
    is_own(context, resource)
        && (resource.configs.iter()).any(|config| settings::concerns_listeners(&config.name))
}

/// Removes this broker's resource from the request if its settings would leave a listener without a certificate; returns its
/// result.
async fn refused(
    context: &RequestContext,
    request: &mut IncrementalAlterConfigsRequest,
) -> Option<AlterConfigsResourceResponse> {
    let after = |resource: &AlterConfigsResource| match concerned(context, resource) {
        true => listeners_after(context, resource),
        false => None,
    };
    let is_own = |resource: &AlterConfigsResource| is_own(context, resource);
    let parts = &mut request.resources;
    let (resource, why) = certificates::take_out(&context.services, parts, is_own, after).await?;
    let which = (resource.resource_type, resource.resource_name);
    Some(told(which, ErrorCode::InvalidRequest, Some(why.into())))
}

/// The broker settings with this resource's changes; `None` if the changes are refused for another reason.
fn listeners_after(
    context: &RequestContext,
    asked: &AlterConfigsResource,
) -> Option<BrokerSettings> {
    let services = &context.services;
    let image = services.image.load();
    let decided = Context {
        now: services.host.clock.now(),
        node_id: services.node_id,
        settings: &services.config.settings,
        ids: &[],
        clamp_replication: false,
    };
    settings::listeners_after(
        &image,
        asked.resource_type,
        &asked.resource_name,
        &asked.configs,
        &decided,
    )
}
