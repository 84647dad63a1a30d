//! One connection: frames in, answers out, in the order of the requests.
//!
//! A request is handled as soon as it was read, so appends happen in the order of arrival; its answer may have to
//! wait, and then waits in line without holding up the reading and appending of the requests behind it. An idle
//! connection holds no buffer.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::output::Output;
use crate::api::context::ConnectionInfo;
use crate::api::dispatch::{Dispatched, Encoded, dispatch};
use crate::api::services::Services;

/// Requests of one connection whose answers may wait at the same time; a client that pipelines more is read later.
const IN_FLIGHT_MAX: usize = 128;
/// The buffer that the first bytes of a request go to.
const FIRST_READ: usize = 4 << 10;
/// A buffer for the rest of a large frame grows in such steps, so that a claimed length alone takes no memory.
const GROWTH_MAX: usize = 4 << 20;
const LENGTH_SIZE: usize = 4;

/// Limits of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`.
    pub idle: Duration,
}

enum Slot {
    Ready(Encoded),
    Waiting(Pin<Box<dyn Future<Output = Result<Encoded, String>> + Send>>),
}

/// Why a connection ended; `None` for a peer that closed it.
type End = Option<String>;

/// Serves one connection until it ends.
pub async fn serve(
    stream: TcpStream,
    services: Arc<Services>,
    info: Arc<ConnectionInfo>,
    limits: Limits,
) {
    let mut connection = Connection {
        stream,
        services,
        info,
        limits,
        input: BytesMut::new(),
        hint: FIRST_READ,
        slots: VecDeque::new(),
        alone: false,
        output: Output::default(),
    };
    if let Some(reason) = connection.run().await {
        tracing::info!(
            peer = %connection.info.peer, listener = %connection.info.listener, reason,
            "closing a connection"
        );
    }
}

struct Connection {
    stream: TcpStream,
    services: Arc<Services>,
    info: Arc<ConnectionInfo>,
    limits: Limits,
    input: BytesMut,
    /// How much the next read makes room for: as much as the last request took.
    hint: usize,
    slots: VecDeque<Slot>,
    /// The last request must be done before the next one is looked at.
    alone: bool,
    output: Output,
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            if let Err(reason) = self.take_frames() {
                return Some(reason);
            }
            self.collect_answers();
            match self.output.write(&self.stream) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return broken(&error),
            }
            let idle = self.slots.is_empty() && self.output.is_empty();
            let deadline = idle.then(|| Instant::now() + self.limits.idle);
            match self.wait(deadline).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(end) => return end,
            }
        }
    }

    /// Waits until there is something to do: bytes to read, an answer that became ready, room to write. False when the
    /// peer has closed.
    async fn wait(&mut self, deadline: Option<Instant>) -> Result<bool, End> {
        let sleep = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(sleep);
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_answer(cx) {
                return Poll::Ready(result.map(|()| true).map_err(Some));
            }
            if !self.output.is_empty()
                && let Poll::Ready(result) = self.stream.poll_write_ready(cx)
            {
                return Poll::Ready(result.map(|()| true).map_err(|error| broken(&error)));
            }
            // While answers pile up behind a slow reader, nothing more is taken in.
            if self.slots.len() < IN_FLIGHT_MAX
                && !self.alone
                && self.output.is_empty()
                && let Poll::Ready(result) = self.poll_input(cx)
            {
                return Poll::Ready(result.map_err(|error| broken(&error)));
            }
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(None));
            }
            Poll::Pending
        })
        .await
    }

    /// Polls the answer at the front: only it can be sent next.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        match self.slots.front_mut() {
            Some(Slot::Waiting(future)) => match future.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => {
                    self.slots.pop_front();
                    self.output.push(answer);
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(reason)) => Poll::Ready(Err(reason)),
                Poll::Pending => Poll::Pending,
            },
            Some(Slot::Ready(_)) => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    /// Reads what has arrived; false at the end of the stream.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if self.input.is_empty() {
                        self.input = BytesMut::new();
                    }
                    return Poll::Pending;
                }
            }
            self.make_room();
            match self.stream.try_read_buf(&mut self.input) {
                Ok(read) => return Poll::Ready(Ok(read > 0)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Room for the rest of a frame whose length is known, or for a request like the last one.
    fn make_room(&mut self) {
        let missing = match self.input.first_chunk::<LENGTH_SIZE>() {
            Some(length) => {
                let frame = u32::from_be_bytes(*length) as usize + LENGTH_SIZE;
                frame.saturating_sub(self.input.len()).clamp(1, GROWTH_MAX)
            }
            None => self.hint,
        };
        if self.input.capacity() - self.input.len() < missing {
            self.input.reserve(missing);
        }
    }

    /// Handles every whole frame that is there.
    fn take_frames(&mut self) -> Result<(), String> {
        self.alone &= !self.slots.is_empty();
        while self.slots.len() < IN_FLIGHT_MAX
            && !self.alone
            && let Some(frame) = self.next_frame()?
        {
            match dispatch(&self.services, &self.info, frame) {
                Dispatched::Ready(answer) if self.slots.is_empty() => self.output.push(answer),
                Dispatched::Ready(answer) => self.slots.push_back(Slot::Ready(answer)),
                Dispatched::Later(future) => self.slots.push_back(Slot::Waiting(future)),
                Dispatched::Alone(future) => {
                    self.slots.push_back(Slot::Waiting(future));
                    self.alone = true;
                }
                Dispatched::Nothing => {}
                Dispatched::Close(reason) => return Err(reason),
            }
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, String> {
        let Some(length) = self.input.first_chunk::<LENGTH_SIZE>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        let size = usize::try_from(length)
            .ok()
            .filter(|size| *size <= self.limits.request_bytes_max)
            .ok_or_else(|| {
                format!(
                    "a request of {length} bytes, where {} are allowed",
                    self.limits.request_bytes_max
                )
            })?;
        if self.input.len() < LENGTH_SIZE + size {
            return Ok(None);
        }
        self.hint = (LENGTH_SIZE + size).clamp(FIRST_READ, GROWTH_MAX);
        let mut frame = self.input.split_to(LENGTH_SIZE + size).freeze();
        drop(frame.split_to(LENGTH_SIZE));
        Ok(Some(frame))
    }

    /// Moves answers that are ready from the front of the line to the socket.
    fn collect_answers(&mut self) {
        while let Some(Slot::Ready(_)) = self.slots.front() {
            if let Some(Slot::Ready(answer)) = self.slots.pop_front() {
                self.output.push(answer);
            }
        }
    }
}

/// A peer that is gone is no news; anything else is.
fn broken(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => None,
        _ => Some(error.to_string()),
    }
}
