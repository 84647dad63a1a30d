//! Acceptors: one accept loop per listening socket, with limits on the number of connections in total and per address.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::{Notify, watch};

use bytes::BytesMut;

use super::connection::{Limits, serve};
use super::handshake::shake_hands;
use crate::api::context::ConnectionInfo;
use crate::api::services::Services;
use crate::base::memory::Account;
use crate::config::broker::{CONNECTIONS_PER_IP, Listener, connections_per_ip};
use crate::config::listener::{Endpoint, SecurityProtocol};
use crate::host::Host;
use crate::host::container;
use crate::host::network::{Listening, Network};
use crate::host::socket::Socket;
use crate::host::task::guarded_or;
use crate::metadata::image::Image;
use crate::quota::quotas::Quotas;
use crate::quota::rate::Rate;
use crate::security::distinguished_name;
use crate::security::listeners::Entry;
use crate::security::principal::Principal;
use crate::security::sasl::login::Login;
use crate::transport::stream::Stream;

/// Pause after a failed accept. The usual cause is that the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Interval at which a connection that waits for admission reads the limit again.
const LIMIT_CHECK: Duration = Duration::from_secs(1);
/// Time that the first connection waits for the host names in `max.connections.per.ip.overrides` to be resolved. Later
/// connections never wait for names.
const NAMES_WITHIN: Duration = Duration::from_secs(5);

const MAX_CONNECTIONS: &str = "max.connections";
const MAX_PER_IP: &str = "max.connections.per.ip";
const MAX_RATE: &str = "max.connection.creation.rate";

/// Number of open connections, over all listeners, and the limits that apply to them.
#[derive(Debug, Default)]
pub struct Admission {
    open: Mutex<Open>,
    /// Rates of new connections, by listener, and of the whole broker.
    rates: Mutex<HashMap<Option<Arc<str>>, Rate>>,
    /// Notified when a connection ends.
    freed: Notify,
    known: Mutex<Known>,
    /// Gateway of the container that this process runs in, looked up once. The inner value is `None` outside of containers.
    gateway: OnceLock<Option<IpAddr>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// Limits as they were when last read from the settings.
#[derive(Debug, Default)]
struct Known {
    /// Limits, and the metadata image that they were read from.
    allowed: Option<(Arc<Image>, Arc<Allowed>)>,
    /// Value of `max.connections.per.ip.overrides` whose host names are being resolved now.
    asked: Option<String>,
}

impl Known {
    /// Adopts resolved host names. A result is dropped if the setting has changed since its lookup began: another lookup is
    /// running for the new value.
    fn learn(&mut self, of_some: OfSome) {
        if self.asked.as_ref() != Some(&of_some.text) {
            return;
        }
        self.asked = None;
        if let Some((_, allowed)) = &mut self.allowed {
            *allowed = Arc::new(Allowed {
                of_some: Arc::new(of_some),
                rates: Arc::clone(&allowed.rates),
                ..**allowed
            });
        }
    }
}

/// Limits on the number of connections. `total` is `max.connections`, or less if the file descriptors allow less.
#[derive(Debug)]
struct Allowed {
    total: usize,
    per_ip: usize,
    of_some: Arc<OfSome>,
    /// Connections per second; `None` if there is no limit.
    rate: Option<f64>,
    /// Limits of single listeners.
    rates: Arc<HashMap<String, f64>>,
}

/// Limits of single addresses, from `max.connections.per.ip.overrides`.
#[derive(Debug)]
struct OfSome {
    /// Value of the setting, if all of its host names have been looked up; otherwise empty.
    text: String,
    by_ip: HashMap<IpAddr, usize>,
}

impl OfSome {
    /// Limits of the addresses that are given as numbers, and whether these are all entries of the setting.
    fn at_once(text: &str) -> (Self, bool) {
        let named = connections_per_ip(text).unwrap_or_default();
        let address = |(name, most): &(&str, usize)| {
            let address: IpAddr = name.parse().ok()?;
            Some((address.to_canonical(), *most))
        };
        let by_ip: HashMap<_, _> = named.iter().filter_map(address).collect();
        let is_all = named.iter().all(|one| address(one).is_some());
        let text = if is_all { text } else { "" }.to_owned();
        (Self { text, by_ip }, is_all)
    }

    /// Limits of all entries. Host names are resolved on a thread that may block.
    async fn by(text: &str, host: &Host) -> Self {
        let mut by_ip = HashMap::new();
        for (name, most) in connections_per_ip(text).unwrap_or_default() {
            let found = match name.parse::<IpAddr>() {
                Ok(address) => Ok(vec![address]),
                Err(_) => {
                    let (network, name) = (host.network.clone(), name.to_owned());
                    let asked = host.threads.blocking(move || network.addresses(&name));
                    asked.await
                }
            };
            match found {
                Ok(found) => by_ip.extend(found.iter().map(|one| (one.to_canonical(), most))),
                Err(error) => {
                    tracing::warn!(host = name, %error, "no address for {CONNECTIONS_PER_IP}")
                }
            }
        }
        let text = text.to_owned();
        Self { text, by_ip }
    }
}

impl Allowed {
    fn of(&self, ip: IpAddr) -> usize {
        let ip = ip.to_canonical();
        self.of_some.by_ip.get(&ip).copied().unwrap_or(self.per_ip)
    }
}

/// Reason why a connection is not admitted.
#[derive(Debug, PartialEq)]
enum Refused {
    /// The total limit is reached. The connection waits until another one ends.
    Full,
    /// The limit of the peer's address is reached.
    Address,
}

impl Admission {
    fn admit(self: &Arc<Self>, ip: IpAddr, allowed: &Allowed) -> Result<Admitted, Refused> {
        let ip = ip.to_canonical();
        let mut open = self.open.lock();
        if open.total >= allowed.total {
            return Err(Refused::Full);
        }
        let of_ip = open.by_ip.entry(ip).or_default();
        if *of_ip >= allowed.of(ip) {
            return Err(Refused::Address);
        }
        *of_ip += 1;
        open.total += 1;
        Ok(Admitted {
            ip,
            admission: Arc::clone(self),
        })
    }

    /// Counts a new connection of a listener. Gives the time for which the listener accepts no other, because they come faster
    /// than `max.connection.creation.rate` allows. Kafka's `ConnectionQuotas`: a listener of its own for the other brokers is
    /// not held to the rate of the whole broker.
    fn pace(
        &self,
        listener: &Arc<str>,
        is_protected: bool,
        allowed: &Allowed,
        quotas: &Quotas,
    ) -> Duration {
        let own = allowed.rates.get(&**listener).copied();
        let of_broker = allowed.rate.filter(|_| !is_protected);
        let limits = [(Some(listener), own), (None, of_broker)];
        let limits = limits
            .into_iter()
            .filter_map(|(of, limit)| Some((of, limit?)));
        let mut pause_ms = 0;
        for (of, limit) in limits {
            let (now, windows) = (quotas.now(), quotas.windows());
            let mut rates = self.rates.lock();
            let rate = rates.entry(of.cloned()).or_default();
            rate.record(1.0, now, windows);
            // As in Kafka, the pause is one window at most.
            pause_ms = pause_ms.max(rate.throttle_ms(limit, now, windows).min(windows.size_ms));
        }
        Duration::from_millis(pause_ms.unsigned_abs())
    }
}

/// Place of an admitted connection. Dropping the place gives it back.
#[derive(Debug)]
struct Admitted {
    ip: IpAddr,
    admission: Arc<Admission>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        open.total -= 1;
        if let Some(count) = open.by_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
        self.admission.freed.notify_waiters();
    }
}

/// Accept loop of one listener, with the values that all connections of the listener share.
#[derive(Clone, Debug)]
pub struct Acceptor {
    pub services: Arc<Services>,
    pub listener: Arc<str>,
    pub protocol: SecurityProtocol,
    /// Listeners as configured now, with their advertised addresses.
    pub wanted: watch::Receiver<Vec<Listener>>,
    pub limits: Limits,
    pub admission: Arc<Admission>,
    /// Becomes true when the listener is closed.
    pub stopping: watch::Receiver<bool>,
}

impl Acceptor {
    /// Accepts connections until the listener is closed. The connections of the listener end then, too.
    pub async fn run(self, socket: Listening) {
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                // Stopping is polled first, so that a flood of connections cannot delay it.
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(listener = %self.listener, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let place = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                place = self.place(peer) => place,
            };
            let Some(place) = place else { continue };
            match self.services.quotas.connect(peer.ip()) {
                None => self.take(stream, peer, place),
                Some(after) => self.hold(stream, peer, place, after),
            }
        }
    }

    /// Admits a connection, or gives `None` if its address has too many. If the total limit is reached, this waits until a
    /// connection ends. Later connections wait in the backlog of the socket meanwhile, as in Kafka.
    async fn place(&self, peer: SocketAddr) -> Option<Admitted> {
        let mut told = false;
        let config = &self.services.config;
        let is_protected =
            config.listeners.len() > 1 && *self.listener == *config.inter_broker_listener;
        let (allowed, quotas) = (self.allowed().await, &self.services.quotas);
        let pause = self
            .admission
            .pace(&self.listener, is_protected, &allowed, quotas);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        loop {
            let freed = self.admission.freed.notified();
            let mut freed = std::pin::pin!(freed);
            // From here on, no notification is missed.
            freed.as_mut().enable();
            let allowed = self.allowed().await;
            match self.admission.admit(peer.ip(), &allowed) {
                Ok(place) => return Some(place),
                Err(Refused::Address) => {
                    tracing::info!(
                        %peer, listener = %self.listener,
                        "refusing a connection: its address has {MAX_PER_IP} of them"
                    );
                    return None;
                }
                Err(Refused::Full) => {
                    if !told {
                        tracing::warn!(
                            %peer, listener = %self.listener,
                            "a connection waits until another one ends: there are as many as {MAX_CONNECTIONS} and the limit on open files allow"
                        );
                        told = true;
                    }
                    // The timeout is for a limit that was raised in the meantime.
                    let _ = tokio::time::timeout(LIMIT_CHECK, freed).await;
                }
            }
        }
    }

    /// Current limits. They are read again when the metadata image has changed, since settings can change while the broker
    /// runs. When the overrides name other hosts, the former overrides stay in force until the new names are resolved, so that
    /// no connection waits for a name server.
    async fn allowed(&self) -> Arc<Allowed> {
        let image = self.services.image.load();
        let known = self.admission.known.lock().allowed.clone();
        if let Some((of, allowed)) = &known
            && Arc::ptr_eq(of, &image)
        {
            return Arc::clone(allowed);
        }
        let (settings, host) = (self.services.settings(&image), &self.services.host);
        let text = settings.get(CONNECTIONS_PER_IP).unwrap_or_default();
        let before = known.map(|(_, allowed)| Arc::clone(&allowed.of_some));
        let (at_once, is_all) = OfSome::at_once(text);
        let is_first = before.is_none();
        let is_known = is_all || before.as_ref().is_some_and(|before| before.text == text);
        let of_some = match before {
            Some(before) if !is_all => before,
            _ => Arc::new(at_once),
        };
        let total = settings.int(MAX_CONNECTIONS).max(1) as usize;
        let is_limited = |rate: &f64| *rate < f64::from(i32::MAX);
        let own = |listener: &Listener| {
            let name = &listener.endpoint.name;
            let key = format!("listener.name.{}.{MAX_RATE}", name.to_lowercase());
            let rate: f64 = settings.explicit(&key)?.trim().parse().ok()?;
            is_limited(&rate).then(|| (name.clone(), rate))
        };
        let rates: HashMap<_, _> = self.wanted.borrow().iter().filter_map(own).collect();
        let allowed = Arc::new(Allowed {
            rate: Some(f64::from(settings.int(MAX_RATE))).filter(is_limited),
            rates: Arc::new(rates),
            total: total.min(host.descriptors.connections_max()),
            per_ip: settings.int(MAX_PER_IP).max(0) as usize,
            of_some,
        });
        let asks = {
            let mut known = self.admission.known.lock();
            known.allowed = Some((image, Arc::clone(&allowed)));
            let asked = (!is_known).then(|| text.to_owned());
            let asks = asked.is_some() && known.asked != asked;
            known.asked = asked;
            asks
        };
        if asks {
            let (text, host) = (text.to_owned(), host.clone());
            let admission = Arc::clone(&self.admission);
            let learned = self.services.host.threads.spawn(async move {
                let of_some = OfSome::by(&text, &host).await;
                admission.known.lock().learn(of_some);
            });
            if is_first {
                // A host name that does not resolve in time counts as unlisted: its connection gets the general limit.
                drop(tokio::time::timeout(NAMES_WITHIN, learned).await);
                let known = self.admission.known.lock();
                return known
                    .allowed
                    .as_ref()
                    .map_or(allowed, |(_, now)| Arc::clone(now));
            }
        }
        allowed
    }

    /// Holds a connection whose address makes too many, and closes it after a while. As in Kafka, it is not closed at once, as
    /// clients would try again at once.
    fn hold(&self, stream: Socket, peer: SocketAddr, place: Admitted, after: Duration) {
        tracing::debug!(%peer, listener = %self.listener, ?after, "a connection over the quota of its address");
        let mut stopping = self.stopping.clone();
        self.services.host.threads.spawn(async move {
            let _ = tokio::time::timeout(after, stopping.wait_for(|stop| *stop)).await;
            drop((stream, place));
        });
    }

    fn take(&self, stream: Socket, peer: SocketAddr, place: Admitted) {
        let info = match self.greet(&stream, peer) {
            Ok(info) => Arc::new(info),
            Err(error) => {
                tracing::debug!(%peer, %error, "a connection was gone before it was served");
                return;
            }
        };
        let (host, port) = info.reachable();
        tracing::debug!(%peer, listener = %self.listener, %host, port, "advertising to a client");
        let services = Arc::clone(&self.services);
        let meter = services.meters().listener(&self.listener);
        let held = (place, meter.connection());
        let limits = self.limits.clone();
        let mut stopping = self.stopping.clone();
        let Some(entry) = services.entries.of(&self.listener) else {
            tracing::error!(%peer, listener = %self.listener, "nothing says how a connection is let in");
            return;
        };
        if !self.protocol.has_tls() {
            let (peer, listener) = (info.peer, Arc::clone(&info.listener));
            let (stream, login) = (Stream::Plain(stream), login(&entry));
            let served = async move {
                tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stop| *stop) => {}
                    () = serve(stream, BytesMut::new(), services, info, limits, login) => {}
                }
                drop(held);
            };
            let tell = move |what| report(what, peer, &listener);
            let threads = &self.services.host.threads;
            threads.spawn(guarded_or("connection", served, tell));
            return;
        }
        let Some(config) = self.services.tls.of(&self.listener) else {
            tracing::error!(%peer, listener = %self.listener, "there is no certificate for a connection");
            return;
        };
        let (peer, listener) = (info.peer, Arc::clone(&info.listener));
        let served = async move {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => {}
                () = serve_secured(stream, config, entry, services, info, limits) => {}
            }
            drop(held);
        };
        let tell = move |what| report(what, peer, &listener);
        let threads = &self.services.host.threads;
        threads.spawn(guarded_or("connection", served, tell));
    }

    fn greet(&self, stream: &Socket, peer: SocketAddr) -> io::Result<ConnectionInfo> {
        stream.set_nodelay()?;
        let local = stream.local_addr()?;
        let gateway = self.admission.gateway.get_or_init(container::gateway);
        let outside = *gateway == Some(peer.ip().to_canonical());
        let guessed = outside.then(|| Endpoint {
            name: self.listener.to_string(),
            host: "localhost".to_owned(),
            port: local.port(),
        });
        Ok(ConnectionInfo {
            listener: Arc::clone(&self.listener),
            protocol: self.protocol,
            principal: Arc::new(Principal::anonymous()),
            peer,
            local,
            advertised: self.told().or(guessed),
            account: Account::of(&self.services.memory),
            mute: Arc::default(),
        })
    }

    fn told(&self) -> Option<Endpoint> {
        let wanted = self.wanted.borrow();
        wanted
            .iter()
            .find(|listener| listener.endpoint.name == *self.listener)?
            .advertised
            .clone()
            .map(|endpoint| with_host(endpoint, &self.services.host.network))
    }
}

/// Logs a panic of a connection's task. The panic closes that connection only.
fn report(what: String, peer: SocketAddr, listener: &str) {
    tracing::error!(%peer, listener, reason = "a fault of the program: a panic", what, "closing a connection");
}

/// Endpoint as clients are told it. An empty host is replaced by the host name of the machine, as in Kafka.
pub fn with_host(mut endpoint: Endpoint, network: &Network) -> Endpoint {
    if endpoint.host.is_empty() {
        endpoint.host = network.own_name();
    }
    endpoint
}

/// Runs the TLS handshake of a connection, then serves it. The handshake is a future of its own, so that its memory is freed
/// before the long life of the connection begins.
async fn serve_secured(
    stream: Socket,
    config: Arc<ServerConfig>,
    entry: Entry,
    services: Arc<Services>,
    info: Arc<ConnectionInfo>,
    limits: Limits,
) {
    let closing = |reason: String| {
        tracing::info!(
            peer = %info.peer, listener = %info.listener, reason,
            "closing a connection"
        );
    };
    let hands = Box::pin(shake_hands(
        stream,
        config,
        limits.idle,
        &services.handshakes,
    ))
    .await;
    let meter = services.meters().listener(&info.listener);
    match hands {
        Ok((stream, early)) => match principal(&entry, &stream) {
            Ok(principal) => {
                if !matches!(entry, Entry::Sasl(_)) {
                    meter.authenticated.add(1);
                }
                let info = match principal {
                    Some(principal) => Arc::new(ConnectionInfo {
                        principal: Arc::new(principal),
                        ..(*info).clone()
                    }),
                    None => info,
                };
                serve(stream, early, services, info, limits, login(&entry)).await;
            }
            Err(reason) => {
                meter.refused.add(1);
                closing(reason);
            }
        },
        Err(Some(reason)) => {
            meter.refused.add(1);
            closing(reason);
        }
        Err(None) => {}
    }
}

fn login(entry: &Entry) -> Option<Box<Login>> {
    match entry {
        Entry::Sasl(listener) => Some(Box::new(Login::new(Arc::clone(listener)))),
        Entry::Free | Entry::Certificate(_) => None,
    }
}

/// Principal of a client's certificate. `None` if the listener does not derive principals from certificates, or if the client
/// sent none.
///
/// Errors: the reason why the certificate yields no principal, for the log.
fn principal(entry: &Entry, stream: &Stream) -> Result<Option<Principal>, String> {
    let (Entry::Certificate(rules), Some(certificate)) = (entry, stream.certificate()) else {
        return Ok(None);
    };
    let subject = distinguished_name::subject(certificate).map_err(|error| {
        format!("the subject of the client's certificate cannot be read: {error}")
    })?;
    rules
        .apply(&subject)
        .map(|name| Some(Principal::user(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_some(text: &str) -> OfSome {
        let by_ip = HashMap::from([(IpAddr::from([10, 0, 0, 7]), 3)]);
        let text = text.to_owned();
        OfSome { text, by_ip }
    }

    #[test]
    fn a_listener_pauses_when_connections_come_too_fast() {
        let quotas = Quotas::new(&Default::default(), &Default::default(), &Image::empty());
        let allowed = |rate, own: &[(&str, f64)]| Allowed {
            total: 9,
            per_ip: 9,
            of_some: Arc::new(of_some("")),
            rate,
            rates: Arc::new(
                own.iter()
                    .map(|(name, rate)| ((*name).to_owned(), *rate))
                    .collect(),
            ),
        };
        let pauses = |protected, allowed: &Allowed| {
            let (admission, name) = (Admission::default(), Arc::from("A"));
            let pause = || admission.pace(&name, protected, allowed, &quotas);
            (0..30).filter(|_| !pause().is_zero()).count()
        };
        assert_eq!(pauses(false, &allowed(None, &[])), 0);
        assert_eq!(pauses(false, &allowed(None, &[("B", 1.0)])), 0);
        assert!((18..=20).contains(&pauses(false, &allowed(None, &[("A", 1.0)]))));
        assert!((18..=20).contains(&pauses(false, &allowed(Some(1.0), &[]))));
        assert_eq!(pauses(true, &allowed(Some(1.0), &[])), 0);
    }

    #[test]
    fn addresses_have_their_limits_at_once_and_names_when_they_are_looked_up() {
        let (now, is_all) = OfSome::at_once("10.0.0.1:2, ::1:5");
        assert!(is_all && now.text == "10.0.0.1:2, ::1:5");
        let (now, is_all) = OfSome::at_once("10.0.0.1:2,other:5");
        assert!(!is_all && now.text.is_empty());
        assert_eq!(now.by_ip, HashMap::from([(IpAddr::from([10, 0, 0, 1]), 2)]));

        let allowed = |of_some| {
            Arc::new(Allowed {
                total: 9,
                per_ip: 1,
                of_some,
                rate: None,
                rates: Arc::default(),
            })
        };
        let mut known = Known {
            allowed: Some((Arc::new(Image::empty()), allowed(Arc::new(now)))),
            asked: Some("later:5".to_owned()),
        };
        // The setting has changed since this lookup began.
        known.learn(of_some("other:5"));
        let at_ten = |known: &Known, last| {
            let (_, allowed) = known.allowed.clone().unwrap();
            allowed.of([10, 0, 0, last].into())
        };
        assert_eq!((at_ten(&known, 1), at_ten(&known, 7)), (2, 1));
        known.learn(of_some("later:5"));
        assert_eq!((at_ten(&known, 1), at_ten(&known, 7)), (1, 3));
        assert_eq!(known.asked, None);
    }
}
