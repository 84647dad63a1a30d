//! One connection: frames in, answers out, in the order of the requests.
//!
//! A request is handled as soon as it was read, so appends happen in the order of arrival; the answer of a produce or a
//! fetch may have to wait, and then waits in line without holding up the reading and appending of the requests behind
//! it. Any other request that waits holds them up, as Kafka does with all: what comes behind may rely on its effect. So
//! does a fetch that waits with further fetches: each would keep a place at a thousand partitions before its turn can come.
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
use crate::api::dispatch::{Answer, Dispatched, Encoded, dispatch, is_fetch, may_be_overtaken};
use crate::api::services::Services;
use crate::api::table;
use crate::base::file_range::FileRange;
use crate::base::memory::{Held, Purpose, Reading};
use crate::security::sasl::Facts;
use crate::security::sasl::login::{Farewell, Login, Reaction};
use crate::telemetry::meters::Asked;
use crate::transport::stream::Stream;
use crate::wire::codec::Part;

/// Requests of one connection whose answers may wait at the same time; a client that pipelines more is read later.
pub(super) const IN_FLIGHT_MAX: usize = 128;
/// While as many wait, nothing of the client is read, and so its end is not: that is looked for as often.
const GONE_CHECK: Duration = Duration::from_secs(1);
/// Bytes of answers in memory, sent next or waiting in line, from which on no further request of the connection is handled.
pub(super) const OUTPUT_MAX: usize = 256 << 10;
/// How long the requests of one connection are handled before others have their turn. The longest ones take a few times as
/// much; whatever takes longer is computed elsewhere (`api/dispatch.rs`).
const SLICE: Duration = Duration::from_millis(1);
/// The buffer that the first bytes of a request go to.
const FIRST_READ: usize = 4 << 10;
/// A buffer for the rest of a large frame grows in such steps, so that a claimed length alone takes no memory.
const GROWTH_MAX: usize = 4 << 20;
const LENGTH_SIZE: usize = 4;
/// Unread bytes are counted against the memory for requests, the capacity of their buffer is not. Where they are at most this part
/// of the largest request taken from it, they move to a buffer of their own.
const SMALL_PART: usize = 8;
/// How a client begins that speaks TLS; as the length of a request it would be one of 350 MB.
const TLS_HANDSHAKE: [u8; 2] = [22, 3];
/// A login takes no longer, whatever `connections.max.idle.ms` is. Kafka differs: there it alone counts.
const LOGIN_WITHIN: Duration = Duration::from_secs(30);
/// How long somebody who was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// While there is no memory for requests, how often a connection looks again.
const CROWDED_PAUSE: Duration = Duration::from_millis(50);
/// While there is no memory for requests, how long a client may send nothing of a request that it has begun, or take nothing
/// of an answer.
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
    /// With its bytes in memory.
    Ready(Encoded, usize),
    Waiting(Answer, Request),
}

/// What an answer that waits belongs to.
struct Request {
    /// Whether it is a fetch that others may not wait behind.
    is_fetch: bool,
    /// `None` for part of a login.
    asked: Option<Asked>,
    began: Instant,
    /// When its answer began to wait.
    waits_since: Instant,
}

/// Why [`Connection::wait`] returned.
enum Woken {
    Progress,
    Closed,
    Elapsed,
}

/// Why a connection ended; `None` for a peer that closed it.
type End = Option<String>;

/// What is known about a frame before it is dispatched.
enum Frame {
    Request,
    /// ApiVersions of a client that is about to log in, which has to hear how it was answered.
    Versions,
    /// Part of a login, answered already.
    Login,
}

/// Serves one connection until it ends. `early` came already. With a `login`, nothing is served before that is done.
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
    /// How much the next read makes room for: as much as the last request took.
    hint: usize,
    /// Bytes of the longest request that was taken out of the input's buffer.
    taken: usize,
    slots: VecDeque<Slot>,
    /// The last of the slots must be answered before the next request is handled.
    blocked: bool,
    output: Output,
    /// Reads what the output sends next from its disk; gives how much that is.
    warming: Option<Pin<Box<dyn Future<Output = usize> + Send>>>,
    /// What of the requests is only half there.
    half_read: Held,
    /// The answers that the client has not taken.
    answers: Held,
    /// Bytes of the answers that wait in line behind another.
    ready: usize,
    /// When the last bytes came or were taken.
    heard: Instant,
    /// Of a listener with SASL, as long as there may be something to look at in a frame.
    login: Option<Box<Login>>,
    /// When a login has to be done, or a client that was refused has to have read why.
    deadline: Option<Instant>,
    /// Why the connection ends when everything is sent: the client was not let in.
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
                // What a waiting request let pass comes first.
                self.blocked = false;
                if self.output.is_empty()
                    && !self.stream.has_unsent()
                    && let Some(reason) = self.farewell.take()
                {
                    return Some(reason);
                }
            }
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
            // A client that does not read its answers is as idle as one that sends nothing, and so is, as with Kafka, one
            // that waits longer than this for an answer: it may have gone without a word.
            let pause = if crowded {
                CROWDED_PAUSE
            } else {
                self.limits.idle
            };
            let until = now + pause;
            match self
                .wait(self.deadline.map_or(until, |at| at.min(until)), crowded)
                .await
            {
                Ok(Woken::Progress) => {}
                // It is looked at above.
                Ok(Woken::Elapsed) if self.deadline.is_some_and(|at| at <= until) => {}
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

    /// Drops what waits, a little at a time: each of the answers may wait for a thousand partitions.
    async fn forget(&mut self) {
        let mut began = Instant::now();
        while self.slots.pop_front().is_some() {
            if began.elapsed() >= SLICE {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
    }

    /// Whether it is the client that holds things up: it sends nothing of a request that it has begun, or takes no answer.
    async fn stalls(&mut self) -> bool {
        let mut byte = [0];
        let mut next = ReadBuf::new(&mut byte);
        let silent =
            poll_fn(|cx| Poll::Ready(self.stream.tcp().poll_peek(cx, &mut next).is_pending()));
        let unread = !self.output.is_empty() && self.warming.is_none();
        unread || !self.input.is_empty() && silent.await
    }

    /// Waits until there is something to do: bytes to read, an answer that became ready, room to write. Nothing is read
    /// while memory is `crowded`.
    async fn wait(&mut self, deadline: Instant, crowded: bool) -> Result<Woken, End> {
        let sleep = tokio::time::sleep_until(deadline);
        tokio::pin!(sleep);
        let mut look = self
            .is_full()
            .then(|| Box::pin(tokio::time::sleep(GONE_CHECK)));
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
            // While answers pile up behind a slow reader, nothing more is taken in.
            if !crowded
                && self.reads()
                && let Poll::Ready(result) = self.poll_input(cx)
            {
                return Poll::Ready(result.map_err(|error| broken(&error)));
            }
            if let Some(look) = &mut look {
                // The end comes at once where nothing is left to read before it.
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

    /// Has the next piece of a file read from its disk, by a thread that serves nobody, and the one behind it begun.
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

    /// Polls the answer at the front: only it can be sent next.
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

    /// Reads what has arrived.
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

    /// Gives what is left of the input a buffer of its own where it is a small part of the one that it came in: that was large
    /// enough for the requests before it, and the client may send nothing for minutes.
    fn let_go_of_the_buffer(&mut self) {
        if self.input.len() <= self.taken / SMALL_PART {
            self.input = match self.input.is_empty() {
                true => BytesMut::new(),
                false => BytesMut::from(&*self.input),
            };
            self.taken = 0;
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
        // One read takes no more than there is room for: others may read at the same time.
        let missing = missing.min(self.info.account.memory().room());
        if self.input.capacity() - self.input.len() < missing {
            self.input.reserve(missing);
        }
    }

    /// Handles the whole frames that are there, until the slice is over: a client may send a thousand at once. Tells whether
    /// it is.
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

    /// Dispatches a request that was there when it `began`; its answer gets a place in line. Gives when that was done.
    fn handle(&mut self, frame: Bytes, seen: &Frame, began: Instant) -> Result<Instant, String> {
        let overtaken = may_be_overtaken(&frame);
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
                self.slots
                    .push_back(Slot::Waiting(future, request(is_fetch)));
            }
            Dispatched::Alone(future) => {
                self.blocked = true;
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

    /// Puts an answer in its place in line.
    fn answer(&mut self, answer: Encoded) {
        if self.slots.is_empty() {
            return self.output.push(answer);
        }
        let bytes = answer.iter().map(in_memory).sum();
        self.ready += bytes;
        self.slots.push_back(Slot::Ready(answer, bytes));
    }

    /// Has the login look at a frame first, and does what that says.
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

    /// The answer is the last one, and perhaps a late one: whoever guesses passwords has to wait.
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

    /// Whether another request may be handled: not while those before it have too many or too large answers waiting. A
    /// request of some bytes can have an answer of a megabyte, and a thousand of them fit into one read.
    fn takes_requests(&self) -> bool {
        !self.is_full()
            && !self.blocked
            && self.farewell.is_none()
            && self.ready + self.output.memory() < OUTPUT_MAX
    }

    /// Whether as many fetches and appends wait as may.
    fn is_full(&self) -> bool {
        let has_enough = self.slots.len() >= IN_FLIGHT_MAX;
        !self.blocked && (has_enough || self.is_fetch_behind_another())
    }

    /// Whether the next request is a fetch, and one before it waits.
    fn is_fetch_behind_another(&self) -> bool {
        let is_waiting_fetch =
            |slot: &Slot| matches!(slot, Slot::Waiting(_, request) if request.is_fetch);
        let next = self.input.get(LENGTH_SIZE..);
        next.is_some_and(is_fetch) && self.slots.iter().any(is_waiting_fetch)
    }

    /// Whether more is read, if there is memory for it.
    fn reads(&self) -> bool {
        self.takes_requests() && self.output.is_empty() && !self.stream.has_unsent()
    }

    /// Whether a whole frame is there.
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

    /// Moves answers that are ready from the front of the line to the socket.
    fn collect_answers(&mut self) {
        while let Some(Slot::Ready(..)) = self.slots.front() {
            if let Some(Slot::Ready(answer, bytes)) = self.slots.pop_front() {
                self.ready -= bytes;
                self.output.push(answer);
            }
        }
    }
}

/// The error of an answer that begins with one, behind its length and its number.
fn error_of(answer: &Encoded) -> i16 {
    let bytes = match answer.first() {
        Some(Part::Bytes(bytes)) => bytes.get(8..10),
        _ => None,
    };
    bytes.map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]))
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
