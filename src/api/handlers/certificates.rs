//! What a change of settings means for certificates and logins: files are read and checked before it is decided. Those of
//! certificates are read again after it, because a file may have changed under the same name. Kafka's `DynamicBrokerConfig` with
//! `SslFactory`.

use std::sync::Arc;

use crate::api::context::RequestContext;
use crate::api::services::Services;
use crate::config::broker::BrokerSettings;
use crate::metadata::controller::settings::of_listeners;
use crate::metadata::image::BROKER_RESOURCE;

/// Whether the broker could run with these settings.
///
/// Errors: why not, for whoever wants them.
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

/// Whether a resource is this broker. A name with a sign or with zeros in front is another one, which nobody reads.
pub(super) fn is_own(context: &RequestContext, resource_type: i8, name: &str) -> bool {
    resource_type == BROKER_RESOURCE && *name == *context.services.node_id.to_string()
}

/// Takes the part about this broker out of a request if it would leave a listener without a certificate; gives it with the reason.
/// `after` tells what the part would make of the settings of the listeners, where it touches them. Several parts about one broker
/// are refused by the controller, whatever they say.
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

/// Takes over files that have changed under their names.
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
