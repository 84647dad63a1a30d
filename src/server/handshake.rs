//! TLS handshake of a connection, before its first request (listeners of the protocols SSL and SASL_SSL).
//!
//! A handshake costs a signature or the verification of a certificate chain. A pool of threads for handshakes alone computes
//! it, with a limited number at once. A flood of new connections therefore delays other handshakes, but no requests.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::time::timeout;

use crate::base::disk_pool::DiskPool;
use crate::host::socket::Socket;
use crate::transport::stream::{Handshake, Session, Stream};

/// Bytes that a client may send before its handshake is complete. A long certificate chain has about 10 KB.
const BYTES_MAX: usize = 256 << 10;
/// Upper limit on the duration of a handshake.
///
/// Kafka differs: there the limit is `connections.max.idle.ms` alone.
const WITHIN_MAX: Duration = Duration::from_secs(30);
const READ: usize = 8 << 10;
/// Limits, in time and in bytes, on reading from a client whose handshake failed. Closing a socket with unread bytes makes the
/// kernel send a reset, and the client would lose the alert that tells the reason.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 64 << 10;

/// Runs the handshake. Gives the encrypted stream, and the decrypted bytes that arrived together with the end of the handshake.
///
/// Errors: the reason, for the log; `None` if the client closed the connection.
pub async fn shake_hands(
    tcp: Socket,
    config: Arc<ServerConfig>,
    idle: Duration,
    threads: &DiskPool,
) -> Result<(Stream, BytesMut), Option<String>> {
    let within = idle.min(WITHIN_MAX);
    let session = Session::new(config).map_err(Some)?;
    let mut hand = Hand {
        tcp,
        session: Some(Box::new(session)),
        early: BytesMut::new(),
    };
    match timeout(within, hand.shake(threads)).await {
        Ok(Ok(())) => match hand.session {
            Some(session) => Ok((Stream::Tls(hand.tcp, session), hand.early)),
            None => Err(None),
        },
        Ok(Err(Some(reason))) => {
            let _ = timeout(FAREWELL, hand.part()).await;
            Err(Some(format!("SSL handshake failed: {reason}")))
        }
        Ok(Err(None)) => Err(None),
        Err(_) => Err(Some(format!(
            "SSL handshake failed: it was not done within {} s",
            within.as_secs_f32()
        ))),
    }
}

struct Hand {
    tcp: Socket,
    /// TLS session. `None` while a thread computes with it, and for good if that thread has died.
    session: Option<Box<Session>>,
    early: BytesMut,
}

impl Hand {
    async fn shake(&mut self, threads: &DiskPool) -> Result<(), Option<String>> {
        let gone = |_: io::Error| None;
        let mut left = BYTES_MAX;
        loop {
            let mut bytes = Vec::with_capacity(READ);
            loop {
                self.tcp.readable().await.map_err(gone)?;
                match self.tcp.try_read_buf(&mut bytes) {
                    Ok(0) => return Err(None),
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Err(None),
                }
            }
            left = left
                .checked_sub(bytes.len())
                .ok_or_else(|| Some(format!("more than {BYTES_MAX} bytes came before its end")))?;
            let (mut session, mut early) = (
                self.session.take().ok_or(None)?,
                std::mem::take(&mut self.early),
            );
            let computed = threads.run(move || {
                let outcome = session.shake_hands(&bytes, &mut early);
                (session, early, outcome)
            });
            let (session, early, outcome) = computed.await.ok_or(None)?;
            self.session = Some(session);
            self.early = early;
            let outcome = outcome.map_err(Some)?;
            self.flush().await.map_err(gone)?;
            if outcome == Handshake::Finished {
                return Ok(());
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        loop {
            match session.flush(&self.tcp) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.writable().await?
                }
                flushed => {
                    session.rest();
                    return flushed;
                }
            }
        }
    }

    /// Sends the alert that tells the client the reason, then reads until the client closes or a limit is reached.
    async fn part(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.tcp.end()?;
        let mut left = FAREWELL_BYTES;
        while left > 0 {
            self.tcp.readable().await?;
            match self.tcp.try_read(&mut [0; 1 << 10]) {
                Ok(0) => break,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
