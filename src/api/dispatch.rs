//! A frame becomes a request, its row in the table is found, its handler runs, its answer becomes bytes: on the thread that
//! read the frame where that is cheap, or else on the work pool. Its key and its length decide that, before anything is decoded.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::context::{ConnectionInfo, Reply, RequestContext};
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
/// Room that an encoded answer gets at first.
const ANSWER_CAPACITY: usize = 256;

/// A client of this name meets a panic.
#[cfg(test)]
pub const PANICS: &str = "panics";

/// An encoded answer, its length in front.
pub type Encoded = Vec<Part>;

/// Elements of a request that is answered on the thread that read it; one with more goes to the work pool.
const ELEMENTS_IN_PLACE_MAX: usize = 1_000;

/// Elements of a request on the work pool that need not wait for memory. What they are decoded to, and the answer for each, is
/// little even where every job has as many; only attackers' requests have more.
const ELEMENTS_LITTLE: usize = 10_000;
/// What an element takes at least in a request.
const ELEMENT_SIZE_MIN: usize = 2;
/// About what an element takes decoded, with what its handler makes of it.
const ELEMENT_MEMORY: usize = 128;

/// An encoded answer on its way; `Err` says why the connection must be closed.
pub type Answer = Pin<Box<dyn Future<Output = Result<Encoded, String>> + Send>>;

/// A reply in which versions no longer matter.
pub enum Dispatched {
    Ready(Encoded),
    Later(Answer),
    /// As `Later`; nothing else of the connection is looked at meanwhile.
    Alone(Answer),
    Nothing,
    Close(String),
}

/// Whether requests behind this one may be handled while its answer waits: nothing that they ask for can depend on it.
pub fn may_be_overtaken(frame: &[u8]) -> bool {
    matches!(key_of(frame), Some(PRODUCE | FETCH))
}

/// Whether a frame, of which the first bytes are enough, is a fetch.
pub fn is_fetch(frame: &[u8]) -> bool {
    key_of(frame) == Some(FETCH)
}

/// The number of the API that a frame asks.
fn key_of(frame: &[u8]) -> Option<i16> {
    frame.first_chunk().map(|key| i16::from_be_bytes(*key))
}

/// Why a frame was not handled.
#[derive(Debug)]
pub(super) enum Unhandled {
    /// The connection must be closed.
    Close(String),
    /// It has too many elements for the thread that read it.
    Large,
}

impl From<String> for Unhandled {
    fn from(reason: String) -> Self {
        Self::Close(reason)
    }
}

/// Handles one frame (without its length).
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

/// Whether a frame may take longer than others should wait for.
fn is_long(frame: &[u8]) -> bool {
    key_of(frame)
        .and_then(table::find)
        .is_some_and(|row| frame.len() > row.small)
}

/// Handles one frame on the work pool, from its first byte to the last of its answer.
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
                // What waits now does not hold on to the bytes of the request.
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

/// The encoded answer of what was dispatched on the work pool.
async fn finish(dispatched: Result<Dispatched, Unhandled>) -> Result<Encoded, Unhandled> {
    match dispatched? {
        Dispatched::Ready(answer) => Ok(answer),
        Dispatched::Later(answer) | Dispatched::Alone(answer) => Ok(answer.await?),
        Dispatched::Nothing => Ok(Encoded::new()),
        Dispatched::Close(reason) => Err(reason.into()),
    }
}

/// Computes on the work pool once there is so much memory. Others may have the memory as soon as the work waits for something:
/// a request that joins a group would keep them out for minutes.
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
    };
    if !row.versions.contains(&api_version) {
        // A newer client asks in its own version first and learns from the answer which one to use.
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
    // The client id keeps its old form in flexible headers.
    let layout = Layout::new(0, false).nullable(true);
    let client_id = Option::<ByteString>::decode(&mut reader, layout).map_err(malformed)?;
    context.client_id = client_id.map(|id| ByteString::from(&*id));
    #[cfg(test)]
    assert!(context.client_id.as_deref() != Some(PANICS), "planted");
    if (row.is_flexible)(api_version) {
        reader.tagged_section(|_, _| Ok(false)).map_err(malformed)?;
    }
    (row.handle)(row, context, reader)
}

/// Reads the body, calls the handler, and encodes what it gives: the common part of every row.
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
    Ok(match handler(context, request) {
        Reply::Ready(response) => {
            Dispatched::Ready(encode(&for_answer, &response, for_answer.api_version)?)
        }
        Reply::Later(response) => Dispatched::Later(Box::pin(async move {
            encode(&for_answer, &response.await, for_answer.api_version)
        })),
        Reply::Alone(response) => Dispatched::Alone(Box::pin(async move {
            encode(&for_answer, &response.await, for_answer.api_version)
        })),
        reply @ (Reply::Then(_) | Reply::Long(_)) => Dispatched::Alone(settle(for_answer, reply)),
        Reply::Nothing => Dispatched::Nothing,
        Reply::Close(reason) => Dispatched::Close(reason),
    })
}

/// What becomes of a reply at last, encoded.
fn settle<R: Message + Send + 'static>(context: RequestContext, reply: Reply<R>) -> Answer {
    match reply {
        Reply::Long(reply) => {
            let pool = context.services.work.clone();
            on_work_pool(&pool, async move { settle(context, reply.await).await })
        }
        Reply::Then(reply) => Box::pin(async move { settle(context, reply.await).await }),
        Reply::Later(response) | Reply::Alone(response) => {
            Box::pin(async move { encode(&context, &response.await, context.api_version) })
        }
        Reply::Ready(response) => {
            Box::pin(async move { encode(&context, &response, context.api_version) })
        }
        Reply::Nothing => Box::pin(async { Ok(Encoded::new()) }),
        Reply::Close(reason) => Box::pin(async { Err(reason) }),
    }
}

fn encode<R: Message>(
    context: &RequestContext,
    response: &R,
    version: i16,
) -> Result<Encoded, String> {
    let mut writer = Writer::for_answer(ANSWER_CAPACITY);
    // Room for the length, which is known last.
    writer.i32(0);
    writer.i32(context.correlation_id);
    // Who asks for versions may know none yet: that answer's header is always the oldest.
    if R::is_flexible(version) && context.api_key != API_VERSIONS {
        writer.unsigned_varint(0);
    }
    let unwritable =
        |error: EncodeError| format!("{} version {version} cannot be written: {error}", R::NAME);
    response
        .write(&mut writer, version)
        .and_then(|()| writer.check_size())
        .map_err(unwritable)?;
    // No more than ANSWER_BYTES_MAX.
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
