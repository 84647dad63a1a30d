//! A plain connection to a broker, for requests in the version that a test chooses, which client libraries do not allow, and
//! for bytes that no client library would send.
//!
//! `ask` uses monedula's own messages and returns whatever comes back. `call` uses those of the `kafka-protocol` crate, an
//! independent implementation of the protocol, and fails without a response.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use monedula::wire::codec::{DecodeError, Reader, Records, Writer};
use monedula::wire::message::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use monedula::wire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use monedula::wire::message::{Message, Request};

/// Default time after which a missing response counts as `Answer::Silence`.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Time limit for a response in `call`.
const CALL_LIMIT: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CORRELATION: i32 = 77;
const CLIENT_ID: &str = "test";
const API_VERSIONS: i16 = 18;

/// Request to append a batch to a partition, acknowledged by all replicas.
pub fn produce(topic: &str, index: i32, batch: Bytes) -> ProduceRequest {
    ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: topic.into(),
            partition_data: vec![PartitionProduceData {
                index,
                records: Some(Records::Bytes(batch)),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Result of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer<R> {
    Response(R),
    Closed,
    /// No response within the time limit.
    Silence,
    /// The bytes are not a valid response.
    Unreadable(String),
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    patience: Duration,
}

impl Connection {
    pub fn open(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            patience: ANSWER_LIMIT,
        })
    }

    /// Sets the time after which a missing response counts as silence.
    pub fn be_patient(&mut self, patience: Duration) -> Result<()> {
        self.patience = patience;
        Ok(self.stream.set_read_timeout(Some(patience))?)
    }

    /// Sends `request` in `version` and waits for the response. `None` if the request cannot be encoded in that version.
    pub fn ask<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<Option<Answer<R::Response>>> {
        if !self.send(request, version)? {
            return Ok(None);
        }
        self.receive::<R>(version).map(Some)
    }

    /// Like [`Self::ask`]. Errors: anything but a response.
    pub fn answered<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        match self.ask(request, version)? {
            Some(Answer::Response(response)) => Ok(response),
            other => bail!("{} was answered by {other:?}", <R as Message>::NAME),
        }
    }

    /// Sends `request` in `version`; `false` if the request cannot be encoded in that version.
    pub fn send<R: Request>(&mut self, request: &R, version: i16) -> Result<bool> {
        let mut frame = Writer::default();
        frame.i16(R::KEY);
        frame.i16(version);
        frame.i32(CORRELATION);
        // The client id is a string with a 2-byte length in every version of the header.
        frame.i16(i16::try_from(CLIENT_ID.len())?);
        let mut head = frame.into_bytes().to_vec();
        head.extend_from_slice(CLIENT_ID.as_bytes());
        if <R as Message>::is_flexible(version) {
            head.push(0);
        }
        let mut body = Writer::default();
        if request.write(&mut body, version).is_err() {
            return Ok(false);
        }
        head.extend_from_slice(&body.into_bytes());
        self.send_frame(&head)?;
        Ok(true)
    }

    /// Waits for the response to a request that was sent before.
    pub fn receive<R: Request>(&mut self, version: i16) -> Result<Answer<R::Response>> {
        let Some(answer) = self.receive_frame()? else {
            return Ok(Answer::Closed);
        };
        if answer.is_empty() {
            return Ok(Answer::Silence);
        }
        let mut reader = Reader::new(answer);
        let read = (|| {
            reader.i32()?;
            if <R as Message>::is_flexible(version) && R::KEY != API_VERSIONS {
                reader.tagged_section(|_, _| Ok(false))?;
            }
            let response = <R::Response as Message>::read(&mut reader, version)?;
            reader.finish()?;
            Ok::<_, DecodeError>(response)
        })();
        Ok(match read {
            Ok(response) => Answer::Response(response),
            Err(error) => Answer::Unreadable(error.to_string()),
        })
    }

    /// Sends a request of the `kafka-protocol` crate in `version` and decodes the response with that crate.
    pub fn call<R: kafka_protocol::protocol::Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(CORRELATION)
            .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        self.stream.set_read_timeout(Some(CALL_LIMIT))?;
        let answer = self.exchange(&frame)?;
        self.stream.set_read_timeout(Some(self.patience))?;
        let mut answer = answer.context("the connection was closed")?;
        ensure!(!answer.is_empty(), "no answer");
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        ensure!(
            header.correlation_id == CORRELATION,
            "an answer to another request"
        );
        let response = R::Response::decode(&mut answer, version)?;
        ensure!(answer.is_empty(), "{} bytes too many", answer.len());
        Ok(response)
    }

    /// Whether a byte of a response, or the end of the connection, arrives within `limit`.
    pub fn is_answered(&self, limit: Duration) -> Result<bool> {
        self.stream.set_read_timeout(Some(limit))?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(self.patience))?;
        match peeked {
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                Ok(false)
            }
            // A reset connection is reported by the next call that receives.
            _ => Ok(true),
        }
    }

    /// Sends a frame and returns the frame of the response: `None` if the connection is closed instead, an empty frame for
    /// silence.
    pub fn exchange(&mut self, frame: &[u8]) -> Result<Option<Bytes>> {
        self.send_frame(frame)?;
        self.receive_frame()
    }

    fn send_frame(&mut self, frame: &[u8]) -> Result<()> {
        let size = u32::try_from(frame.len())?.to_be_bytes();
        Ok(self.stream.write_all(&[&size[..], frame].concat())?)
    }

    fn receive_frame(&mut self) -> Result<Option<Bytes>> {
        let mut size = [0; 4];
        match self.stream.read_exact(&mut size) {
            Ok(()) => {}
            Err(error)
                if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset]
                    .contains(&error.kind()) =>
            {
                return Ok(None);
            }
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                return Ok(Some(Bytes::new()));
            }
            Err(error) => return Err(error).context("no answer"),
        }
        let size = u32::from_be_bytes(size) as usize;
        ensure!(size <= ANSWER_BYTES_MAX, "an answer of {size} bytes");
        let mut answer = vec![0; size];
        self.stream.read_exact(&mut answer)?;
        Ok(Some(answer.into()))
    }

    /// API versions that the broker supports.
    pub fn versions(&mut self) -> Result<ApiVersionsResponse> {
        self.answered(&ApiVersionsRequest::default(), 0)
    }
}
