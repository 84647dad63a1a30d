//! Forwarding of requests that only the controller decides, on a broker that is not the controller: the request is sent
//! unchanged in an Envelope with the client's principal and address, and the controller's response is returned unchanged.
//! Kafka's `ForwardingManager`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::context::ConnectionInfo;
use super::dispatch::{Answer, Encoded};
use crate::metadata::remote::Remote;
use crate::security::principal::Principal;
use crate::wire::codec::{EncodeError, Part, Writer};
use crate::wire::error_code::ErrorCode;
use crate::wire::message::Message as _;
use crate::wire::message::embedded::DefaultPrincipalData;
use crate::wire::message::envelope::EnvelopeRequest;

/// Time limit for finding a controller that answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
const PRINCIPAL_VERSION: i16 = 0;
/// Bytes of an Envelope beside the request in it. A controller closes the connection, with all other requests on it, if an Envelope
/// is longer than its `socket.request.max.bytes`, which is taken to be that of this broker.
const ENVELOPE_BYTES: usize = 4 << 10;

/// Forwards a frame and returns the controller's response. `bytes_max` is this broker's `socket.request.max.bytes`.
pub(super) fn forward(
    remote: &Remote,
    connection: &ConnectionInfo,
    frame: Bytes,
    bytes_max: usize,
) -> Answer {
    let principal = principal(&connection.principal);
    let address = address(connection.peer.ip());
    let remote = remote.clone();
    Box::pin(async move {
        if frame.len() + ENVELOPE_BYTES > bytes_max {
            return Err(format!(
                "a request of {} bytes is too long to be forwarded",
                frame.len()
            ));
        }
        let correlation = correlation_in(&frame, 4);
        let request = EnvelopeRequest {
            request_data: frame,
            request_principal: Some(principal.map_err(|error| error.to_string())?),
            client_host_address: address,
        };
        let answer = remote.ask(&request, ANSWER_WITHIN).await;
        let answer = answer.map_err(|error| format!("a request cannot be forwarded: {error}"))?;
        if answer.error_code != 0 {
            let code = ErrorCode::from_code(answer.error_code);
            return Err(format!(
                "the controller takes no forwarded request: {code:?}"
            ));
        }
        let data = answer.response_data.unwrap_or_default();
        match correlation.is_some() && correlation_in(&data, 0) == correlation {
            true => Ok(framed(data)),
            false => Err("the controller's answer is to another request".to_owned()),
        }
    })
}

/// Correlation id of a request or a response, at this position in the frame.
fn correlation_in(frame: &[u8], at: usize) -> Option<[u8; 4]> {
    frame.get(at..)?.first_chunk().copied()
}

/// Response with its length prefix. It arrived in a frame, so its length fits.
fn framed(data: Bytes) -> Encoded {
    let length = Bytes::copy_from_slice(&(data.len() as i32).to_be_bytes());
    vec![Part::Bytes(length), Part::Bytes(data)]
}

/// Encodes a principal like Kafka's `DefaultKafkaPrincipalBuilder`.
fn principal(principal: &Principal) -> Result<Bytes, EncodeError> {
    let data = DefaultPrincipalData {
        r#type: principal.kind.clone(),
        name: principal.name.clone(),
        token_authenticated: principal.by_token,
    };
    let mut writer = Writer::default();
    writer.i16(PRINCIPAL_VERSION);
    data.write(&mut writer, PRINCIPAL_VERSION)?;
    Ok(writer.into_bytes())
}

fn address(ip: IpAddr) -> Bytes {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Bytes::copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => Bytes::copy_from_slice(&ip.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_from_where_is_said_as_kafka_says_it() {
        // The version, then three fields in the flexible encoding, whose length fields are one more than the length.
        let expected = b"\0\0\x05User\x04ann\0\0";
        assert_eq!(principal(&Principal::user("ann")).unwrap(), expected[..]);
        assert_eq!(
            address("::ffff:10.0.0.7".parse().unwrap()),
            [10, 0, 0, 7][..]
        );
        assert_eq!(address("::1".parse().unwrap()).len(), 16);
    }

    #[test]
    fn an_answer_gets_its_length() {
        let parts = framed(Bytes::from_static(b"abcde"));
        let all: Vec<u8> = parts
            .iter()
            .flat_map(|part| match part {
                Part::Bytes(bytes) => bytes.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(all, b"\0\0\0\x05abcde");
        assert_eq!(
            correlation_in(b"\0\x13\0\x07\0\0\0\x09rest", 4),
            Some([0, 0, 0, 9])
        );
        assert_eq!(correlation_in(b"\0\0\0", 0), None);
    }
}
