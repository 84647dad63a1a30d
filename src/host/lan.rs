//! Test-only: an in-memory network between simulated hosts. Every host has a name and an address. Bytes arrive in order, after
//! a delay that comes from a seed, by the paused clock of the runtime. A run with the same seed is therefore the same.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::chance::Chance;
use super::network::Network;
use super::socket::Socket;

/// Unread bytes that one side of a connection may have sent.
const WINDOW: usize = 64 << 10;
/// Upper bound on the delay of bytes, exclusive, in milliseconds. One millisecond is the resolution of the runtime's timers.
const DELAY_MS: u8 = 3;
/// First port that the network assigns.
const FIRST_PORT: u16 = 32_768;

/// A network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lan(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    seed: u64,
    /// Hosts in the order of their addresses.
    hosts: Vec<Known>,
    /// Listeners by host, address and port.
    listening: BTreeMap<(usize, IpAddr, u16), Arc<Backlog>>,
}

/// State of a host. Each host has its own random numbers, so its delays do not depend on other hosts.
#[derive(Debug)]
struct Known {
    name: String,
    chance: Chance,
    next_port: u16,
}

/// Connections that are not accepted yet.
#[derive(Debug, Default)]
struct Backlog {
    waiting: Mutex<VecDeque<(Pipe, SocketAddr)>>,
    one_more: Notify,
}

/// Place of one host in a network. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    lan: Lan,
    number: usize,
}

impl Lan {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            hosts: Vec::new(),
            listening: BTreeMap::new(),
        })))
    }

    /// Adds a host with this name. Gives the network as this host sees it.
    pub fn join(&self, name: &str) -> Network {
        let mut state = self.0.lock();
        let number = state.hosts.len();
        let seed = state.seed.wrapping_add(number as u64);
        state.hosts.push(Known {
            name: name.to_owned(),
            chance: Chance::seeded(seed),
            next_port: FIRST_PORT,
        });
        let lan = self.clone();
        Network::simulated(Place { lan, number })
    }
}

fn delay(chance: &Chance) -> Duration {
    let [byte] = chance.bytes().unwrap();
    Duration::from_millis(u64::from(byte % DELAY_MS))
}

fn address_of(number: usize) -> IpAddr {
    let [high, low] = (number as u16 + 1).to_be_bytes();
    Ipv4Addr::new(10, 0, high, low).into()
}

impl Place {
    pub fn name(&self) -> String {
        self.lan.0.lock().hosts[self.number].name.clone()
    }

    fn chance(&self) -> Chance {
        self.lan.0.lock().hosts[self.number].chance.clone()
    }

    fn port(&self) -> u16 {
        let host = &mut self.lan.0.lock().hosts[self.number];
        host.next_port += 1;
        host.next_port - 1
    }

    pub fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        if host == "localhost" {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let hosts = &self.lan.0.lock().hosts;
        let number = hosts.iter().position(|known| known.name == host);
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "no host has this name");
        Ok(vec![address_of(number.ok_or_else(unknown)?)])
    }

    pub fn listen(&self, address: SocketAddr) -> io::Result<Accepting> {
        let port = match address.port() {
            0 => self.port(),
            port => port,
        };
        let (ip, backlog) = (address.ip(), Arc::<Backlog>::default());
        let key = (self.number, ip, port);
        let listening = &mut self.lan.0.lock().listening;
        if listening.contains_key(&key) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        listening.insert(key, Arc::clone(&backlog));
        Ok(Accepting {
            lan: self.lan.clone(),
            key,
            backlog,
        })
    }

    pub async fn connect(&self, address: &str) -> io::Result<Socket> {
        let (host, port) = address
            .rsplit_once(':')
            .ok_or(io::ErrorKind::InvalidInput)?;
        let port = port.parse().map_err(io::Error::other)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        sleep(delay(&self.chance())).await;
        let mut refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        for ip in self.addresses(host)? {
            match self.connect_to(SocketAddr::new(ip, port)) {
                Ok(pipe) => return Ok(pipe.into()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn connect_to(&self, to: SocketAddr) -> io::Result<Pipe> {
        let (hosts, own) = (self.lan.0.lock().hosts.len(), address_of(self.number));
        let (number, from) = match to.ip().is_loopback() || to.ip().is_unspecified() {
            true => (Some(self.number), to.ip()),
            false => (
                (0..hosts).find(|number| address_of(*number) == to.ip()),
                own,
            ),
        };
        let number = number.ok_or(io::ErrorKind::HostUnreachable)?;
        let bound = [
            to.ip(),
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ];
        let from = SocketAddr::new(from, self.port());
        let chance = self.chance();
        let [there, back] = [(); 2].map(|()| Way::new(u64::from_ne_bytes(chance.bytes().unwrap())));
        let listening = &self.lan.0.lock().listening;
        let backlog = bound
            .iter()
            .find_map(|ip| listening.get(&(number, *ip, to.port())))
            .ok_or(io::ErrorKind::ConnectionRefused)?;
        let theirs = Pipe {
            local: to,
            incoming: Arc::clone(&there),
            outgoing: Arc::clone(&back),
        };
        backlog.waiting.lock().push_back((theirs, from));
        backlog.one_more.notify_one();
        Ok(Pipe {
            local: from,
            incoming: back,
            outgoing: there,
        })
    }
}

/// Listener; it stops listening when it is dropped.
#[derive(Debug)]
pub struct Accepting {
    lan: Lan,
    key: (usize, IpAddr, u16),
    backlog: Arc<Backlog>,
}

impl Accepting {
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.key.1, self.key.2)
    }

    pub async fn accept(&self) -> (Socket, SocketAddr) {
        loop {
            let one_more = self.backlog.one_more.notified();
            if let Some((pipe, peer)) = self.backlog.waiting.lock().pop_front() {
                return (pipe.into(), peer);
            }
            one_more.await;
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.lan.0.lock().listening.remove(&self.key);
        // Connections that were not accepted end.
        let waiting = std::mem::take(&mut *self.backlog.waiting.lock());
        drop(waiting);
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Pipe {
    local: SocketAddr,
    incoming: Arc<Mutex<Way>>,
    outgoing: Arc<Mutex<Way>>,
}

/// One direction of a connection.
#[derive(Debug)]
struct Way {
    chance: Chance,
    /// Unread bytes with the times of their arrival.
    sent: VecDeque<(Instant, VecDeque<u8>)>,
    unread: usize,
    /// Time at which the end of the stream arrives, once the sender has closed.
    end: Option<Instant>,
    /// Whether the reader is gone.
    deserted: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Timer that wakes the reader when bytes arrive.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Way {
    fn new(seed: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            chance: Chance::seeded(seed),
            sent: VecDeque::new(),
            unread: 0,
            end: None,
            deserted: false,
            reader: None,
            writer: None,
            alarm: None,
        }))
    }

    /// Arrival time of bytes sent now: not before that of earlier bytes.
    fn arrival(&self) -> Instant {
        let soon = Instant::now() + delay(&self.chance);
        self.sent.back().map_or(soon, |(at, _)| soon.max(*at))
    }

    /// Time at which there is something to read, which may be the end.
    fn next(&self) -> Option<Instant> {
        self.sent.front().map(|(at, _)| *at).or(self.end)
    }

    fn has_come(&self) -> bool {
        self.next().is_some_and(|at| at <= Instant::now())
    }

    fn has_ended(&self) -> bool {
        self.end.is_some_and(|at| at <= Instant::now())
    }

    fn poll_come(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_come() {
            return Poll::Ready(());
        }
        self.reader = Some(cx.waker().clone());
        let Some(at) = self.next() else {
            return Poll::Pending;
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(at)));
        alarm.as_mut().reset(at);
        alarm.as_mut().poll(cx)
    }

    /// Copies bytes that have arrived, and consumes them if `takes` is set.
    fn read(&mut self, out: &mut [u8], takes: bool) -> usize {
        let (now, mut filled) = (Instant::now(), 0);
        for (_, bytes) in self.sent.iter().take_while(|(at, _)| *at <= now) {
            for (to, from) in out[filled..].iter_mut().zip(bytes) {
                *to = *from;
                filled += 1;
            }
        }
        let mut left = if takes { filled } else { 0 };
        self.unread -= left;
        while left > 0 {
            let Some((_, bytes)) = self.sent.front_mut() else {
                break;
            };
            let taken = left.min(bytes.len());
            bytes.drain(..taken);
            left -= taken;
            if bytes.is_empty() {
                self.sent.pop_front();
            }
        }
        filled
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Pipe {
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Number of bytes that may be sent now.
    pub fn room(&self) -> usize {
        WINDOW - self.outgoing.lock().unread
    }

    pub fn has_hung_up(&self) -> bool {
        self.incoming.lock().has_ended()
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.incoming.lock().poll_come(cx)
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut way = self.outgoing.lock();
        if way.unread < WINDOW || way.deserted {
            return Poll::Ready(());
        }
        way.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    pub fn poll_peek(&self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<usize> {
        let mut way = self.incoming.lock();
        ready!(way.poll_come(cx));
        let read = way.read(out.initialize_unfilled(), false);
        out.advance(read);
        Poll::Ready(read)
    }

    pub fn try_read(&self, out: &mut [u8]) -> io::Result<usize> {
        let mut way = self.incoming.lock();
        if !way.has_come() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = way.read(out, true);
        way.wake_writer();
        Ok(read)
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut way = self.outgoing.lock();
        if way.deserted || way.end.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(WINDOW - way.unread);
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let at = way.arrival();
        way.sent
            .push_back((at, bytes[..len].iter().copied().collect()));
        way.unread += len;
        way.wake_reader();
        Ok(len)
    }

    /// Closes the sending side.
    pub fn end(&self) {
        let mut way = self.outgoing.lock();
        if way.end.is_none() {
            way.end = Some(way.arrival());
            way.wake_reader();
        }
    }

    pub fn poll_read(&self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<()> {
        ready!(self.poll_read_ready(cx));
        let mut way = self.incoming.lock();
        let read = way.read(out.initialize_unfilled(), true);
        out.advance(read);
        way.wake_writer();
        Poll::Ready(())
    }

    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_ready(cx));
        Poll::Ready(self.try_write(bytes))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.end();
        let mut way = self.incoming.lock();
        way.deserted = true;
        way.wake_writer();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::host::network::ListenOptions;

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    /// Echo of a million bytes, and the time that it took by the runtime's clock.
    async fn echo(seed: u64) -> (Vec<u8>, Duration) {
        let lan = Lan::new(seed);
        let (one, other) = (lan.join("one"), lan.join("other"));
        let began = Instant::now();
        let options = ListenOptions::default();
        let listening = other.listen(SocketAddr::new(ANY, 9_092), &options).unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, peer) = listening.accept().await.unwrap();
            assert_eq!(peer.ip(), address_of(0));
            let mut bytes = Vec::new();
            socket.read_to_end(&mut bytes).await.unwrap();
            socket.write_all(&bytes).await.unwrap();
        });
        let mut socket = one.connect("other:9092").await.unwrap();
        let sent: Vec<u8> = (0..1_000_000).map(|number| (number % 251) as u8).collect();
        socket.write_all(&sent).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut back = Vec::new();
        socket.read_to_end(&mut back).await.unwrap();
        server.await.unwrap();
        assert!(back == sent);
        (back, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_arrive_in_order_and_after_a_time_that_repeats() {
        let (first, again, other) = (echo(7).await, echo(7).await, echo(8).await);
        assert_eq!(first.1, again.1);
        assert!(first.1 > Duration::ZERO && first.1 != other.1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_there_is_an_error() {
        let lan = Lan::new(1);
        let (one, other) = (lan.join("one"), lan.join("other"));
        let kind = |error: io::Error| error.kind();
        let refused = one.connect("other:9092").await.map_err(kind);
        assert_eq!(refused.err(), Some(io::ErrorKind::ConnectionRefused));
        let unknown = one.connect("nobody:9092").await.map_err(kind);
        assert_eq!(unknown.err(), Some(io::ErrorKind::NotFound));
        let options = ListenOptions::default();
        let listening = other.listen(SocketAddr::new(ANY, 0), &options).unwrap();
        let port = listening.local_addr().unwrap().port();
        let taken = other.listen(SocketAddr::new(ANY, port), &options);
        assert_eq!(taken.map_err(kind).err(), Some(io::ErrorKind::AddrInUse));
        let mut socket = one.connect(&format!("other:{port}")).await.unwrap();
        // A listener that is dropped closes connections that it has not accepted.
        drop(listening);
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0);
        assert!(socket.has_hung_up());
        let gone = socket.write(&[0]).await.map_err(kind);
        assert_eq!(gone, Err(io::ErrorKind::BrokenPipe));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_holds_its_writer_up() {
        let lan = Lan::new(1);
        let network = lan.join("one");
        let options = ListenOptions::default();
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9_092);
        let listening = network.listen(address, &options).unwrap();
        let socket = network.connect("localhost:9092").await.unwrap();
        let (other, _) = listening.accept().await.unwrap();
        assert_eq!(socket.try_write(&[7; WINDOW + 1]).unwrap(), WINDOW);
        let full = socket.try_write(&[7]).map_err(|error| error.kind());
        assert_eq!(full, Err(io::ErrorKind::WouldBlock));
        other.readable().await.unwrap();
        let mut bytes = [0; 10];
        assert_eq!(other.try_read(&mut bytes).unwrap(), 10);
        socket.writable().await.unwrap();
        assert_eq!(socket.try_write(&[7; 20]).unwrap(), 10);
    }
}
