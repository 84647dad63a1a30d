//! Network of a host: names, listeners, connections. All sockets of the crate are opened here.
//!
//! A simulated host has a place in an in-memory network (`lan.rs`) with its own names and addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, TcpStream};

#[cfg(test)]
use super::lan::{Accepting, Place};
use super::socket::Socket;

/// Default limit on connections that wait to be accepted.
const BACKLOG: i32 = 50;

/// Access to the network. Cheap to clone. The default is the system's network.
#[derive(Clone, Debug, Default)]
pub struct Network(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    #[cfg(test)]
    Simulated(Place),
}

/// Options of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Limit on connections that wait to be accepted.
    pub backlog: i32,
    /// Receive buffer of each connection in bytes; `None` for the system's default.
    pub receive_buffer: Option<usize>,
    /// Send buffer of each connection in bytes; `None` for the system's default.
    pub send_buffer: Option<usize>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: BACKLOG,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

/// A listening socket, until it is dropped.
#[derive(Debug)]
pub struct Listening(Waiting);

#[derive(Debug)]
enum Waiting {
    System(TcpListener),
    #[cfg(test)]
    Simulated(Accepting),
}

impl Network {
    /// Test-only: a network in memory, see `lan.rs`.
    #[cfg(test)]
    pub fn simulated(place: Place) -> Self {
        Self(Source::Simulated(place))
    }

    /// Name of this host, as other hosts know it.
    pub fn own_name(&self) -> String {
        match &self.0 {
            Source::System => {
                let name = rustix::system::uname();
                name.nodename().to_string_lossy().into_owned()
            }
            #[cfg(test)]
            Source::Simulated(place) => place.name(),
        }
    }

    /// Addresses of a host. Resolving the name may take long, so this must be called on a thread that may block.
    pub fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match &self.0 {
            Source::System => {
                let found = (host, 0).to_socket_addrs()?;
                Ok(found.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Source::Simulated(place) => place.addresses(host),
        }
    }

    /// Addresses to listen on for the host of a listener: both loopback addresses for `localhost`, the unspecified address for
    /// an empty host. May block like [`Self::addresses`].
    pub fn own_addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "" | "::" => Ok(vec![Ipv6Addr::UNSPECIFIED.into()]),
            "0.0.0.0" => Ok(vec![Ipv4Addr::UNSPECIFIED.into()]),
            "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            host => {
                let mut found = self.addresses(host)?;
                found.dedup();
                Ok(found)
            }
        }
    }

    /// Opens a listener on an address of this host. Port 0 stands for any free port.
    pub fn listen(&self, address: SocketAddr, options: &ListenOptions) -> io::Result<Listening> {
        match &self.0 {
            Source::System => open(address, options).map(Waiting::System).map(Listening),
            #[cfg(test)]
            Source::Simulated(place) => {
                place.listen(address).map(Waiting::Simulated).map(Listening)
            }
        }
    }

    /// Connects to `host:port`.
    pub async fn connect(&self, address: &str) -> io::Result<Socket> {
        match &self.0 {
            Source::System => TcpStream::connect(address).await.map(Socket::from),
            #[cfg(test)]
            Source::Simulated(place) => place.connect(address).await,
        }
    }
}

fn open(address: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Accepted connections inherit these options.
    socket.set_keepalive(true)?;
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    TcpListener::from_std(socket.into())
}

impl Listening {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Waiting::System(listener) => listener.local_addr(),
            #[cfg(test)]
            Waiting::Simulated(accepting) => Ok(accepting.local()),
        }
    }

    /// Next connection, and the address of its peer.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        match &self.0 {
            Waiting::System(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((stream.into(), peer))
            }
            #[cfg(test)]
            Waiting::Simulated(accepting) => Ok(accepting.accept().await),
        }
    }
}
