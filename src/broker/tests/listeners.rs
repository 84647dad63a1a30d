//! Tests of listeners that are opened, moved and closed while the broker runs.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{WITHIN, client};
use crate::broker::temporary::TemporaryBroker;
use crate::host::Host;
use crate::peer::channel::Channel;
use crate::peer::connection::Identity;
use crate::wire::message::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::wire::message::metadata::MetadataRequest;

const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Listener of a temporary broker.
const FIRST: &str = "PLAINTEXT://127.0.0.1:0";

/// Loopback address that no other process uses, so that a free port stays free.
fn own_address() -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 77, high, low)
}

fn free_ports() -> [u16; 2] {
    let sockets = [0, 0].map(|port| TcpListener::bind((own_address(), port)).unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// Sets broker settings, or removes those without a value. Gives the error code.
pub(super) async fn alter(client: &Channel, settings: &[(&str, Option<&str>)]) -> i16 {
    let configs = settings.iter().map(|(name, value)| AlterableConfig {
        name: (*name).into(),
        config_operation: if value.is_some() { SET } else { DELETE },
        value: value.map(Into::into),
    });
    let request = IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: BROKER,
            resource_name: "1".into(),
            configs: configs.collect(),
        }],
        validate_only: false,
    };
    let answer = client.call(&request, WITHIN).await.unwrap();
    answer.responses[0].error_code
}

/// Advertised port in the answer on a new connection, or `None` if nothing listens.
async fn told_at(address: Ipv4Addr, port: u16) -> Option<i32> {
    let client = Channel::new(
        &Host::default(),
        format!("{address}:{port}"),
        Identity::new("test"),
    );
    let request = MetadataRequest::default();
    let answer = client.call(&request, Duration::from_millis(500)).await;
    Some(answer.ok()?.brokers[0].port)
}

async fn soon(port: u16, expected: Option<u16>) {
    soon_at(own_address(), port, expected).await;
}

async fn soon_at(address: Ipv4Addr, port: u16, expected: Option<u16>) {
    let end = Instant::now() + WITHIN;
    loop {
        let told = told_at(address, port).await;
        if told == expected.map(i32::from) {
            return;
        }
        assert!(
            Instant::now() < end,
            "port {port} tells {told:?}, not {expected:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_running_broker_opens_moves_and_closes_listeners() {
    let broker = TemporaryBroker::start(&[(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT,CONTROLLER:PLAINTEXT",
    )])
    .await
    .unwrap();
    let client = client(&broker);
    let [first, second] = free_ports();
    let address = own_address();
    let with = |port: u16| format!("{FIRST},EXTRA://{address}:{port}");

    let opened = alter(&client, &[("listeners", Some(&with(first)))]).await;
    assert_eq!(opened, 0);
    soon(first, Some(first)).await;
    let mut old = TcpStream::connect((address, first)).await.unwrap();

    alter(&client, &[("listeners", Some(&with(second)))]).await;
    soon(second, Some(second)).await;
    soon(first, None).await;
    let end = tokio::time::timeout(WITHIN, old.read(&mut [0])).await;
    assert_eq!(end.unwrap().unwrap(), 0, "its connections end too");

    // The advertised address of a listener that stays open.
    let told = format!("EXTRA://{address}:{first}");
    alter(&client, &[("advertised.listeners", Some(&told))]).await;
    soon(second, Some(first)).await;

    // A listener cannot be removed while it is advertised.
    let refused = alter(&client, &[("listeners", None)]).await;
    assert_eq!(refused, 42);
    soon(second, Some(first)).await;
    let both = [("listeners", None), ("advertised.listeners", None)];
    assert_eq!(alter(&client, &both).await, 0);
    soon(second, None).await;
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_leaves_the_others_alone() {
    let broker = TemporaryBroker::start(&[(
        "listener.security.protocol.map",
        "PLAINTEXT:PLAINTEXT,EXTRA:PLAINTEXT,SAFE:SSL,CONTROLLER:PLAINTEXT",
    )])
    .await
    .unwrap();
    let client = client(&broker);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let extra = |text: &str| format!("{FIRST},{text}");

    let in_use = extra(&format!("EXTRA://127.0.0.1:{port}"));
    assert_eq!(alter(&client, &[("listeners", Some(&in_use))]).await, 0);
    // The listener that clients use stays at its address, too.
    let moved = format!("PLAINTEXT://127.0.0.1:{port}");
    assert_eq!(alter(&client, &[("listeners", Some(&moved))]).await, 0);
    let own: u16 = broker
        .bootstrap_servers()
        .rsplit_once(':')
        .unwrap()
        .1
        .parse()
        .unwrap();
    soon_at(Ipv4Addr::LOCALHOST, own, Some(own)).await;

    for refused in ["nonsense", "SAFE://:0", "NOBODY://:0"] {
        let value = extra(refused);
        let code = alter(&client, &[("listeners", Some(&value))]).await;
        assert_eq!(code, 42, "{value}");
    }
    soon_at(Ipv4Addr::LOCALHOST, own, Some(own)).await;
}
