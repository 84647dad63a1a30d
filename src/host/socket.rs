//! Connection between two hosts, as a [`Network`](super::network::Network) opens or accepts it. Only `async` functions wait;
//! the others fail with `WouldBlock` if the socket is not ready.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::file::File;
#[cfg(test)]
use super::lan::Pipe;

/// A connected socket.
#[derive(Debug)]
pub struct Socket(Source);

#[derive(Debug)]
enum Source {
    System(TcpStream),
    #[cfg(test)]
    Simulated(Pipe),
}

/// Reading half of a connection.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// Writing half of a connection.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(Source::System(stream))
    }
}

#[cfg(test)]
impl From<Pipe> for Socket {
    fn from(pipe: Pipe) -> Self {
        Self(Source::Simulated(pipe))
    }
}

impl Socket {
    /// Local address of the connection.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Source::System(stream) => stream.local_addr(),
            #[cfg(test)]
            Source::Simulated(pipe) => Ok(pipe.local()),
        }
    }

    /// Disables Nagle's algorithm: each write is sent at once, even if earlier data is unacknowledged.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match &self.0 {
            Source::System(stream) => stream.set_nodelay(true),
            #[cfg(test)]
            Source::Simulated(_) => Ok(()),
        }
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Source::System(stream) => stream.poll_read_ready(cx),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.poll_read_ready(cx).map(Ok),
        }
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0 {
            Source::System(stream) => stream.poll_write_ready(cx),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.poll_write_ready(cx).map(Ok),
        }
    }

    /// Waits until there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_read_ready(cx)).await
    }

    /// Waits until something may be written.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_write_ready(cx)).await
    }

    /// Copies bytes that have arrived without consuming them.
    pub fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            Source::System(stream) => stream.poll_peek(cx, out),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.poll_peek(cx, out).map(Ok),
        }
    }

    /// Reads bytes that have arrived; 0 at the end of the stream.
    pub fn try_read(&self, out: &mut [u8]) -> io::Result<usize> {
        match &self.0 {
            Source::System(stream) => stream.try_read(out),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.try_read(out),
        }
    }

    /// Like [`Self::try_read`], into the free space of a buffer.
    pub fn try_read_buf(&self, out: &mut impl BufMut) -> io::Result<usize> {
        match &self.0 {
            Source::System(stream) => stream.try_read_buf(out),
            #[cfg(test)]
            Source::Simulated(pipe) => {
                let mut bytes = vec![0; out.chunk_mut().len()];
                let read = pipe.try_read(&mut bytes)?;
                out.put_slice(&bytes[..read]);
                Ok(read)
            }
        }
    }

    /// Writes bytes. Gives the number of bytes written.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Source::System(stream) => stream.try_write(bytes),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.try_write(bytes),
        }
    }

    /// Writes several buffers. With `more`, the kernel puts later data into the same packet. Gives the number of bytes written.
    pub fn send(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        match &self.0 {
            Source::System(stream) => {
                let mut flags = SendFlags::NOSIGNAL;
                flags.set(SendFlags::MORE, more);
                stream.try_io(Interest::WRITABLE, || {
                    let mut nothing = SendAncillaryBuffer::default();
                    let sent = rustix::net::sendmsg(stream.as_fd(), slices, &mut nothing, flags)?;
                    Ok(sent)
                })
            }
            #[cfg(test)]
            Source::Simulated(pipe) => {
                let all: Vec<u8> = slices.iter().flat_map(|one| one.to_vec()).collect();
                pipe.try_write(&all)
            }
        }
    }

    /// Sends a part of a file by sendfile. Gives the number of bytes sent.
    pub fn send_file(&self, file: &File, position: u64, len: usize) -> io::Result<usize> {
        match &self.0 {
            Source::System(stream) => stream.try_io(Interest::WRITABLE, || {
                file.send(stream.as_fd(), position, len)
            }),
            #[cfg(test)]
            Source::Simulated(pipe) => {
                let mut bytes = vec![0; len.min(pipe.room())];
                let read = file.read_at(&mut bytes, position, super::file::Reach::Disk)?;
                pipe.try_write(&bytes[..read])
            }
        }
    }

    /// Whether the peer has closed its sending side, even if there are still bytes to read.
    pub fn has_hung_up(&self) -> bool {
        match &self.0 {
            Source::System(stream) => {
                let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
                poll(&mut asked, Some(&Timespec::default())).is_ok_and(|answers| answers > 0)
            }
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.has_hung_up(),
        }
    }

    /// Closes the sending side.
    pub fn end(&self) -> io::Result<()> {
        match &self.0 {
            Source::System(stream) => socket2::SockRef::from(stream).shutdown(Shutdown::Write),
            #[cfg(test)]
            Source::Simulated(pipe) => {
                pipe.end();
                Ok(())
            }
        }
    }

    /// Splits the connection into its two directions.
    pub fn into_halves(self) -> (ReadHalf, WriteHalf) {
        match self.0 {
            Source::System(stream) => {
                let (incoming, outgoing) = stream.into_split();
                (Box::new(incoming), Box::new(outgoing))
            }
            #[cfg(test)]
            source @ Source::Simulated(_) => {
                let (incoming, outgoing) = tokio::io::split(Self(source));
                (Box::new(incoming), Box::new(outgoing))
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::System(stream) => Pin::new(stream).poll_read(cx, out),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.poll_read(cx, out).map(Ok),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Source::System(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(test)]
            Source::Simulated(pipe) => pipe.poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::System(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Source::Simulated(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Source::System(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Source::Simulated(pipe) => {
                pipe.end();
                Poll::Ready(Ok(()))
            }
        }
    }
}
