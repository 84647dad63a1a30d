//! What a change of settings means for certificates: they are read and checked before it is decided, and read again after
//! it, because a file may have changed under the same name. Kafka's `DynamicBrokerConfig` with `SslFactory`.

use std::sync::Arc;

use crate::api::services::Services;
use crate::config::broker::{BrokerSettings, running_listeners};
use crate::metadata::controller::settings::of_listeners;
use crate::metadata::image::BROKER_RESOURCE;
use crate::transport::tls::in_one_line;

/// Whether the broker could run with these settings.
///
/// Errors: why not, for whoever wants them.
pub(super) async fn check(
    services: &Arc<Services>,
    settings: BrokerSettings,
) -> Result<(), String> {
    let tls = Arc::clone(&services.tls);
    let checked = services.disk.run(move || {
        let listeners = running_listeners(&settings)?;
        let loaded = tls.load(&listeners, &settings).map_err(in_one_line)?;
        tls.check_successor(&loaded, &settings)
    });
    checked.await.unwrap_or(Ok(()))
}

/// Takes over files that have changed under their names.
pub(super) async fn refresh(services: &Arc<Services>) {
    let image = services.image.load();
    let own = image.overrides(BROKER_RESOURCE, &services.node_id.to_string());
    let settings = of_listeners(&services.config.settings, own.map(|own| &**own));
    let tls = Arc::clone(&services.tls);
    let read = services.disk.run(move || {
        let listeners = running_listeners(&settings)?;
        tls.install(tls.load(&listeners, &settings).map_err(in_one_line)?);
        Ok::<_, String>(())
    });
    if let Some(Err(faults)) = read.await {
        tracing::error!(faults, "the certificates stay as they were");
    }
}
