//! What happens on a connection before its first request: on a listener of protocol SSL, the handshake of TLS.
//!
//! A handshake costs a signature, or the verification of a chain: that is computed by threads that serve nobody, so many at
//! once, and whoever only opens connections keeps handshakes waiting, not requests.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::ServerConfig;
use tokio::time::timeout;

use crate::base::disk_pool::DiskPool;
use crate::host::socket::Socket;
use crate::transport::stream::{Handshake, Session, Stream};

/// Bytes that a client may send before its handshake is done. A long chain of certificates has some 10 KB.
const BYTES_MAX: usize = 256 << 10;
/// A handshake takes no longer, whatever `connections.max.idle.ms` is. Kafka differs: there it alone counts.
const WITHIN_MAX: Duration = Duration::from_secs(30);
const READ: usize = 8 << 10;
/// How long, and for how many bytes, a client that was refused is listened to: what it had sent already would otherwise
/// make the system drop the alert that tells it why.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: usize = 64 << 10;

/// Makes a stream of a socket; besides it, the bytes that came with the end of the handshake.
///
/// Errors: why there is none, for the log; `None` for a client that went.
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
    /// Gone only while a thread computes, and when that thread is gone.
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

    /// Sends the alert that says why.
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
