//! One client connection: reads frames and writes answers in the order of the requests.
//!
//! A request is handled as soon as it is read, so appends happen in the order of arrival. The answer to a produce or a fetch
//! may have to wait; the requests behind it are still read and handled. Any other request that waits blocks the requests behind
//! it, because they may rely on its effect; Kafka does this for all requests. A waiting fetch also blocks further fetches of
//! its connection: each of them would register with up to a thousand partitions long before its answer can be sent.
//!
//! An idle connection holds no buffer.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::output::{Output, Written, in_memory};
use crate::api::context::ConnectionInfo;
use crate::api::dispatch::{
    Answer, Dispatched, Encoded, dispatch, is_fetch, is_share_fetch, may_be_overtaken,
};
use crate::api::services::Services;
use crate::api::table;
use crate::base::file_range::FileRange;
use crate::base::memory::{Held, Purpose, Reading};
use crate::security::sasl::Facts;
use crate::security::sasl::login::{Farewell, Login, Reaction};
use crate::telemetry::meters::Asked;
use crate::transport::stream::Stream;
use crate::wire::codec::Part;

/// Limit on the requests of one connection whose answers wait at the same time. While the limit is reached, nothing more is
/// read.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// Interval at which a connection that reads nothing, because [`IN_FLIGHT_MAX`] is reached, checks whether its client has
/// closed it.
const GONE_CHECK: Duration = Duration::from_secs(1);
/// Bytes of answers in memory, being sent or waiting in line, from which on no further request of the connection is handled.
pub(super) const OUTPUT_MAX: usize = 256 << 10;
/// Time for which requests of one connection are handled before its task yields. A single request may take a few times as long;
/// requests that take longer than that are computed elsewhere (`api/dispatch.rs`).
const SLICE: Duration = Duration::from_millis(1);
/// Size of the buffer for the first bytes of a request.
const FIRST_READ: usize = 4 << 10;
/// Largest step in which a buffer grows for the rest of a large frame. A claimed length alone therefore takes no memory.
const GROWTH_MAX: usize = 4 << 20;
const LENGTH_SIZE: usize = 4;
/// Fraction (one eighth) of the largest request taken from a buffer, up to which leftover bytes are moved to a buffer of their
/// own. Unread bytes count against the memory for requests, but the capacity of the buffer that holds them does not.
const SMALL_PART: usize = 8;
/// First bytes of a TLS client hello. Read as the length of a request, they would mean 350 MB.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];
/// Upper limit on the duration of a SASL login.
///
/// Kafka differs: there the limit is `connections.max.idle.ms` alone.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);
/// Time that a refused client has to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);
/// Interval at which a connection checks for free memory, while the memory for requests is used up.
const CROWDED_PAUSE: Duration = Duration::from_millis(50);
/// Time for which a client may make no progress while the memory for requests is used up: it sends nothing of a request that it
/// has begun, or takes nothing of an answer.
const CROWDED_PATIENCE: Duration = Duration::from_secs(10);
const TOO_SLOW: &str =
    "a client too slow to send a request or to take an answer, while there is no memory for others";

/// Limits of a connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub request_bytes_max: usize,
    /// `connections.max.idle.ms`.
    pub idle: Duration,
}

enum Slot {
    /// A finished answer, with the number of its bytes in memory.
    Ready(Encoded, usize),
    Waiting(Answer, Request),
}

/// Request that a waiting answer belongs to.
struct Request {
    /// Whether this is a waiting fetch, behind which no further fetch of the connection is handled.
    is_fetch: bool,
    /// API and version of the request, for the meters; `None` for a frame of a login, or if no API has such a key.
    asked: Option<Asked>,
    began: Instant,
    /// Time at which the request was handled and its answer began to wait.
    waits_since: Instant,
}

/// Why [`Connection::wait`] returned.
enum Woken {
    Progress,
    Closed,
    Elapsed,
}

/// Reason why a connection ended; `None` if the peer closed it.
type End = Option<String>;

/// Kind of a frame, as determined before dispatch.
enum Frame {
    Request,
    /// ApiVersions before a login is complete. The login is told how it was answered.
    Versions,
    /// Frame of a login, already answered.
    Login,
}

/// Serves one connection until it ends. `early` holds bytes that were read before. With a `login`, no request is served until
/// the login has succeeded.
pub async fn serve(
    stream: Stream,
    early: BytesMut,
    services: Arc<Services>,
    info: Arc<ConnectionInfo>,
    limits: Limits,
    login: Option<Box<Login>>,
) {
    let within = limits.idle.min(LOGIN_WITHIN);
    let mut connection = Connection {
        deadline: login.is_some().then(|| Instant::now() + within),
        login,
        farewell: None,
        half_read: info.account.hold(Purpose::HalfRead, 0),
        answers: info.account.hold(Purpose::Answers, 0),
        ready: 0,
        heard: Instant::now(),
        blocked: false,
        acquires: false,
        stream,
        services,
        info,
        limits,
        input: early,
        hint: FIRST_READ,
        taken: 0,
        slots: VecDeque::new(),
        output: Output::default(),
        warming: None,
    };
    let end = connection.run().await;
    connection.stream.say_goodbye();
    connection.forget().await;
    let account = connection.info.account.id();
    connection.services.shares.connection_closed(account);
    if let Some(reason) = end {
        tracing::info!(
            peer = %connection.info.peer, listener = %connection.info.listener, reason,
            "closing a connection"
        );
    }
}

struct Connection {
    stream: Stream,
    services: Arc<Services>,
    info: Arc<ConnectionInfo>,
    limits: Limits,
    input: BytesMut,
    /// Room for the next read, in bytes: the size of the last request.
    hint: usize,
    /// Size of the longest request taken out of the current input buffer, in bytes.
    taken: usize,
    slots: VecDeque<Slot>,
    /// Whether the last slot must be answered before the next request is handled.
    blocked: bool,
    /// Whether the request that blocks acquires records for the client, which must not have gone meanwhile: each delivery is
    /// counted, and a record that was delivered is kept from others.
    acquires: bool,
    output: Output,
    /// Reads the next file part of the output from its disk. Gives the number of bytes read.
    warming: Option<Pin<Box<dyn Future<Output = usize> + Send>>>,
    /// Memory of requests that have not arrived completely.
    half_read: Held,
    /// Memory of answers that the client has not taken.
    answers: Held,
    /// Bytes of finished answers that wait in line behind another one.
    ready: usize,
    /// Time at which bytes last arrived or were taken by the socket.
    heard: Instant,
    /// State of the SASL login; `None` on listeners without SASL, and once no later frame can concern the login.
    login: Option<Box<Login>>,
    /// Time by which a login must be complete, or by which a refused client must have read the reason.
    deadline: Option<Instant>,
    /// Reason to close the connection once everything is sent. Set when a login was refused.
    farewell: Option<String>,
}

impl Connection {
    async fn run(&mut self) -> End {
        loop {
            let is_slice_over = match self.take_frames() {
                Ok(is_slice_over) => is_slice_over,
                Err(reason) => return Some(reason),
            };
            self.collect_answers();
            if self.warming.is_none() {
                match self.output.write(&mut self.stream) {
                    Ok(Written::Everything) => {}
                    Ok(Written::Enough) => tokio::task::yield_now().await,
                    Ok(Written::Until(cold)) => self.warm(&cold),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return broken(&error),
                }
            }
            if self.slots.is_empty() {
                // The answers that were waiting have gone to the output, so further requests may be handled.
                self.blocked = false;
                if self.output.is_empty()
                    && !self.stream.has_unsent()
                    && let Some(reason) = self.farewell.take()
                {
                    return Some(reason);
                }
            }
            let muted = self.info.mute.until();
            if self.takes_requests() && self.has_frame() {
                match is_slice_over {
                    true => tokio::task::yield_now().await,
                    false => tokio::task::coop::consume_budget().await,
                }
                continue;
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                let late = || {
                    let within = self.limits.idle.min(LOGIN_WITHIN).as_secs_f32();
                    format!("the login was not done within {within} s")
                };
                return Some(self.farewell.take().unwrap_or_else(late));
            }
            if self.output.has_moved() {
                self.heard = now;
            }
            if !self.reads() {
                self.let_go_of_the_buffer();
            }
            self.half_read.set(self.input.len());
            self.answers.set(self.ready + self.output.memory());
            let crowded = if self.reads() && !self.input.is_empty() {
                match self.info.account.may_read(now.into_std()) {
                    Reading::Goes => false,
                    Reading::Waits => true,
                    Reading::TooSlow => return Some(TOO_SLOW.to_owned()),
                }
            } else {
                self.info.account.must_wait()
            };
            // A client that does not read its answers counts as idle, and so does one that waits longer than this for an
            // answer, as in Kafka: it may have disappeared without closing the connection.
            let pause = if crowded {
                CROWDED_PAUSE
            } else {
                self.limits.idle
            };
            let until = now + pause;
            let first = [self.deadline, muted].into_iter().flatten().min();
            match self
                .wait(first.map_or(until, |at| at.min(until)), crowded)
                .await
            {
                Ok(Woken::Progress) => {}
                // The deadline is checked at the top of the loop.
                Ok(Woken::Elapsed) if first.is_some_and(|at| at <= until) => {}
                Ok(Woken::Elapsed) if !crowded => return None,
                Ok(Woken::Elapsed) => {
                    if self.heard.elapsed() > CROWDED_PATIENCE && self.stalls().await {
                        return Some(TOO_SLOW.to_owned());
                    }
                }
                Ok(Woken::Closed) => return None,
                Err(end) => return end,
            }
        }
    }

    /// Drops the waiting answers in slices of time: each of them may be registered with a thousand partitions.
    async fn forget(&mut self) {
        let mut began = Instant::now();
        while self.slots.pop_front().is_some() {
            if began.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
    }

    /// Whether the client is the cause of a stall: it sends no more of a request that it has begun, or takes no answer.
    async fn stalls(&mut self) -> bool {
        let mut byte = [0];
        let mut next = ReadBuf::new(&mut byte);
        let silent =
            poll_fn(|cx| Poll::Ready(self.stream.tcp().poll_peek(cx, &mut next).is_pending()));
        let unread = !self.output.is_empty() && self.warming.is_none();
        unread || !self.input.is_empty() && silent.await
    }

    /// Waits for something to do: bytes to read, an answer that is ready, or room to write. Nothing is read while memory is
    /// `crowded`.
    async fn wait(&mut self, deadline: Instant, crowded: bool) -> Result<Woken, End> {
        let sleep = tokio::time::sleep_until(deadline);
        tokio::pin!(sleep);
        let is_silent = self.is_full() || self.info.mute.until().is_some();
        let watches = is_silent || self.blocked && self.acquires;
        let mut look = watches.then(|| Box::pin(tokio::time::sleep(GONE_CHECK)));
        poll_fn(|cx| {
            if let Poll::Ready(result) = self.poll_answer(cx) {
                return Poll::Ready(result.map(|()| Woken::Progress).map_err(Some));
            }
            if let Some(warming) = &mut self.warming {
                if let Poll::Ready(len) = warming.as_mut().poll(cx) {
                    self.warming = None;
                    self.output.warmed(len);
                    return Poll::Ready(Ok(Woken::Progress));
                }
            } else if (!self.output.is_empty() || self.stream.has_unsent())
                && let Poll::Ready(result) = self.stream.poll_write_ready(cx)
            {
                return Poll::Ready(
                    result
                        .map(|()| Woken::Progress)
                        .map_err(|error| broken(&error)),
                );
            }
            // While answers pile up behind a slow reader, no requests are read.
            if !crowded
                && self.reads()
                && let Poll::Ready(result) = self.poll_input(cx)
            {
                return Poll::Ready(result.map_err(|error| broken(&error)));
            }
            if let Some(look) = &mut look {
                // Without unread bytes, readiness of the socket shows the end of the connection at once. Behind unread bytes
                // the end is found by the timer.
                let mut may_have_gone = self.stream.poll_read_ready(cx).is_ready();
                while look.as_mut().poll(cx).is_ready() {
                    look.as_mut().reset(Instant::now() + GONE_CHECK);
                    may_have_gone = true;
                }
                if may_have_gone && self.stream.tcp().has_hung_up() {
                    return Poll::Ready(Ok(Woken::Closed));
                }
            }
            if sleep.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Woken::Elapsed));
            }
            Poll::Pending
        })
        .await
    }

    /// Has a thread of the disk pool read the next piece of a file into the page cache, and start readahead of the piece behind
    /// it.
    fn warm(&mut self, cold: &FileRange) {
        let (next, rest) = cold.split();
        let disk = self.services.disk.clone();
        self.warming = Some(Box::pin(async move {
            let (len, after) = (next.len, rest.split().0);
            let read = move || {
                next.warm();
                after.will_be_read();
            };
            disk.run(read).await;
            len
        }));
    }

    /// Polls the answer at the front of the line; only this one can be sent next.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        match self.slots.front_mut() {
            Some(Slot::Waiting(future, request)) => match future.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => {
                    let now = Instant::now();
                    let (local, total) = (request.waits_since - request.began, now - request.began);
                    let meters = self.services.meters();
                    meters.answered(request.asked, local, total, now.into_std());
                    self.slots.pop_front();
                    self.output.push(answer);
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(reason)) => Poll::Ready(Err(reason)),
                Poll::Pending => Poll::Pending,
            },
            Some(Slot::Ready(..)) => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }

    /// Reads bytes that have arrived.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Woken>> {
        loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.let_go_of_the_buffer();
                    return Poll::Pending;
                }
            }
            self.make_room();
            match self.stream.try_read(&mut self.input) {
                Ok(None) => return Poll::Ready(Ok(Woken::Closed)),
                Ok(Some(())) => {
                    self.heard = Instant::now();
                    return Poll::Ready(Ok(Woken::Progress));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves unread bytes to a buffer of their own if they are a small part of the current one. The buffer may have been large
    /// enough for much longer requests, and the client may send nothing for minutes.
    fn let_go_of_the_buffer(&mut self) {
        if self.input.len() <= self.taken / SMALL_PART {
            self.input = match self.input.is_empty() {
                true => BytesMut::new(),
                false => BytesMut::from(&*self.input),
            };
            self.taken = 0;
        }
    }

    /// Reserves room for the rest of a frame whose length is known, or for a request as long as the last one.
    fn make_room(&mut self) {
        let missing = match self.input.first_chunk::<LENGTH_SIZE>() {
            Some(length) => {
                let frame = u32::from_be_bytes(*length) as usize + LENGTH_SIZE;
                frame.saturating_sub(self.input.len()).clamp(1, GROWTH_MAX)
            }
            None => self.hint,
        };
        // A read never asks for more than the memory that is free: other connections may read at the same time.
        let missing = missing.min(self.info.account.memory().room());
        if self.input.capacity() - self.input.len() < missing {
            self.input.reserve(missing);
        }
    }

    /// Handles the complete frames in the buffer until the slice of time is over, since a client may send a thousand at once.
    /// Gives whether the slice is over.
    fn take_frames(&mut self) -> Result<bool, String> {
        let slice_began = Instant::now();
        let mut began = slice_began;
        while self.takes_requests()
            && let Some(frame) = self.next_frame()?
        {
            began = match self.look(&frame) {
                Frame::Login => Instant::now(),
                seen => self.handle(frame, &seen, began)?,
            };
            if began - slice_began >= SLICE {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Dispatches a request that was complete at `began`, and puts its answer in line. Gives the time at which it was handled.
    fn handle(&mut self, frame: Bytes, seen: &Frame, began: Instant) -> Result<Instant, String> {
        let overtaken = may_be_overtaken(&frame);
        let acquires = is_share_fetch(&frame);
        let (is_fetch, asked) = (is_fetch(&frame), Asked::of(&frame));
        let dispatched = dispatch(&self.services, &self.info, frame);
        let done = Instant::now();
        let took = done - began;
        let request = |is_fetch| Request {
            is_fetch,
            asked,
            began,
            waits_since: done,
        };
        match dispatched {
            Dispatched::Ready(answer) => {
                let meters = self.services.meters();
                meters.answered(asked, took, took, done.into_std());
                if let (Frame::Versions, Some(login)) = (seen, &mut self.login) {
                    login.versions_told(error_of(&answer));
                }
                self.answer(answer);
            }
            Dispatched::Later(future) => {
                self.blocked = !overtaken;
                self.acquires = acquires;
                self.slots
                    .push_back(Slot::Waiting(future, request(is_fetch)));
            }
            Dispatched::Alone(future) => {
                self.blocked = true;
                self.acquires = acquires;
                self.slots.push_back(Slot::Waiting(future, request(false)));
            }
            Dispatched::Nothing => {
                let meters = self.services.meters();
                meters.answered(asked, took, took, done.into_std());
            }
            Dispatched::Close(reason) => return Err(reason),
        }
        Ok(done)
    }

    /// Puts an answer in line.
    fn answer(&mut self, answer: Encoded) {
        if self.slots.is_empty() {
            return self.output.push(answer);
        }
        let bytes = answer.iter().map(in_memory).sum();
        self.ready += bytes;
        self.slots.push_back(Slot::Ready(answer, bytes));
    }

    /// Shows a frame to the login first and does what the login decides.
    fn look(&mut self, frame: &Bytes) -> Frame {
        let Some(login) = &mut self.login else {
            return Frame::Request;
        };
        let services = &self.services;
        let facts = Facts {
            wall: services.host.clock.now(),
            random: &|| services.host.chance.bytes().ok(),
            credential: &|user, mechanism| services.scram_credential(user, mechanism),
            salts: &services.salts,
        };
        let name = |key| table::find(key).map(|row| row.name);
        match login.take(frame, &facts, Instant::now().into_std(), name) {
            Reaction::Request => return Frame::Request,
            Reaction::Versions => return Frame::Versions,
            Reaction::Answer(answer) => self.answer(vec![Part::Bytes(answer)]),
            Reaction::Entered(answer, principal) => {
                let meter = services.meters().listener(&self.info.listener);
                meter.authenticated.add(1);
                if login.is_over() {
                    self.login = None;
                }
                self.deadline = None;
                if *self.info.principal != principal {
                    self.info = Arc::new(ConnectionInfo {
                        principal: Arc::new(principal),
                        ..(*self.info).clone()
                    });
                }
                self.answer(vec![Part::Bytes(answer)]);
            }
            Reaction::Refused(farewell) => {
                let meter = services.meters().listener(&self.info.listener);
                meter.refused.add(1);
                let delay = login.failure_delay();
                self.refuse(farewell, delay);
            }
        }
        Frame::Login
    }

    /// Sends the last answer of a refused login and arranges the end of the connection. The answer is late if the password was
    /// wrong, which slows down guessing.
    fn refuse(&mut self, farewell: Farewell, delay: Duration) {
        let answer: Encoded = farewell.answer.map(Part::Bytes).into_iter().collect();
        let mut deadline = Instant::now() + FAREWELL;
        if farewell.delayed && !delay.is_zero() {
            deadline += delay;
            let late: Answer = Box::pin(async move {
                tokio::time::sleep(delay).await;
                Ok(answer)
            });
            let now = Instant::now();
            let of_login = Request {
                is_fetch: false,
                asked: None,
                began: now,
                waits_since: now,
            };
            self.slots.push_back(Slot::Waiting(late, of_login));
        } else {
            self.answer(answer);
        }
        self.deadline = Some(deadline);
        self.farewell = Some(farewell.reason);
    }

    /// Whether another request may be handled: not while earlier ones have too many answers waiting, or too large ones. A
    /// request of a few bytes can have an answer of a megabyte, and a thousand such requests fit into one read.
    fn takes_requests(&self) -> bool {
        !self.is_full()
            && !self.blocked
            && self.farewell.is_none()
            && self.info.mute.until().is_none()
            && self.ready + self.output.memory() < OUTPUT_MAX
    }

    /// Whether the limit on waiting answers is reached, or the next request is a fetch behind a waiting fetch.
    fn is_full(&self) -> bool {
        let has_enough = self.slots.len() >= IN_FLIGHT_MAX;
        !self.blocked && (has_enough || self.is_fetch_behind_another())
    }

    /// Whether the next request is a fetch and an earlier fetch still waits.
    fn is_fetch_behind_another(&self) -> bool {
        let is_waiting_fetch =
            |slot: &Slot| matches!(slot, Slot::Waiting(_, request) if request.is_fetch);
        let next = self.input.get(LENGTH_SIZE..);
        next.is_some_and(is_fetch) && self.slots.iter().any(is_waiting_fetch)
    }

    /// Whether more bytes are to be read, provided that there is memory for them.
    fn reads(&self) -> bool {
        self.takes_requests() && self.output.is_empty() && !self.stream.has_unsent()
    }

    /// Whether a complete frame is in the buffer.
    fn has_frame(&self) -> bool {
        self.input
            .first_chunk::<LENGTH_SIZE>()
            .is_some_and(|length| {
                let size = u32::from_be_bytes(*length) as usize;
                self.input.len() - LENGTH_SIZE >= size
            })
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, String> {
        let Some(length) = self.input.first_chunk::<LENGTH_SIZE>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        let login = self
            .login
            .as_ref()
            .and_then(|login| login.frame_bytes_max());
        let request_bytes_max = login
            .unwrap_or(usize::MAX)
            .min(self.limits.request_bytes_max);
        let size = usize::try_from(length)
            .ok()
            .filter(|size| *size <= request_bytes_max)
            .ok_or_else(|| {
                if length.to_be_bytes().starts_with(&TLS_HANDSHAKE) {
                    return "a client that speaks TLS, where the listener does not".to_owned();
                }
                format!("a request of {length} bytes, where {request_bytes_max} are allowed")
            })?;
        let most = self.info.account.memory().limit();
        if size > most {
            return Err(format!(
                "a request of {length} bytes, where the memory for requests is {most} (queued.max.request.bytes)"
            ));
        }
        if self.input.len() < LENGTH_SIZE + size {
            return Ok(None);
        }
        self.hint = (LENGTH_SIZE + size).clamp(FIRST_READ, GROWTH_MAX);
        self.taken = self.taken.max(LENGTH_SIZE + size);
        let mut frame = self.input.split_to(LENGTH_SIZE + size).freeze();
        drop(frame.split_to(LENGTH_SIZE));
        self.info.account.has_read();
        Ok(Some(self.info.account.count(frame)))
    }

    /// Moves finished answers from the front of the line to the output.
    fn collect_answers(&mut self) {
        while let Some(Slot::Ready(..)) = self.slots.front() {
            if let Some(Slot::Ready(answer, bytes)) = self.slots.pop_front() {
                self.ready -= bytes;
                self.output.push(answer);
            }
        }
    }
}

/// Error code of an answer whose body begins with one, after the length and the correlation id.
fn error_of(answer: &Encoded) -> i16 {
    let bytes = match answer.first() {
        Some(Part::Bytes(bytes)) => bytes.get(8..10),
        _ => None,
    };
    bytes.map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Errors of a closed connection are not logged; all other errors are.
fn broken(error: &io::Error) -> End {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => None,
        _ => Some(error.to_string()),
    }
}
