//! Validation of changed certificate and login settings, like Kafka's `DynamicBrokerConfig` with `SslFactory`. The files are
//! read and checked before the controller decides. Certificate files are read again afterwards, because a file's content may
//! have changed under the same name.

use std::sync::Arc;

use crate::api::context::RequestContext;
use crate::api::services::Services;
use crate::config::broker::BrokerSettings;
use crate::metadata::controller::settings::of_listeners;
use crate::metadata::image::BROKER_RESOURCE;

/// Checks whether the broker could run with these settings.
///
/// Errors: a description of what is wrong.
async fn check(services: &Arc<Services>, settings: BrokerSettings) -> Result<(), String> {
    let (tls, entries) = (Arc::clone(&services.tls), Arc::clone(&services.entries));
    let now = services.host.clock.now();
    let checked = services.disk.run(move || {
        let (listeners, loaded) = tls.prepare(&settings)?;
        tls.check_successor(&loaded, &settings)?;
        entries.prepare(&listeners, &settings, now).map(drop)
    });
    checked.await.unwrap_or(Ok(()))
}

/// Whether a config resource is this broker. A name with a sign or leading zeros is another resource, which no broker reads.
pub(super) fn is_own(context: &RequestContext, resource_type: i8, name: &str) -> bool {
    resource_type == BROKER_RESOURCE && *name == *context.services.node_id.to_string()
}

/// Removes this broker's resource from `parts` if its settings would leave a listener without a certificate; returns it with
/// the reason. `after` gives the broker settings with that resource applied, or `None` if it does not concern listeners.
/// Several resources for one broker are left to the controller, which refuses them.
pub(super) async fn take_out<R>(
    services: &Arc<Services>,
    parts: &mut Vec<R>,
    is_own: impl Fn(&R) -> bool,
    after: impl FnOnce(&R) -> Option<BrokerSettings>,
) -> Option<(R, String)> {
    let mut own = parts.iter().enumerate().filter(|(_, part)| is_own(part));
    let (Some((index, part)), None) = (own.next(), own.next()) else {
        return None;
    };
    let settings = after(part)?;
    let why = check(services, settings).await.err()?;
    Some((parts.remove(index), why))
}

/// Loads the certificate files again, for files whose content has changed under the same name.
pub(super) async fn refresh(services: &Arc<Services>) {
    let image = services.image.load();
    let own = image.overrides(BROKER_RESOURCE, &services.node_id.to_string());
    let settings = of_listeners(&services.config.settings, own.map(|own| &**own));
    let tls = Arc::clone(&services.tls);
    let read = services.disk.run(move || {
        tls.install(tls.prepare(&settings)?.1);
        Ok::<_, String>(())
    });
    if let Some(Err(faults)) = read.await {
        tracing::error!(faults, "the certificates stay as they were");
    }
}
