//! JoinGroup (key 11), v0 to v9. KIP-394 (member ids, v4), KIP-345 (static members, v5), KIP-559 (v7), KIP-800 (reasons,
//! v8), KIP-814 (skipped assignment, v9).

use std::net::{IpAddr, SocketAddr};

use bytestring::ByteString;

use crate::api::context::{Reply, RequestContext};
use crate::coordinator::group::request::Join;
use crate::wire::error_code::ErrorCode;
use crate::wire::message::join_group::{JoinGroupRequest, JoinGroupResponse};

/// The first version whose clients understand MEMBER_ID_REQUIRED.
const MEMBER_ID_REQUIRED: i16 = 4;
/// The first version in which an error has no protocol; before, an empty one.
const NULL_PROTOCOL: i16 = 7;
/// The first version whose leaders may skip the assignment.
const SKIP_ASSIGNMENT: i16 = 9;

pub fn handle(context: RequestContext, request: JoinGroupRequest) -> Reply<JoinGroupResponse> {
    let version = context.api_version;
    let Ok(fresh) = context.services.host.chance.bytes() else {
        return JoinGroupResponse {
            error_code: ErrorCode::UnknownServerError.code(),
            protocol_name: (version < NULL_PROTOCOL).then(ByteString::new),
            ..Default::default()
        }
        .into();
    };
    let join = Join {
        client_id: context.client_id.clone().unwrap_or_default(),
        client_host: host(context.connection.peer),
        member_id_required: version >= MEMBER_ID_REQUIRED && request.group_instance_id.is_none(),
        may_skip_assignment: version >= SKIP_ASSIGNMENT,
        fresh,
        request,
    };
    Reply::later(async move {
        let mut response = context.services.groups.join(join).await;
        if version < NULL_PROTOCOL {
            response.protocol_name.get_or_insert_default();
        }
        response
    })
}

/// An address as Java prints it: a slash, and for IPv6 all eight groups.
fn host(peer: SocketAddr) -> ByteString {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => format!("/{ip}").into(),
        IpAddr::V6(ip) => {
            let groups: Vec<String> = ip.segments().iter().map(|one| format!("{one:x}")).collect();
            format!("/{}", groups.join(":")).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_spelled_as_java_does() {
        for (peer, spelled) in [
            ("127.0.0.1:9", "/127.0.0.1"),
            ("[::1]:9", "/0:0:0:0:0:0:0:1"),
            ("[::ffff:10.0.0.1]:9", "/10.0.0.1"),
            ("[2001:db8::a]:9", "/2001:db8:0:0:0:0:0:a"),
        ] {
            assert_eq!(&*host(peer.parse().unwrap()), spelled);
        }
    }
}
