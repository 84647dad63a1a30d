//! Dispatch of a request: the frame's API row in the table, decoding, the handler, and encoding of its response. All of that
//! runs on the thread that read the frame if it is cheap, otherwise on the work pool. The API key and the frame's length decide
//! that, before anything is decoded.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::charges::{Bill, timed};
use super::context::{ConnectionInfo, Reply, RequestContext};
use super::forward::forward;
use super::handlers::api_versions;
use super::services::Services;
use super::table::{self, Row};
use crate::base::work_pool::{self, WorkPool, with_memory};
use crate::wire::codec::{
    DecodeError, EncodeError, Field, Layout, Part, REQUEST_ELEMENTS_MAX, Reader, Writer,
};
use crate::wire::message::{Message, Request};

const API_VERSIONS: i16 = 18;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const SHARE_FETCH: i16 = 78;
/// Initial capacity of an encoded response, in bytes.
const ANSWER_CAPACITY: usize = 256;

/// A client id that makes the dispatcher panic, for a test.
#[cfg(test)]
pub const PANICS: &str = "panics";

/// An encoded response, with its length prefix.
pub type Encoded = Vec<Part>;

/// Maximum number of elements of a request that is handled on the thread that read it; larger ones go to the work pool.
const ELEMENTS_IN_PLACE_MAX: usize = 1_000;

/// Number of elements up to which a request on the work pool does not wait for memory. The decoded request and its response are
/// small then, even if every job has as many. Only attackers send more.
const ELEMENTS_LITTLE: usize = 10_000;
/// Minimum size of an element in a request, in bytes.
const ELEMENT_SIZE_MIN: usize = 2;
/// Approximate memory of a decoded element with its handler's results, in bytes.
const ELEMENT_MEMORY: usize = 128;

/// Future of an encoded response. Errors: the reason why the connection must be closed.
pub type Answer = Pin<Box<dyn Future<Output = Result<Encoded, String>> + Send>>;

/// A reply whose response has been encoded in the request's version.
pub enum Dispatched {
    Ready(Encoded),
    Later(Answer),
    /// Like `Later`, but no other request of the connection is handled meanwhile.
    Alone(Answer),
    Nothing,
    Close(String),
}

/// Whether later requests of the connection may be handled while this one waits for its response, because none of their results
/// depends on it.
pub fn may_be_overtaken(frame: &[u8]) -> bool {
    matches!(key_of(frame), Some(PRODUCE | FETCH))
}

/// Whether a frame is a Fetch request. The first bytes of the frame suffice.
pub fn is_fetch(frame: &[u8]) -> bool {
    key_of(frame) == Some(FETCH)
}

/// Whether a frame is a ShareFetch request, which acquires records for its client when some come. The first bytes of the frame
/// suffice.
pub fn is_share_fetch(frame: &[u8]) -> bool {
    key_of(frame) == Some(SHARE_FETCH)
}

/// API key of a frame.
fn key_of(frame: &[u8]) -> Option<i16> {
    frame.first_chunk().map(|key| i16::from_be_bytes(*key))
}

/// Reason why a frame was not handled.
#[derive(Debug)]
pub(super) enum Unhandled {
    /// The connection must be closed.
    Close(String),
    /// The request has too many elements for the thread that read it.
    Large,
}

impl From<String> for Unhandled {
    fn from(reason: String) -> Self {
        Self::Close(reason)
    }
}

/// Handles one frame, which is given without its length prefix.
pub fn dispatch(
    services: &Arc<Services>,
    connection: &Arc<ConnectionInfo>,
    frame: Bytes,
) -> Dispatched {
    if is_long(&frame) {
        return Dispatched::Alone(compute(services, connection, frame));
    }
    let reader = Reader::with_elements(frame.clone(), ELEMENTS_IN_PLACE_MAX);
    match try_dispatch(services, connection, reader) {
        Ok(dispatched) => dispatched,
        Err(Unhandled::Large) => Dispatched::Alone(compute(services, connection, frame)),
        Err(Unhandled::Close(reason)) => Dispatched::Close(reason),
    }
}

/// Whether a frame may take longer than other requests on the same thread should wait.
fn is_long(frame: &[u8]) -> bool {
    key_of(frame)
        .and_then(table::find)
        .is_some_and(|row| frame.len() > row.small)
}

/// Handles one frame on the work pool, including the encoding of its response.
fn compute(services: &Arc<Services>, connection: &Arc<ConnectionInfo>, frame: Bytes) -> Answer {
    let (within, connection) = (Arc::clone(services), Arc::clone(connection));
    on_work_pool(&services.work, async move {
        let dispatch = |reader| try_dispatch(&within, &connection, reader);
        let elements = (frame.len() / ELEMENT_SIZE_MIN).min(REQUEST_ELEMENTS_MAX);
        let answered = match dispatch(Reader::with_elements(frame.clone(), ELEMENTS_LITTLE)) {
            Err(Unhandled::Large) => {
                let reader = Reader::with_elements(frame, REQUEST_ELEMENTS_MAX);
                let whole = async { finish(dispatch(reader)).await };
                in_memory_of(elements * ELEMENT_MEMORY, whole).await
            }
            dispatched => {
                // Dropped so that a request that waits does not keep its frame in memory.
                drop(frame);
                finish(dispatched).await
            }
        };
        answered.map_err(|unhandled| match unhandled {
            Unhandled::Close(reason) => reason,
            Unhandled::Large => {
                format!("a request with more than {REQUEST_ELEMENTS_MAX} elements")
            }
        })
    })
}

/// The encoded response of a request that was dispatched on the work pool.
async fn finish(dispatched: Result<Dispatched, Unhandled>) -> Result<Encoded, Unhandled> {
    match dispatched? {
        Dispatched::Ready(answer) => Ok(answer),
        Dispatched::Later(answer) | Dispatched::Alone(answer) => Ok(answer.await?),
        Dispatched::Nothing => Ok(Encoded::new()),
        Dispatched::Close(reason) => Err(reason.into()),
    }
}

/// Computes on the work pool once there is room for `bytes` of memory. The memory is released as soon as the work waits for
/// something: a JoinGroup request, for example, would otherwise hold it for minutes.
async fn in_memory_of<T>(bytes: usize, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    let begun = poll_fn(|cx| Poll::Ready(with_memory(bytes, || work.as_mut().poll(cx)))).await;
    match begun {
        Poll::Ready(done) => done,
        Poll::Pending => work.await,
    }
}

fn on_work_pool(
    pool: &WorkPool,
    work: impl Future<Output = Result<Encoded, String>> + Send + 'static,
) -> Answer {
    if work_pool::is_here() {
        return Box::pin(work);
    }
    let computed = pool.drive(work);
    let failed = || Err("a request was not computed to its end".to_owned());
    Box::pin(async move { computed.await.unwrap_or_else(failed) })
}

fn try_dispatch(
    services: &Arc<Services>,
    connection: &Arc<ConnectionInfo>,
    mut reader: Reader,
) -> Result<Dispatched, Unhandled> {
    let malformed = |error: DecodeError| format!("a malformed request header: {error}");
    let whole = services.remote.is_some().then(|| reader.rest().clone());
    let api_key = reader.i16().map_err(malformed)?;
    let api_version = reader.i16().map_err(malformed)?;
    let correlation_id = reader.i32().map_err(malformed)?;
    let row =
        table::find(api_key).ok_or_else(|| format!("a request of unknown api key {api_key}"))?;
    let mut context = RequestContext {
        services: Arc::clone(services),
        connection: Arc::clone(connection),
        api_key,
        api_version,
        correlation_id,
        client_id: None,
        now: services.host.clock.now(),
        bill: None,
    };
    if !row.versions.contains(&api_version) {
        // A client of a newer version sends ApiVersions in its own version first, and learns the supported one from the
        // response.
        if api_key == API_VERSIONS {
            return Ok(Dispatched::Ready(encode(
                &context,
                &api_versions::unsupported(&context),
                0,
            )?));
        }
        return Err(Unhandled::Close(format!(
            "{} version {api_version}, which is not between {} and {}",
            row.name,
            row.versions.start(),
            row.versions.end()
        )));
    }
    if let (Some(remote), Some(whole), true) = (&services.remote, whole, row.forwarded) {
        let bytes_max = services.config.settings.int("socket.request.max.bytes");
        let bytes_max = usize::try_from(bytes_max).unwrap_or_default();
        let forwarded = forward(remote, connection, whole, bytes_max);
        return Ok(Dispatched::Alone(forwarded));
    }
    // The client id keeps its old form in flexible headers.
    let layout = Layout::new(0, false).nullable(true);
    let client_id = Option::<ByteString>::decode(&mut reader, layout).map_err(malformed)?;
    context.client_id = client_id.map(|id| ByteString::from(&*id));
    #[cfg(test)]
    assert!(context.client_id.as_deref() != Some(PANICS), "planted");
    if (row.is_flexible)(api_version) {
        reader.tagged_section(|_, _| Ok(false)).map_err(malformed)?;
    }
    context.bill = Bill::of(&context, reader.remaining());
    (row.handle)(row, context, reader)
}

/// Decodes the body, calls the handler and encodes its response: the common part of all rows.
pub(super) fn run<Q: Request>(
    row: &'static Row,
    context: RequestContext,
    mut reader: Reader,
    handler: impl FnOnce(RequestContext, Q) -> Reply<Q::Response>,
) -> Result<Dispatched, Unhandled>
where
    Q::Response: Send + 'static,
{
    let request = Q::read(&mut reader, context.api_version).map_err(|error| match error {
        DecodeError::TooManyElements if !reader.has_elements_left() => Unhandled::Large,
        error => Unhandled::Close(format!(
            "a malformed {} request of version {}: {error}",
            row.name, context.api_version
        )),
    })?;
    drop(reader);
    let for_answer = context.clone();
    let reply = match &for_answer.bill {
        Some(bill) => bill.timed(|| handler(context, request)),
        None => handler(context, request),
    };
    Ok(match reply {
        Reply::Ready(response) => Dispatched::Ready(answer(&for_answer, response)?),
        Reply::Later(response) => Dispatched::Later(Box::pin(async move {
            let response = timed(for_answer.bill.clone(), response).await;
            answer(&for_answer, response)
        })),
        Reply::Alone(response) => Dispatched::Alone(Box::pin(async move {
            let response = timed(for_answer.bill.clone(), response).await;
            answer(&for_answer, response)
        })),
        reply @ (Reply::Then(_) | Reply::Long(_)) => Dispatched::Alone(settle(for_answer, reply)),
        Reply::Nothing => {
            unanswered(&for_answer);
            Dispatched::Nothing
        }
        Reply::Close(reason) => Dispatched::Close(reason),
    })
}

/// The encoded final response of a reply.
fn settle<R: Message + Send + 'static>(context: RequestContext, reply: Reply<R>) -> Answer {
    match reply {
        Reply::Long(reply) => {
            let pool = context.services.work.clone();
            on_work_pool(&pool, async move {
                let reply = timed(context.bill.clone(), reply).await;
                settle(context, reply).await
            })
        }
        Reply::Then(reply) => Box::pin(async move {
            let reply = timed(context.bill.clone(), reply).await;
            settle(context, reply).await
        }),
        Reply::Later(response) | Reply::Alone(response) => Box::pin(async move {
            let response = timed(context.bill.clone(), response).await;
            answer(&context, response)
        }),
        Reply::Ready(response) => Box::pin(async move { answer(&context, response) }),
        Reply::Nothing => Box::pin(async move {
            unanswered(&context);
            Ok(Encoded::new())
        }),
        Reply::Close(reason) => Box::pin(async { Err(reason) }),
    }
}

/// The encoded response, after the client was charged for its request.
fn answer<R: Message>(context: &RequestContext, mut response: R) -> Result<Encoded, String> {
    if let Some(bill) = &context.bill {
        let of_handler = response.throttle_time_ms().map_or(0, |time| *time);
        let throttle_ms = context.settle(bill, of_handler);
        if let Some(time) = response.throttle_time_ms() {
            *time = throttle_ms;
        }
    }
    encode(context, &response, context.api_version)
}

/// Charges the client for a request without an answer.
fn unanswered(context: &RequestContext) {
    if let Some(bill) = &context.bill {
        context.settle_unanswered(bill);
    }
}

fn encode<R: Message>(
    context: &RequestContext,
    response: &R,
    version: i16,
) -> Result<Encoded, String> {
    let mut writer = Writer::for_answer(ANSWER_CAPACITY);
    // Placeholder for the length, which is known only at the end.
    writer.i32(0);
    writer.i32(context.correlation_id);
    // The header of an ApiVersions response is never flexible, because the client may not know the broker's versions yet.
    if R::is_flexible(version) && context.api_key != API_VERSIONS {
        writer.unsigned_varint(0);
    }
    let unwritable =
        |error: EncodeError| format!("{} version {version} cannot be written: {error}", R::NAME);
    response
        .write(&mut writer, version)
        .and_then(|()| writer.check_size())
        .map_err(unwritable)?;
    // Fits, because the size is at most ANSWER_BYTES_MAX.
    let length = (writer.len() - 4) as i32;
    let mut parts = writer.into_parts();
    if let Some(Part::Bytes(first)) = parts.first_mut() {
        let mut bytes = std::mem::take(first)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        *first = bytes.freeze();
    }
    Ok(parts)
}
