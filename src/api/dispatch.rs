//! A frame becomes a request, its row in the table is found, its handler runs, its answer becomes bytes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::context::{ConnectionInfo, Reply, RequestContext};
use super::handlers::api_versions;
use super::services::Services;
use super::table::{self, Row};
use crate::wire::codec::{DecodeError, Field, Layout, Part, Reader, Writer};
use crate::wire::message::{Message, Request};

const API_VERSIONS: i16 = 18;
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
/// Room that an encoded answer gets at first.
const ANSWER_CAPACITY: usize = 256;

/// An encoded answer, its length in front.
pub type Encoded = Vec<Part>;

/// A reply in which versions no longer matter.
pub enum Dispatched {
    Ready(Encoded),
    Later(Pin<Box<dyn Future<Output = Result<Encoded, String>> + Send>>),
    /// As `Later`; nothing else of the connection is looked at meanwhile.
    Alone(Pin<Box<dyn Future<Output = Result<Encoded, String>> + Send>>),
    Nothing,
    Close(String),
}

/// Whether requests behind this one may be handled while its answer waits: nothing that they ask for can depend on it.
pub fn may_be_overtaken(frame: &[u8]) -> bool {
    frame
        .first_chunk()
        .is_some_and(|key| matches!(i16::from_be_bytes(*key), PRODUCE | FETCH))
}

/// Handles one frame (without its length).
pub fn dispatch(
    services: &Arc<Services>,
    connection: &Arc<ConnectionInfo>,
    frame: Bytes,
) -> Dispatched {
    match try_dispatch(services, connection, frame) {
        Ok(dispatched) => dispatched,
        Err(reason) => Dispatched::Close(reason),
    }
}

fn try_dispatch(
    services: &Arc<Services>,
    connection: &Arc<ConnectionInfo>,
    frame: Bytes,
) -> Result<Dispatched, String> {
    let mut reader = Reader::new(frame);
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
        now: services.clock.now(),
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
        return Err(format!(
            "{} version {api_version}, which is not between {} and {}",
            row.name,
            row.versions.start(),
            row.versions.end()
        ));
    }
    // The client id keeps its old form in flexible headers.
    let layout = Layout::new(0, false).nullable(true);
    context.client_id = Option::<ByteString>::decode(&mut reader, layout).map_err(malformed)?;
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
) -> Result<Dispatched, String>
where
    Q::Response: Send + 'static,
{
    let request = Q::read(&mut reader, context.api_version).map_err(|error| {
        format!(
            "a malformed {} request of version {}: {error}",
            row.name, context.api_version
        )
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
        Reply::Nothing => Dispatched::Nothing,
        Reply::Close(reason) => Dispatched::Close(reason),
    })
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
    response
        .write(&mut writer, version)
        .map_err(|error| format!("{} version {version} cannot be written: {error}", R::NAME))?;
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
