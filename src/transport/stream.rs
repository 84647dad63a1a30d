//! Socket of a client connection, plain or with TLS over it. No call blocks: an operation that the socket cannot do now fails
//! with `WouldBlock`.
//!
//! A TLS connection keeps only encrypted bytes that the socket has not taken, and the beginning of an incomplete record. An
//! idle connection keeps neither. All other bytes pass through a buffer of the thread.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

use crate::host::socket::Socket;

/// Number of bytes that are encrypted at a time, and read from a file for it. A slow reader keeps at most one encrypted chunk
/// in memory.
pub const CHUNK: usize = 64 << 10;
/// Number of encrypted bytes that are read from the socket at a time.
const READ: usize = 128 << 10;
/// Largest size of a record: 16 KiB, the expansion that TLS 1.2 allows, and the header.
const RECORD_MAX: usize = (16 << 10) + 2_048 + 5;
/// Upper limit on what encryption adds to a chunk: four records, each with a header, a nonce, a content type and a tag.
const OVERHEAD: usize = 512;
/// Largest size of unprocessed input. A handshake message may span records; rustls accepts none over 64 KiB.
const UNFINISHED_MAX: usize = (64 << 10) + RECORD_MAX;
/// Content type of handshake records. The first record of every TLS connection has it.
const HANDSHAKE: u8 = 22;
const _: () = assert!(UNFINISHED_MAX < READ);

thread_local! {
    static RECEIVING: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    static SENDING: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Plain or encrypted connection. See the module.
#[derive(Debug)]
pub enum Stream {
    Plain(Socket),
    Tls(Socket, Box<Session>),
}

impl Stream {
    pub fn tcp(&self) -> &Socket {
        match self {
            Self::Plain(tcp) | Self::Tls(tcp, _) => tcp,
        }
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_read_ready(cx)
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    /// Appends the bytes that have arrived to `input`. With TLS there may be none yet. `None` at the end of the stream.
    pub fn try_read(&mut self, input: &mut BytesMut) -> io::Result<Option<()>> {
        match self {
            Self::Plain(tcp) => Ok((tcp.try_read_buf(input)? > 0).then_some(())),
            Self::Tls(tcp, session) => session.try_read(tcp, input),
        }
    }

    /// Client certificate in DER, if the client sent one.
    pub fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(_, session) => {
                let chain = session.connection.peer_certificates();
                chain.and_then(<[_]>::first).map(|own| own.as_ref())
            }
        }
    }

    /// Whether encrypted bytes wait for the socket.
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_, session) => !session.unsent.is_empty(),
        }
    }

    /// Sends a TLS `close_notify` if the socket takes it at once.
    pub fn say_goodbye(&mut self) {
        if let Self::Tls(tcp, session) = self {
            session.close();
            let _ = session.flush(tcp);
        }
    }
}

/// TLS state of one connection.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// Beginning of an incomplete record or handshake message.
    received: Vec<u8>,
    /// Encrypted bytes that the socket has not taken.
    unsent: Unsent,
    /// Whether the peer has closed its sending side.
    ended: bool,
    /// Whether an error has occurred. rustls must not be used for this connection any more.
    failed: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Appends the bytes that `fill` writes. `fill` gives the number of bytes written, or the room that it needs.
    fn append(
        &mut self,
        guess: usize,
        mut fill: impl FnMut(&mut [u8]) -> Filled,
    ) -> io::Result<()> {
        let start = self.bytes.len();
        let mut room = guess;
        // If the first guess is too small, `fill` tells the room that it needs and is called a second time.
        for _ in 0..2 {
            self.bytes.resize(start + room, 0);
            match fill(self.bytes.get_mut(start..).unwrap_or_default()) {
                Filled::Written(len) => {
                    self.bytes.truncate(start + len);
                    return Ok(());
                }
                Filled::Needs(more) => room = more,
                Filled::Failed => break,
            }
        }
        self.bytes.truncate(start);
        Err(io::Error::other("TLS: a record cannot be encrypted"))
    }
}

enum Filled {
    Written(usize),
    Needs(usize),
    Failed,
}

impl From<Result<usize, EncodeError>> for Filled {
    fn from(result: Result<usize, EncodeError>) -> Self {
        match result {
            Ok(len) => Self::Written(len),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                Self::Needs(required_size)
            }
            Err(EncodeError::AlreadyEncoded) => Self::Failed,
        }
    }
}

impl From<Result<usize, EncryptError>> for Filled {
    fn from(result: Result<usize, EncryptError>) -> Self {
        match result {
            Ok(len) => Self::Written(len),
            Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                Self::Needs(required_size)
            }
            Err(EncryptError::EncryptExhausted) => Self::Failed,
        }
    }
}

/// State of the handshake after some bytes were processed.
#[derive(Debug, PartialEq, Eq)]
pub enum Handshake {
    Unfinished,
    Finished,
}

impl Session {
    /// Starts a session.
    ///
    /// Errors: rustls refuses the configuration.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, String> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)
                .map_err(|error| error.to_string())?,
            received: Vec::new(),
            unsent: Unsent::default(),
            ended: false,
            failed: false,
        })
    }

    /// Processes bytes of a handshake. Application data behind the handshake goes to `early`. The call may compute for as long
    /// as a signature takes.
    ///
    /// Errors: the reason why the handshake failed, for the log. An alert may wait to be flushed.
    pub fn shake_hands(&mut self, bytes: &[u8], early: &mut BytesMut) -> Result<Handshake, String> {
        let mut all = std::mem::take(&mut self.received);
        all.extend_from_slice(bytes);
        if all.first().is_some_and(|first| *first != HANDSHAKE)
            && self.connection.is_handshaking()
            && !self.has_spoken()
        {
            return Err("the client does not speak TLS".to_owned());
        }
        let taken = self
            .process(&mut all, early)
            .map_err(|error| error.to_string())?;
        all.drain(..taken);
        if all.len() > UNFINISHED_MAX {
            return Err("a message of the handshake is too long".to_owned());
        }
        self.received = all;
        self.received.shrink_to_fit();
        if self.ended {
            return Err("the client gave up".to_owned());
        }
        Ok(match self.connection.is_handshaking() {
            true => Handshake::Unfinished,
            false => Handshake::Finished,
        })
    }

    fn has_spoken(&self) -> bool {
        self.connection.protocol_version().is_some()
    }

    /// Writes encrypted bytes to the socket.
    ///
    /// Errors: `WouldBlock` if the socket does not take all of them.
    pub fn flush(&mut self, tcp: &Socket) -> io::Result<()> {
        while let Some(left) = self.unsent.bytes.get(self.unsent.sent..)
            && !left.is_empty()
        {
            match tcp.try_write(left)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.unsent.sent += written,
            }
        }
        self.unsent.bytes.clear();
        self.unsent.sent = 0;
        Ok(())
    }

    /// Frees the buffer of encrypted bytes if all of them are sent, because nothing more will be sent soon.
    pub fn rest(&mut self) {
        if self.unsent.is_empty() {
            self.unsent = Unsent::default();
        }
    }

    /// Encrypts the bytes that `gather` puts into a buffer of [`CHUNK`] bytes. Gives the result of `gather`.
    ///
    /// Errors: those of `gather`; keys that are used up.
    pub fn seal<T>(
        &mut self,
        gather: impl FnOnce(&mut [u8]) -> io::Result<(usize, T)>,
    ) -> io::Result<(usize, T)> {
        SENDING.with_borrow_mut(|buffer| {
            let (len, told) = gather(buffer)?;
            if let Some(plain) = buffer.get(..len).filter(|plain| !plain.is_empty()) {
                self.encrypt(plain)?;
            }
            Ok((len, told))
        })
    }

    fn encrypt(&mut self, plain: &[u8]) -> io::Result<()> {
        let unsent = &mut self.unsent;
        loop {
            // rustls wants to see the kept input again. No new bytes have been added to it.
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.received);
            match state.map_err(io::Error::other)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let fill = |room: &mut [u8]| traffic.encrypt(plain, room).into();
                    unsent.append(plain.len() + OVERHEAD, fill)?;
                    self.received.drain(..discard);
                    return Ok(());
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    unsent.append(0, |room| data.encode(room).into())?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                // The peer may close its sending side and still read.
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            self.received.drain(..discard);
        }
    }

    fn try_read(&mut self, tcp: &Socket, input: &mut BytesMut) -> io::Result<Option<()>> {
        if self.ended {
            return Ok(None);
        }
        RECEIVING.with_borrow_mut(|buffer| {
            let kept = self.received.len();
            let (head, room) = buffer
                .split_at_mut_checked(kept)
                .ok_or(io::ErrorKind::InvalidData)?;
            head.copy_from_slice(&self.received);
            let read = tcp.try_read(room)?;
            if read == 0 {
                return Ok(None);
            }
            let all = buffer.get_mut(..kept + read).unwrap_or_default();
            let taken = self.process(all, input).map_err(|error| {
                let _ = self.flush(tcp);
                io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}"))
            })?;
            let rest = all.get(taken..).unwrap_or_default();
            if rest.len() > UNFINISHED_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "TLS: a record is too long",
                ));
            }
            self.received = rest.to_vec();
            Ok(Some(()))
        })
    }

    /// Processes whole records from the front of `incoming`. Gives the number of bytes consumed. The rest must be passed again,
    /// at the front of the next input, because rustls remembers positions in it. Responses that the protocol demands, and
    /// alerts, wait to be flushed.
    fn process(
        &mut self,
        incoming: &mut [u8],
        plain: &mut BytesMut,
    ) -> Result<usize, rustls::Error> {
        let mut taken = 0;
        loop {
            let rest = incoming.get_mut(taken..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            let mut finished = false;
            let outcome = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => plain.extend_from_slice(record.payload),
                        Some(Err(error)) => break Err(error),
                        None => break Ok(()),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let encoded = self.unsent.append(0, |room| data.encode(room).into());
                    encoded.map_err(|error| rustls::Error::General(error.to_string()))
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(())
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                    finished = true;
                    Ok(())
                }
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.ended = true;
                    finished = true;
                    Ok(())
                }
                // Only early data could bring another state, and early data is not enabled.
                Ok(_) => Err(rustls::Error::General("an unexpected state".to_owned())),
                Err(error) => Err(error),
            };
            taken += discard;
            if let Err(error) = outcome {
                self.failed = true;
                self.alert(incoming.get_mut(taken..).unwrap_or_default());
                return Err(error);
            }
            if finished {
                return Ok(taken);
            }
        }
    }

    /// Queues the alert that tells the peer about an error. After an error, the alert is the first output of rustls.
    fn alert(&mut self, rest: &mut [u8]) {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(rest);
        if let Ok(ConnectionState::EncodeTlsData(mut data)) = state {
            // A failure to send the alert is ignored: the connection ends anyway.
            let _ = self.unsent.append(0, |room| data.encode(room).into());
        }
    }

    fn close(&mut self) {
        if self.failed {
            return;
        }
        let UnbufferedStatus { state, .. } =
            self.connection.process_tls_records(&mut self.received);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let fill = |room: &mut [u8]| traffic.queue_close_notify(room).into();
            // A failure to send `close_notify` is ignored: the connection ends anyway.
            let _ = self.unsent.append(OVERHEAD, fill);
        }
    }
}
