//! Start of a broker, part by part.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::cluster::{self, Cluster, Own, join};
use super::isr::{InProcess, OverRemote};
use super::leaders::OverPeers;
use super::listeners::{Listeners, Wanted};
use super::log_dirs::LogDirs;
use super::{Broker, StartError, adopt, cleaner, housekeeping, maker, mover};
use crate::api::services::{ProducerIds, Services};
use crate::base::disk_pool::DiskPool;
use crate::base::ids::Uuid;
use crate::base::memory::Memory;
use crate::base::time::millis;
use crate::base::work_pool::WorkPool;
use crate::config::broker::{BrokerConfig, Listener};
use crate::config::listener::Endpoint;
use crate::console;
use crate::coordinator::elsewhere::Elsewhere;
use crate::coordinator::group::handle::GroupHandle;
use crate::coordinator::group::settings::{GroupSettings, ShareSettings};
use crate::coordinator::share_state::handle::ShareStateHandle;
use crate::coordinator::share_state::shard::ShareStateSettings;
use crate::coordinator::topic::{
    GROUP_TOPIC, GroupTopicWatcher, InternalTopic, SHARE_STATE_TOPIC, ShareStateTopicWatcher,
    TRANSACTION_TOPIC, TransactionTopicWatcher,
};
use crate::coordinator::txn::handle::TxnHandle;
use crate::coordinator::txn::markers::MarkerWriter;
use crate::coordinator::txn::shard::TxnSettings;
use crate::host::Host;
use crate::host::machine::memory_bytes;
use crate::host::network::{ListenOptions, Listening, Network};
use crate::host::process;
use crate::host::task::Halt;
use crate::log::dir;
use crate::log::manager::{LogManager, ManagerSettings};
use crate::metadata::addresses::BrokerAddresses;
use crate::metadata::authorizer::Authorizer;
use crate::metadata::bootstrap::{self, Formatted, Gaps};
use crate::metadata::controller::brokers::{Activation, FoundReplicas, Registration};
use crate::metadata::controller::machine::Setup;
use crate::metadata::controller::task::Controller;
use crate::metadata::loader::{Publisher, formatted_with};
use crate::metadata::placement::{self, Assignment, assign_request};
use crate::metadata::quorum::single::SingleQuorum;
use crate::metadata::quorum::upkeep::Upkeep;
use crate::peer::pool::Peers;
use crate::quota::quotas::Quotas;
use crate::replica::fetch_session::FetchSessions;
use crate::replica::isr_changes;
use crate::replica::manager::ReplicaManager;
use crate::security::listeners::Entries;
use crate::security::sasl::scram::SaltSecret;
use crate::server::connection::Limits;
use crate::server::listener::with_host;
use crate::share::manager::Shares;
use crate::transport::tls::TlsListeners;
use crate::wire::batch::compression::Compression;

/// Default size of a socket's send buffer in bytes (the kernel allocates twice as much). With a buffer sized by the kernel a
/// whole answer fits in, and leaves the CPU's caches before the client reads it: that takes half as much CPU time again, and
/// costs a third of the throughput. Kafka's default of 100 KiB is slightly slower.
const SEND_BUFFER: usize = 200 << 10;

/// Options of a start that no settings file has.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Host that the node runs on.
    pub host: Host,
    /// Id of the cluster that the directories must belong to, or get if they are new.
    pub cluster_id: Option<String>,
    /// Whether replication factors are reduced to the number of brokers, for test nodes.
    pub clamp_replication: bool,
    /// Name of the task that panics in a test.
    #[cfg(test)]
    pub panics: Option<&'static str>,
}

impl Broker {
    /// Starts a node; it serves clients when this returns.
    pub async fn start(config: BrokerConfig, options: Options) -> Result<Self, StartError> {
        let host = options.host.clone();
        let config = Arc::new(config);
        #[cfg(not(test))]
        let halt = Halt::default();
        #[cfg(test)]
        let halt = Halt::with_planted(options.panics);

        // Certificates and sockets come first: mistakes in them are the most likely, and nothing on disk has changed yet.
        let tls = Arc::new(TlsListeners::default());
        let loaded = tls.load(&config.listeners, &config.settings);
        tls.install(loaded.map_err(StartError::settings)?);
        let entries = Arc::new(Entries::default());
        let loaded = entries.load(&config.listeners, &config.settings, host.clock.now());
        entries.install(loaded.map_err(StartError::settings)?);
        let (access, access_to_brokers) = match &config.controllers {
            Some(controllers) => (
                Some(cluster::access(&config, controllers)?),
                Some(cluster::access_to_brokers(&config)?),
            ),
            None => (None, None),
        };
        let mut sockets = Vec::new();
        for listener in &config.listeners {
            sockets.push((
                listener.clone(),
                listening(&host, &listener.endpoint, &config).await?,
            ));
        }

        let admin = match &config.admin {
            Some(endpoint) => listening(&host, endpoint, &config).await?,
            None => Vec::new(),
        };

        // Directories: cluster id, locks.
        if config.controllers.is_some() && options.cluster_id.is_none() {
            is_formatted(&host, &config)?;
        }
        let previous_epoch = cluster::previous_epoch(&host, &config);
        let formatted = bootstrap::format(
            &host,
            &config.directories(),
            config.node_id,
            options.cluster_id.as_deref(),
            Gaps::Refuse,
        )?;
        let salts = salts(&formatted);
        let directory_id = directory_id(&formatted, &config);
        let cluster_id = formatted.cluster_id.clone();
        let mut log_dirs = formatted.dirs;
        log_dirs.retain(|(path, _)| config.log_dirs.contains(path));
        let manager_settings = ManagerSettings {
            file_delete_delay_ms: config.settings.long("log.segment.delete.delay.ms"),
        };
        let logs = Arc::new(LogManager::open(&host, log_dirs, manager_settings)?);
        // The log manager holds the locks of the log directories.
        let own = !config.log_dirs.contains(&config.metadata_log_dir);
        let metadata_lock = match own {
            true => Some(dir::lock(host.disk.dir(&config.metadata_log_dir))?),
            false => None,
        };
        if formatted.new {
            tracing::info!(
                cluster_id = formatted.cluster_id,
                "formatted new log directories"
            );
        }

        // Metadata: the node's own log, or that of its cluster.
        let metadata_dir = host.disk.dir(&config.metadata_log_dir);
        let registration = registration(
            &config,
            &host,
            &sockets,
            logs.online().map(|dir| dir.id).collect(),
        )?;
        let (mut controller, cluster) = match (&config.controllers, access) {
            (Some(controllers), Some(access)) => {
                let own = Own {
                    cluster_id: &cluster_id,
                    metadata_dir,
                    directory_id,
                    previous_epoch,
                    registration,
                };
                let joined = join(&host, &halt, &config, (controllers, access), own).await?;
                (joined.0, Some(joined.1))
            }
            _ => {
                let fresh = Fresh {
                    of_zookeeper: formatted.of_zookeeper,
                    clamp_replication: options.clamp_replication,
                };
                let controller = lead(&host, &config, &logs, fresh, registration)?;
                (controller, None)
            }
        };
        let handle = controller.image();
        // Logs of the partitions; then leader epochs and directories found in them; then the partitions themselves.
        let replicas =
            ReplicaManager::new(config.node_id, Arc::clone(&logs), config.settings.clone());
        let image = handle.load();
        logs.load(
            replicas.recovery_threads(&image),
            &|topic| replicas.log_settings(&image, topic),
            host.clock.now(),
        )?;
        replicas.identify(&image);
        replicas.settle_moves(&image);
        if cluster.is_none() {
            let topics = placement::found(&image, config.node_id, |topic, index, partition| {
                replicas.standing(topic, index, partition)
            });
            let found = FoundReplicas {
                node_id: config.node_id,
                topics,
            };
            controller.ask(found)?;
        }
        let image = handle.load();
        let placed = replicas.install(&image);
        let of_cluster = cluster.as_ref().and_then(Cluster::epoch);
        let broker_epoch = of_cluster.unwrap_or_else(|| image.broker_epoch(config.node_id));
        replicas.set_broker_epoch(broker_epoch);
        if cluster.is_none() {
            controller.ask(assign_request(config.node_id, broker_epoch, &placed))?;
        }

        // From here on partitions follow changes of the metadata.
        controller.add(Arc::new(replicas.clone()));
        let peers = |purpose: &str| {
            let listener = &config.inter_broker_listener;
            let book = Arc::new(BrokerAddresses::new(handle.clone(), listener));
            let client_id = format!("broker-{}-{purpose}", config.node_id);
            let access = access_to_brokers.clone()?;
            Some(Peers::new(&host, &client_id, access, book))
        };
        let leaders = peers("fetcher").map(|peers| Arc::new(OverPeers(peers)));
        let [to_share_states, to_txns, to_marked] = ["share-states", "transactions", "markers"]
            .map(|purpose| {
                let peers = peers(purpose)?;
                Some(Elsewhere::new(config.node_id, peers, handle.clone()))
            });
        for elsewhere in [&to_share_states, &to_txns, &to_marked]
            .into_iter()
            .flatten()
        {
            controller.add(Arc::new(elsewhere.clone()));
        }

        let may_have = memory_bytes(Path::new("/"));
        process::may_have(may_have);
        let memory = Memory::new(Memory::limit_of(
            config.settings.long("queued.max.request.bytes"),
            may_have,
        ));

        let rounds = WorkPool::new(&host, COORDINATORS, &memory);
        let work = WorkPool::new(&host, half_the_processors(), &memory);
        // The share coordinator, which the group coordinator calls.
        let compression = |name: &str| {
            let id = config.settings.int(name).clamp(0, 7) as u8;
            Compression::from_id(id).unwrap_or(Compression::None)
        };
        let batch_bytes_max = config.settings.int("message.max.bytes").max(0) as usize;
        let (share_states, share_task) = ShareStateHandle::new(
            &host,
            Arc::new(InternalTopic::new(
                replicas.clone(),
                SHARE_STATE_TOPIC,
                batch_bytes_max,
            )),
            ShareStateSettings::new(&config.settings, &memory),
            (config.settings).int("share.coordinator.state.topic.num.partitions"),
            millis(i64::from(
                config
                    .settings
                    .int("share.coordinator.write.timeout.ms")
                    .max(1),
            )),
            compression("share.coordinator.state.topic.compression.codec"),
            rounds.clone(),
        );
        let share_states = share_states.with_others(to_share_states);
        let share_topic = ShareStateTopicWatcher::new(
            config.node_id,
            share_states.clone(),
            host.threads.runtime(),
            halt.clone(),
        );
        share_topic.install(&handle.load());
        let share_topic: Arc<dyn Publisher> = Arc::new(share_topic);
        replicas.followed_by(&share_topic);

        // The group coordinator gets metadata after the partitions that it writes to.
        let (groups, group_task) = GroupHandle::new(
            &host,
            (
                Arc::new(InternalTopic::new(
                    replicas.clone(),
                    GROUP_TOPIC,
                    batch_bytes_max,
                )),
                share_states.clone(),
            ),
            GroupSettings::new(&config.settings, &memory),
            config.settings.int("offsets.topic.num.partitions"),
            millis(i64::from(
                config.settings.int("offsets.commit.timeout.ms").max(1),
            )),
            compression("offsets.topic.compression.codec"),
            (rounds.clone(), work.clone()),
        );
        let group_topic = GroupTopicWatcher::new(
            config.node_id,
            groups.clone(),
            host.threads.runtime(),
            halt.clone(),
        );
        group_topic.install(&handle.load());
        let group_topic: Arc<dyn Publisher> = Arc::new(group_topic);
        replicas.followed_by(&group_topic);

        // The transaction coordinator; offsets of transactions are committed through the group coordinator.
        let (txns, txn_task) = TxnHandle::new(
            &host,
            Arc::new(InternalTopic::new(
                replicas.clone(),
                TRANSACTION_TOPIC,
                batch_bytes_max,
            )),
            TxnSettings::from(&config.settings),
            config.settings.int("transaction.state.log.num.partitions"),
            MarkerWriter::new(replicas.clone(), groups.clone(), to_marked),
            rounds.clone(),
        );
        let txns = txns.with_others(to_txns);
        let coordinators = vec![
            host.threads
                .spawn(halt.guard("share coordinator", share_task.watched_by(&halt).run())),
            host.threads
                .spawn(halt.guard("coordinator of groups", group_task.watched_by(&halt).run())),
            host.threads.spawn(halt.guard(
                "coordinator of transactions",
                txn_task.watched_by(&halt).run(),
            )),
        ];
        let transaction_topic = TransactionTopicWatcher::new(config.node_id, txns.clone());
        transaction_topic.install(&handle.load());
        let transaction_topic: Arc<dyn Publisher> = Arc::new(transaction_topic);
        replicas.followed_by(&transaction_topic);
        let wanted = Arc::new(Wanted {
            settings: config.settings.clone(),
            node_id: config.node_id,
            listeners: watch::Sender::new(config.listeners.clone()),
            tls: Arc::clone(&tls),
            entries: Arc::clone(&entries),
            clock: host.clock.clone(),
        });
        controller.add(Arc::clone(&wanted) as _);
        let quotas = Arc::new(Quotas::new(&config.settings, &host.clock, &handle.load()));
        controller.add(Arc::clone(&quotas) as _);
        let arrivals = controller.arrivals();
        let (mut controller, taker) = controller.start(&halt)?;
        let mut cluster = cluster;
        if let (Some(cluster), Some(arrivals)) = (&mut cluster, arrivals) {
            let following = controller.clone().follow(arrivals);
            let following = halt.guard("follower of the metadata", following);
            host.threads.spawn_among(&mut cluster.tasks, following);
            controller = controller.of(cluster.remote.clone());
        }

        let shares = Shares::new(
            &host,
            &halt,
            replicas.clone(),
            share_states.clone(),
            handle.clone(),
            ShareSettings::new(&config.settings),
            &memory,
        );
        let services = Arc::new(Services {
            node_id: config.node_id,
            cluster_id,
            image: handle,
            controller,
            remote: cluster.as_ref().map(|cluster| cluster.forwarding.clone()),
            replicas,
            sessions: FetchSessions::new(
                config
                    .settings
                    .int("max.incremental.fetch.session.cache.slots")
                    .max(0) as usize,
                seed(host.clock.now()),
            ),
            conversions: Default::default(),
            producer_ids: ProducerIds::default(),
            groups,
            txns,
            share_states,
            shares,
            disk: DiskPool::new(&host, config.settings.int("num.io.threads").max(1) as usize),
            handshakes: DiskPool::new(&host, half_the_processors()),
            work,
            tls,
            entries,
            authorizer: config.authorizer.clone().map(Authorizer::new),
            quotas,
            salts,
            memory,
            host: host.clone(),
            config: Arc::clone(&config),
        });

        // Clients are accepted last.
        let (stop, stopping) = watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        let mut listeners = Listeners::new(
            Arc::clone(&services),
            wanted.listeners.subscribe(),
            limits(&config),
            stopping.clone(),
            halt.clone(),
        );
        let mut addresses = Vec::new();
        for (listener, opened) in sockets {
            addresses.extend(listeners.accept(listener, opened));
        }
        // Dynamic settings from before this start.
        wanted.install(&services.image.load());
        listeners.follow().await;
        host.threads
            .spawn_among(&mut tasks, halt.guard("listeners", listeners.run()));
        let admin_address = admin.first().and_then(|socket| socket.local_addr().ok());
        for socket in admin {
            let console = console::run(socket, Arc::clone(&services), stopping.clone());
            host.threads
                .spawn_among(&mut tasks, halt.guard("admin listener", console));
        }
        // A snapshot may contain producers that have expired by now.
        logs.expire_producers(
            host.clock.now(),
            housekeeping::producer_expiration_ms(&services),
        );
        let housekeeping =
            housekeeping::run(Arc::clone(&logs), Arc::clone(&services), stopping.clone());
        host.threads
            .spawn_among(&mut tasks, halt.guard("housekeeping", housekeeping));
        let cleaner = cleaner::run(Arc::clone(&logs), Arc::clone(&services), stopping.clone());
        host.threads
            .spawn_among(&mut tasks, halt.guard("cleaner", cleaner));
        let log_dirs = LogDirs {
            services: Arc::clone(&services),
            metadata_dir: config.metadata_log_dir.clone(),
            report_limit: millis(config.settings.long("log.dir.failure.timeout.ms").max(1)),
            halt: halt.clone(),
            membership: cluster.as_ref().map(|cluster| cluster.membership.clone()),
        };
        host.threads.spawn_among(
            &mut tasks,
            halt.guard("log directories", log_dirs.run(stopping.clone())),
        );
        let prune = services.share_states.clone().prune_until(stopping.clone());
        host.threads
            .spawn_among(&mut tasks, halt.guard("pruning of share states", prune));
        let locks = services.shares.clone().run(stopping.clone());
        host.threads
            .spawn_among(&mut tasks, halt.guard("locks of share groups", locks));
        let maker = maker::run(Arc::clone(&services), stopping.clone());
        host.threads
            .spawn_among(&mut tasks, halt.guard("maker", maker));
        let stopped = || {
            let mut stopping = stopping.clone();
            async move { drop(stopping.wait_for(|stop| *stop).await) }
        };
        let changed_by: Arc<dyn isr_changes::Controller> = match &cluster {
            Some(cluster) => Arc::new(OverRemote(cluster.isr_changes.clone())),
            None => Arc::new(InProcess(services.controller.clone())),
        };
        let isr_changes = isr_changes::run(services.replicas.clone(), changed_by, stopped());
        host.threads
            .spawn_among(&mut tasks, halt.guard("ISR changes", isr_changes));
        if let (Some(cluster), Some(leaders)) = (&cluster, leaders) {
            let (membership, replicas) = (cluster.membership.clone(), services.replicas.clone());
            let versions = cluster.forwarding.clone().learn_versions();
            host.threads.spawn_among(
                &mut tasks,
                halt.guard("versions of the controllers", until(versions, stopped())),
            );
            let epochs = membership.follow_epoch(move |epoch| replicas.set_broker_epoch(epoch));
            host.threads.spawn_among(
                &mut tasks,
                halt.guard("broker epoch", until(epochs, stopped())),
            );
            let (fetchers, stopped) = (services.replicas.fetchers().clone(), stopped());
            let fetching = async move { fetchers.run(leaders, stopped).await };
            host.threads
                .spawn_among(&mut tasks, halt.guard("fetchers", fetching));
        }
        host.threads.spawn_among(
            &mut tasks,
            halt.guard("mover", mover::run(Arc::clone(&services), stopping.clone())),
        );
        if let Some(cluster) = &cluster {
            let membership = cluster.membership.clone();
            let placing = tell_places(Arc::clone(&services), placed);
            let ready = async move {
                // A broker that is unfenced may be elected, and then the controllers must know where its replicas are: if a
                // log directory failed, they would not take the right leaderships away.
                placing.await;
                membership.ready();
            };
            host.threads
                .spawn_among(&mut tasks, halt.guard("ready", until(ready, stopped())));
        }
        Ok(Self {
            addresses,
            admin: admin_address,
            services,
            logs,
            _metadata_lock: metadata_lock,
            stop,
            halt,
            cluster,
            controller: Some(taker),
            tasks,
            coordinators,
            _followers: [share_topic, group_topic, transaction_topic],
            rounds,
        })
    }
}

/// Runs a task until `stop` completes.
async fn until(task: impl Future<Output = ()>, stop: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop => {}
        () = task => {}
    }
}

/// Options of the first start of a single node.
struct Fresh {
    of_zookeeper: bool,
    clamp_replication: bool,
}

/// Opens the metadata log of a single node: builds the image, begins a new epoch, and registers the node.
fn lead(
    host: &Host,
    config: &Arc<BrokerConfig>,
    logs: &Arc<LogManager>,
    new: Fresh,
    registration: Registration,
) -> Result<Controller, StartError> {
    let metadata_dir = host.disk.dir(&config.metadata_log_dir);
    let clean = dir::was_stopped_cleanly(metadata_dir);
    let upkeep = Upkeep::new(&config.settings);
    let now = host.clock.now();
    let (quorum, image) = SingleQuorum::open(metadata_dir, config.node_id, clean, upkeep, now)?;
    let fresh = image.features.is_empty();
    let setup = Setup {
        node_id: config.node_id,
        settings: config.settings.clone(),
        clamp_replication: new.clamp_replication,
    };
    let mut controller = Controller::new(host, Box::new(quorum), image, setup, upkeep);
    if fresh {
        // The topics in the directories are added in the same batch, so that an interrupted start begins again from nothing.
        let mut records = match formatted_with(metadata_dir)? {
            Some(given) => bootstrap::completed(given),
            None => bootstrap::records(new.of_zookeeper),
        };
        records.extend(adopt::topics_on_disk(logs, config, host.clock.now())?);
        controller.ask(Activation { records })?;
    }
    controller.ask(registration)?;
    Ok(controller)
}

/// Refuses directories without a cluster id: formatting them chooses the cluster.
fn is_formatted(host: &Host, config: &BrokerConfig) -> Result<(), StartError> {
    let metadata_dir = &config.metadata_log_dir;
    match dir::MetaProperties::read(host.disk.dir(metadata_dir))? {
        Some(_) => Ok(()),
        None => Err(StartError::Cluster(format!(
            "{} is not formatted; format it for the cluster of its controllers by 'monedula storage format --cluster-id ID', as kafka-storage.sh does",
            metadata_dir.display()
        ))),
    }
}

/// Id of the directory with the metadata log.
fn directory_id(formatted: &Formatted, config: &BrokerConfig) -> Uuid {
    let mut dirs = formatted.dirs.iter();
    let own = dirs.find(|(path, _)| *path == config.metadata_log_dir);
    own.and_then(|(_, id)| id.as_ref().ok().copied())
        .unwrap_or(Uuid::ZERO)
}

/// Has the controllers record the log directories of replicas, until they have.
async fn tell_places(services: Arc<Services>, placed: Vec<Assignment>) {
    while !placed.is_empty() && !services.are_told(&placed).await {
        tracing::warn!("the controllers have not recorded the log directories of replicas yet");
        tokio::time::sleep(PLACES_TOLD_AGAIN).await;
    }
}

/// Pause before the controllers are told again.
const PLACES_TOLD_AGAIN: Duration = Duration::from_secs(1);

/// Secret for the salts of unknown users: the same at every start, and unknown to clients.
fn salts(formatted: &Formatted) -> SaltSecret {
    let ids = formatted.dirs.iter().filter_map(|(_, id)| id.as_ref().ok());
    let first = ids.map(ToString::to_string).next().unwrap_or_default();
    SaltSecret::new(format!("{} {first}", formatted.cluster_id).as_bytes())
}

/// Number of coordinators (groups, transactions, share states); each processes one round at a time.
const COORDINATORS: usize = 3;

/// Number of threads for handshakes, and for long requests: the other half of the processors is for everything else.
fn half_the_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get() / 2)
}

fn limits(config: &BrokerConfig) -> Limits {
    let idle_ms = config.settings.long("connections.max.idle.ms");
    Limits {
        request_bytes_max: config.settings.int("socket.request.max.bytes").max(0) as usize,
        // A negative setting means no limit.
        idle: millis(if idle_ms < 0 { i64::MAX } else { idle_ms }),
    }
}

/// First id of fetch sessions, from the time, so that ids of two starts differ.
fn seed(now: i64) -> i32 {
    (now as i32 & 0x3fff_ffff).max(1)
}

/// Opens the sockets of an endpoint, on a thread that may wait for name resolution.
pub(super) async fn listening(
    host: &Host,
    endpoint: &Endpoint,
    config: &Arc<BrokerConfig>,
) -> Result<Vec<Listening>, StartError> {
    let (network, endpoint, config) = (host.network.clone(), endpoint.clone(), Arc::clone(config));
    let opening = move || listen(&network, &endpoint, &config);
    host.threads.blocking(opening).await
}

fn listen(
    network: &Network,
    endpoint: &Endpoint,
    config: &BrokerConfig,
) -> Result<Vec<Listening>, StartError> {
    let failed = |source: std::io::Error| {
        let source = if source.kind() == std::io::ErrorKind::AddrInUse {
            std::io::Error::new(
                source.kind(),
                "the port is in use; is another broker running?",
            )
        } else {
            source
        };
        StartError::Listen {
            address: endpoint.to_string(),
            source,
        }
    };
    let options = listen_options(config);
    let mut port = endpoint.port;
    let mut sockets = Vec::new();
    for ip in network.own_addresses(&endpoint.host).map_err(failed)? {
        match network.listen(SocketAddr::new(ip, port), &options) {
            Ok(socket) => {
                // A port chosen by the system must be the same for all addresses.
                port = socket.local_addr().map_err(failed)?.port();
                sockets.push(socket);
            }
            // The machine may support only IPv4 or only IPv6.
            Err(error) if !sockets.is_empty() || ip.is_ipv6() && is_unavailable(&error) => {
                tracing::debug!(%ip, %error, "not listening on this address");
            }
            Err(error) => return Err(failed(error)),
        }
    }
    if sockets.is_empty() {
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        sockets.push(network.listen(any, &options).map_err(failed)?);
    }
    Ok(sockets)
}

fn is_unavailable(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::AddrNotAvailable | std::io::ErrorKind::Unsupported
    ) || error.raw_os_error() == Some(97)
}

fn listen_options(config: &BrokerConfig) -> ListenOptions {
    let size = |name: &str, default| match config.settings.explicit(name) {
        // -1 leaves the size to the kernel.
        Some(_) => usize::try_from(config.settings.int(name)).ok(),
        None => default,
    };
    ListenOptions {
        backlog: config.settings.int("socket.listen.backlog.size").max(1),
        // Kafka differs: its default of 100 KiB is not set, because the kernel finds better sizes for receiving.
        receive_buffer: size("socket.receive.buffer.bytes", None),
        send_buffer: size("socket.send.buffer.bytes", Some(SEND_BUFFER)),
    }
}

fn registration(
    config: &BrokerConfig,
    host: &Host,
    sockets: &[(Listener, Vec<Listening>)],
    log_dirs: Vec<Uuid>,
) -> Result<Registration, StartError> {
    let endpoints = sockets
        .iter()
        .map(|(listener, opened)| {
            let bound = opened.first().and_then(|socket| socket.local_addr().ok());
            let port = bound.map_or(listener.endpoint.port, |address| address.port());
            let (name, port) = match &listener.advertised {
                Some(advertised) => {
                    let advertised = with_host(advertised.clone(), &host.network);
                    (advertised.host, advertised.port)
                }
                None if listener.endpoint.is_wildcard() => ("localhost".to_owned(), port),
                None => (listener.endpoint.host.clone(), port),
            };
            (
                listener.endpoint.name.clone(),
                name,
                port,
                listener.protocol as i16,
            )
        })
        .collect();
    Ok(Registration {
        node_id: config.node_id,
        incarnation: bootstrap::random_uuid(&host.chance)?,
        endpoints,
        controller: (
            config.controller.name.clone(),
            config.controller.host.clone(),
            config.controller.port,
        ),
        rack: config.rack.clone(),
        log_dirs,
    })
}
