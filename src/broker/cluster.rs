//! Joining a cluster whose controllers are other nodes: the broker fetches all metadata as an observer, registers, and
//! continues when the metadata has its registration. The broker is then fenced until it is ready to serve.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::StartError;
use super::lifecycle::NeverIn;
use super::membership::{Membership, membership};
use crate::base::ids::{BrokerEpoch, Uuid};
use crate::base::time::millis;
use crate::config::broker::BrokerConfig;
use crate::config::controllers::Controllers;
use crate::config::listener::SecurityProtocol;
use crate::config::sasl::{BETWEEN_BROKERS, TO_CONTROLLERS};
use crate::host::Host;
use crate::host::disk::Dir;
use crate::host::task::Halt;
use crate::log::dir;
use crate::metadata::bootstrap::{SUPPORTED_FEATURES, check_features};
use crate::metadata::controller::brokers::Registration;
use crate::metadata::controller::machine::Setup;
use crate::metadata::controller::task::Controller;
use crate::metadata::quorum::observer::machine;
use crate::metadata::quorum::observer::member::ObserverQuorum;
use crate::metadata::quorum::observer::task::line;
use crate::metadata::quorum::upkeep::Upkeep;
use crate::metadata::remote::Remote;
use crate::peer::access::to_listener;
use crate::peer::connection::{Access, Identity};
use crate::wire::message::broker_registration::{BrokerRegistrationRequest, Feature, Listener};

/// Setting: time limit for the first registration.
const REGISTRATION_TIMEOUT: &str = "initial.broker.registration.timeout.ms";
/// Shortest time limit for an answer of a controller: a controller may hold a fetch for 500 ms.
const CONTROLLER_ANSWER_WITHIN_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_INTERVAL: &str = "broker.heartbeat.interval.ms";

/// Identity of this broker, and the location of its metadata.
pub(super) struct Own<'a> {
    pub cluster_id: &'a str,
    /// The directory of the metadata log, and its id.
    pub metadata_dir: Dir<'a>,
    pub directory_id: Uuid,
    /// Broker epoch of the previous registration, if all log directories have it from a clean shutdown; otherwise -1.
    pub previous_epoch: BrokerEpoch,
    pub registration: Registration,
}

/// Membership of a broker and its tasks. Dropping it ends them at once, as a crash would.
#[derive(Debug)]
pub(super) struct Cluster {
    /// For requests of this broker that are neither of its membership nor changes of ISRs.
    pub remote: Remote,
    /// For requests of clients, so that no other request waits for one of a client.
    pub forwarding: Remote,
    /// For changes of ISRs.
    pub isr_changes: Remote,
    pub membership: Membership,
    /// Tasks that run as long as the broker follows the metadata.
    pub tasks: JoinSet<()>,
}

/// Credentials for connections to the controllers, checked before anything is opened.
pub(super) fn access(
    config: &BrokerConfig,
    controllers: &Controllers,
) -> Result<Access, StartError> {
    let Controllers {
        listener, protocol, ..
    } = controllers;
    let access = to_listener(&config.settings, listener, *protocol, TO_CONTROLLERS);
    access.map_err(StartError::settings)
}

/// Credentials for connections to the other brokers, checked before anything is opened.
pub(super) fn access_to_brokers(config: &BrokerConfig) -> Result<Access, StartError> {
    let name = &config.inter_broker_listener;
    let mut listeners = config.listeners.iter();
    let protocol = listeners
        .find(|listener| listener.endpoint.name == *name)
        .map_or(SecurityProtocol::Plaintext, |listener| listener.protocol);
    let access = to_listener(&config.settings, name, protocol, BETWEEN_BROKERS);
    access.map_err(StartError::settings)
}

/// Broker epoch with which all log directories were shut down cleanly; -1 if one of them was not.
pub(super) fn previous_epoch(host: &Host, config: &BrokerConfig) -> BrokerEpoch {
    let epochs = config.log_dirs.iter();
    let mut epochs = epochs.map(|path| dir::clean_shutdown_epoch(host.disk.dir(path)));
    let Some(first) = epochs.next().flatten() else {
        return -1;
    };
    match epochs.all(|epoch| epoch == Some(first)) {
        true => first,
        false => -1,
    }
}

/// Begins to observe the metadata, and registers.
pub(super) async fn join(
    host: &Host,
    halt: &Halt,
    config: &Arc<BrokerConfig>,
    controllers: (&Controllers, Access),
    own: Own<'_>,
) -> Result<(Controller, Cluster), StartError> {
    let (controllers, access) = controllers;
    let limit = millis(config.settings.long(REGISTRATION_TIMEOUT).max(1));
    let deadline = Instant::now() + limit;
    let late = |what: &str| {
        StartError::Cluster(format!(
            "{what} within {REGISTRATION_TIMEOUT}, {} s; controllers are looked for at {}",
            limit.as_secs(),
            controllers.bootstrap.join(", ")
        ))
    };
    let mut tasks = JoinSet::new();

    // The observer.
    let identity = |what: &str| Identity::new(&format!("broker-{}-{what}", config.node_id));
    let int = |name| i32::try_from(config.settings.long(name)).unwrap_or(i32::MAX);
    let answer_within = config.settings.long("controller.quorum.request.timeout.ms");
    let answer_within = millis(answer_within).max(CONTROLLER_ANSWER_WITHIN_MIN);
    let (carrier, line) = line(host, identity("observer"), access.clone(), answer_within);
    let carrying = halt.guard("observer", carrier.run());
    host.threads.spawn_among(&mut tasks, carrying);
    let upkeep = Upkeep::new(&config.settings);
    let setup = machine::Setup {
        cluster_id: own.cluster_id.to_owned(),
        node_id: config.node_id,
        directory_id: own.directory_id,
        bootstrap: controllers.bootstrap.clone(),
        voters: controllers.voters.clone(),
        fetch_bytes_max: int("controller.quorum.fetch.max.bytes"),
        snapshot_bytes_max: int("controller.quorum.fetch.snapshot.max.bytes"),
        retry_ms: int("controller.quorum.retry.backoff.ms").max(1) as u32,
    };
    let clean = dir::was_stopped_cleanly(own.metadata_dir);
    let (quorum, image) = ObserverQuorum::open(
        own.metadata_dir,
        setup,
        line,
        host.chance.clone(),
        clean,
        upkeep,
        host.clock.now(),
    )?;
    let leader_at = quorum.leader_at();
    let setup = Setup {
        node_id: config.node_id,
        settings: config.settings.clone(),
        clamp_replication: false,
    };
    let mut controller = Controller::new(host, Box::new(quorum), image, setup, upkeep);
    let followed = timeout_at(deadline, controller.follow_until(|_| true)).await;
    followed.map_err(|_| late("no controller has shown the metadata of the cluster"))??;
    check_features(&controller.image().load()).map_err(StartError::Cluster)?;

    // The membership. A controller answers the requests of one connection one after the other, so each purpose has its own
    // connection, as in Kafka.
    let remote = |what| Remote::new(host, identity(what), access.clone(), leader_at.clone());
    let registration = request(own.cluster_id, own.registration, own.previous_epoch);
    let interval = millis(config.settings.long(HEARTBEAT_INTERVAL).max(1));
    let (membership, member) = membership(
        remote("heartbeats"),
        controller.image(),
        registration,
        interval,
        halt.clone(),
    );
    let living = halt.guard("membership of the cluster", member.run());
    host.threads.spawn_among(&mut tasks, living);
    let registered = timeout_at(deadline, membership.registered()).await;
    let epoch = registered
        .map_err(|_| late("no controller has registered this broker"))?
        .map_err(|NeverIn(why)| StartError::Cluster(why))?;
    let is_seen = |image: &crate::metadata::image::Image| {
        let own = image.brokers.get(&config.node_id);
        own.is_some_and(|broker| broker.epoch == epoch)
    };
    let seen = timeout_at(deadline, controller.follow_until(is_seen)).await;
    seen.map_err(|_| late("the metadata have not shown the registration of this broker"))??;
    let cluster = Cluster {
        remote: remote("to-controller"),
        forwarding: remote("forwarding"),
        isr_changes: remote("alter-partition"),
        membership,
        tasks,
    };
    Ok((controller, cluster))
}

impl Cluster {
    /// Broker epoch of the newest registration.
    pub(super) fn epoch(&self) -> Option<BrokerEpoch> {
        self.membership.epoch()
    }
}

fn request(
    cluster_id: &str,
    registration: Registration,
    previous_broker_epoch: BrokerEpoch,
) -> BrokerRegistrationRequest {
    let Registration {
        node_id,
        incarnation,
        endpoints,
        rack,
        mut log_dirs,
        ..
    } = registration;
    log_dirs.sort();
    let listener = |(name, host, port, security_protocol): (String, String, u16, i16)| Listener {
        name: name.into(),
        host: host.into(),
        port,
        security_protocol,
    };
    let feature = |(name, min, max): &(&str, i16, i16)| Feature {
        name: (*name).into(),
        min_supported_version: *min,
        max_supported_version: *max,
    };
    BrokerRegistrationRequest {
        broker_id: node_id,
        cluster_id: cluster_id.into(),
        incarnation_id: incarnation,
        listeners: endpoints.into_iter().map(listener).collect(),
        features: SUPPORTED_FEATURES.iter().map(feature).collect(),
        rack: rack.map(Into::into),
        is_migrating_zk_broker: false,
        log_dirs,
        previous_broker_epoch,
    }
}

/// Time without an answer after which a shutdown no longer waits for the controllers: the broker's session has expired by then
/// (`broker.session.timeout.ms` of the controllers).
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(9);
/// Time limit of a controlled shutdown, as in Apache Kafka.
pub(super) const LEAVE_WITHIN: Duration = Duration::from_secs(300);
