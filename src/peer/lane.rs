//! A lane to one node: a connection of its own with one request at a time, for fetching. Kafka calls this
//! `BrokerBlockingSender`.
//!
//! Answers are returned as bytes: records are not copied, and their buffer is reused once they are dropped.

use std::time::Duration;

use super::channel::{Channel, Raw};
use super::connection::CallError;
use crate::wire::message::Request;

/// A connection for one caller; see the module.
#[derive(Debug)]
pub struct Lane {
    channel: Channel,
}

impl Lane {
    /// Creates a lane over a channel that has no other users.
    pub(super) fn over(channel: Channel) -> Self {
        Self { channel }
    }

    /// Sends a request in the newest version that both sides support, but no newer than `newest`; returns the undecoded answer.
    ///
    /// Errors: after any error the next request connects again, after a pause that grows with the number of failures. A request
    /// is never repeated automatically.
    pub async fn ask<R: Request>(
        &mut self,
        request: &R,
        newest: i16,
        within: Duration,
    ) -> Result<Raw, CallError> {
        self.channel.ask(request, newest, within).await
    }

    /// Like [`Self::ask`], and decodes the answer.
    pub async fn call<R: Request>(
        &mut self,
        request: &R,
        newest: i16,
        within: Duration,
    ) -> Result<R::Response, CallError> {
        self.ask(request, newest, within).await?.read::<R>()
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::host::Host;
    use crate::peer::connection::Identity;
    use crate::wire::codec::Records;
    use crate::wire::codec::Writer;
    use crate::wire::message::Message as _;
    use crate::wire::message::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
    use crate::wire::message::fetch::{
        FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
    };

    const SECOND: Duration = Duration::from_secs(10);
    const VERSION: i16 = 12;

    /// Answers ApiVersions, and each Fetch with `min_bytes` bytes of records; closes the connection after a fetch with a
    /// minimum of 0.
    async fn serve(listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(size) = stream.read_i32().await {
                let mut frame = vec![0; size as usize];
                stream.read_exact(&mut frame).await.unwrap();
                let (key, version) = (frame[1], i16::from(frame[3]));
                let mut writer = Writer::default();
                writer.put(&frame[4..8]);
                if i16::from(key) == ApiVersionsRequest::KEY {
                    let answer = ApiVersionsResponse {
                        api_keys: vec![ApiVersion {
                            api_key: FetchRequest::KEY,
                            min_version: 4,
                            max_version: VERSION,
                        }],
                        ..Default::default()
                    };
                    answer.write(&mut writer, version).unwrap();
                } else {
                    let client_id = usize::from(frame[9]);
                    let mut reader = crate::wire::codec::Reader::new(
                        frame[10 + client_id + 1..].to_vec().into(),
                    );
                    let wanted = FetchRequest::read(&mut reader, version).unwrap().min_bytes;
                    if wanted == 0 {
                        break;
                    }
                    let mut records = BytesMut::new();
                    records.put_bytes(wanted as u8, wanted as usize);
                    let answer = FetchResponse {
                        responses: vec![FetchableTopicResponse {
                            partitions: vec![PartitionData {
                                records: Some(Records::Bytes(records.freeze())),
                                ..Default::default()
                            }],
                            ..Default::default()
                        }],
                        ..Default::default()
                    };
                    writer.unsigned_varint(0);
                    answer.write(&mut writer, version).unwrap();
                }
                let body = writer.into_bytes();
                stream.write_i32(body.len() as i32).await.unwrap();
                stream.write_all(&body).await.unwrap();
            }
        }
    }

    fn records(answer: FetchResponse) -> bytes::Bytes {
        let [topic] = &answer.responses[..] else {
            panic!("{answer:?}");
        };
        topic.partitions[0].records.as_ref().unwrap().bytes()
    }

    #[tokio::test]
    async fn answers_come_as_bytes_in_memory_that_is_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(serve(listener));
        let channel = Channel::new(
            &Host::default(),
            address,
            Identity::new("broker-1-fetcher-0"),
        );
        let mut lane = Lane::over(channel);
        let request = |min_bytes| FetchRequest {
            min_bytes,
            ..Default::default()
        };
        let mut places = Vec::new();
        for size in [3_000_001, 2_500_000, 3_000_000] {
            let answer = lane.ask(&request(size), 18, SECOND).await.unwrap();
            assert_eq!(answer.version, VERSION);
            let records = records(answer.read::<FetchRequest>().unwrap());
            assert_eq!(records.len(), size as usize);
            assert!(records.iter().all(|byte| *byte == size as u8));
            places.push(records.as_ptr());
        }
        assert_eq!(places[1], places[2]);
        let broken = lane.ask(&request(0), 18, SECOND).await;
        assert!(matches!(broken, Err(CallError::Closed(_))), "{broken:?}");
        let again = lane.call(&request(5), 18, SECOND).await.unwrap();
        assert_eq!(records(again).len(), 5);
        server.abort();
    }
}
