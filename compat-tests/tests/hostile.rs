//! Input from outside costs no more than its size, and other clients are not affected. Measured from outside, with clients that
//! announce more than they send and request more than they read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use compat_tests::admin;
use compat_tests::exchange::{Answer, Connection, produce};
use compat_tests::node::Node;
use compat_tests::produced::{Batch, send};
use compat_tests::programs::eventually;
use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::Compression;
use monedula::wire::codec::Writer;
use monedula::wire::message::api_versions::ApiVersionsRequest;
use monedula::wire::message::create_topics::{CreatableTopic, CreateTopicsRequest};
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};
use monedula::wire::message::produce::ProduceRequest;
use monedula::wire::message::{Message, Request};

const MIB: usize = 1 << 20;
/// Maximum memory of a connection beside the bytes that it sent.
const CONNECTION_MAX: usize = 16 << 10;
/// Memory by which a node may grow on its own during a test.
const SLACK: usize = 8 * MIB;
/// Time for which a hostile client continues.
const INSISTENCE: Duration = Duration::from_secs(3);
/// Maximum duration of a response to other clients, on a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// With clients that have sent half a request, a node stops within this many times the duration of a stop without clients, plus
/// [`STOP_MORE`]. A node that waited for the other half would never stop.
const STOP_TIMES: u32 = 10;
const STOP_MORE: Duration = Duration::from_secs(2);

/// Time limit for everything that has no time guarantee.
const LOG_LIMIT: Duration = Duration::from_secs(60);

fn frame<R: Request>(request: &R, version: i16) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    writer.i16(R::KEY);
    writer.i16(version);
    writer.i32(1);
    writer.i16(-1);
    if <R as Message>::is_flexible(version) {
        writer.unsigned_varint(0);
    }
    request.write(&mut writer, version)?;
    let body = writer.into_bytes();
    Ok([&u32::try_from(body.len())?.to_be_bytes()[..], &body].concat())
}

fn create(node: &Node, topic: &str) -> Result<()> {
    let request = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic.into(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    answered(node, &request, 7)?;
    Ok(())
}

fn answered<R: Request>(node: &Node, request: &R, version: i16) -> Result<R::Response> {
    match Connection::open(&node.address())?.ask(request, version)? {
        Some(Answer::Response(response)) => Ok(response),
        _ => bail!("{} was not answered", <R as Message>::NAME),
    }
}

/// Checks that a new client is served as if it were alone.
fn nobody_is_disturbed(node: &Node) -> Result<()> {
    let began = Instant::now();
    Connection::open(&node.address())?.versions()?;
    ensure!(began.elapsed() < ANSWER_MAX, "{:?}", began.elapsed());
    Ok(())
}

/// Resident memory once it no longer grows: the node may not yet have read everything that was sent.
fn resident_at_rest(node: &Node) -> Result<usize> {
    const LOOKS: usize = 10;
    let mut seen = vec![node.resident()?];
    let rests = eventually(LOG_LIMIT, || {
        seen.extend(node.resident());
        let last = seen.iter().rev().take(LOOKS);
        seen.len() > LOOKS && last.clone().max() == last.min()
    });
    ensure!(rests, "it takes more and more: {seen:?}");
    Ok(seen.into_iter().max().unwrap_or_default())
}

/// Writes repeatedly until the node accepts nothing more, or the time is over.
fn insist(client: &mut TcpStream, bytes: &[u8], until: Instant) -> Result<()> {
    client.set_write_timeout(Some(Duration::from_millis(200)))?;
    while Instant::now() < until {
        match client.write_all(bytes) {
            Ok(()) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// `clients` connections each begin a request of a mebibyte and stop after `sent` bytes of it.
fn half_sent(node: &Node, clients: usize, sent: usize) -> Result<Vec<TcpStream>> {
    let before = node.resident()?;
    let mut begun = u32::try_from(MIB)?.to_be_bytes().to_vec();
    begun.resize(4 + sent, 0);
    let mut open = Vec::new();
    for _ in 0..clients {
        let mut client = TcpStream::connect(node.address())?;
        client.write_all(&begun)?;
        open.push(client);
    }
    nobody_is_disturbed(node)?;
    let grown = resident_at_rest(node)?.saturating_sub(before);
    println!("{clients} clients sent {sent} bytes each: {grown} bytes more");
    let expected = clients * (sent + sent / 4 + CONNECTION_MAX) + SLACK;
    ensure!(grown < expected, "{grown} bytes, where {expected} are due");
    Ok(open)
}

#[test]
#[ignore = "needs the binary"]
fn half_sent_requests_cost_what_came_of_them() -> Result<()> {
    let mut node = Node::start()?;
    drop(half_sent(&node, 300, MIB - 1)?);
    let mut node_again = Node::start()?;
    let open = half_sent(&node_again, 3_000, 1_000)?;
    let alone = stop_time(&mut node)?;
    let took = stop_time(&mut node_again)?;
    println!(
        "stopped with {} clients in {took:?}, without any in {alone:?}",
        open.len()
    );
    ensure!(
        took < alone * STOP_TIMES + STOP_MORE,
        "{took:?}, where without clients it takes {alone:?}"
    );
    Ok(())
}

fn stop_time(node: &mut Node) -> Result<Duration> {
    let began = Instant::now();
    node.stop()?;
    Ok(began.elapsed())
}

#[test]
#[ignore = "needs the binary"]
fn connections_cost_little() -> Result<()> {
    let node = Node::start()?;
    drop(half_sent(&node, 3_000, 0)?);
    Ok(())
}

/// Clients take all connections that they can get, while records are produced to more partitions than there are file
/// descriptors.
#[test]
#[ignore = "needs the binary"]
fn what_descriptors_are_left_is_enough_for_the_logs() -> Result<()> {
    const DESCRIPTORS: usize = 160;
    const PARTITIONS: i32 = 200;
    let node = Node::with_descriptors(DESCRIPTORS)?;
    let mut client = Connection::open(&node.address())?;
    // About ten segments per partition: each write rolls the log.
    let settings = [
        ("segment.index.bytes", "16"),
        ("index.interval.bytes", "0"),
        ("flush.messages", "3"),
    ];
    admin::create_with(&mut client, &["many"], PARTITIONS, &settings)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()));
    // Connections beyond the limit wait in the backlog until that is full, and clients retry after a second.
    let crowd: Vec<_> = (0..DESCRIPTORS)
        .map_while(|_| TcpStream::connect_timeout(&address, Duration::from_secs(4)).ok())
        .collect();
    ensure!(crowd.len() > DESCRIPTORS / 3, "{} came in", crowd.len());
    let batch = Batch::default().of([(None, Bytes::from_static(b"value"))])?;
    for _ in 0..10 {
        for partition in 0..PARTITIONS {
            send(&mut client, "many", partition, batch.clone())?;
        }
    }
    drop(crowd);
    nobody_is_disturbed(&node)
}

#[test]
#[ignore = "needs the binary"]
fn answers_that_nobody_reads_do_not_pile_up() -> Result<()> {
    let node = Node::start()?;
    // Requests of fourteen bytes with responses of some hundred bytes.
    let small = frame(&ApiVersionsRequest::default(), 0)?;
    // One large request, for which the node allocates a buffer, then as many small ones as fit into that buffer.
    let mut padded = small.clone();
    padded.resize(3 * MIB, 0);
    let size = u32::try_from(padded.len() - 4)?.to_be_bytes();
    padded[..4].copy_from_slice(&size);
    let many = small.repeat(MIB / small.len());
    let before = node.resident()?;
    let mut clients = Vec::new();
    let until = Instant::now() + INSISTENCE;
    for _ in 0..4 {
        let mut client = TcpStream::connect(node.address())?;
        client.write_all(&padded)?;
        insist(&mut client, &many, until)?;
        clients.push(client);
    }
    nobody_is_disturbed(&node)?;
    let grown = node.resident()?.saturating_sub(before);
    println!("4 clients that do not read: {grown} bytes more");
    // The node may hold what it has read of the requests, and one or two responses.
    let due = clients.len() * 10 * MIB + SLACK;
    ensure!(grown < due, "{grown} bytes, where {due} are due");
    Ok(())
}

#[test]
#[ignore = "needs the binary"]
fn records_that_nobody_reads_do_not_enter_the_process() -> Result<()> {
    const CLIENTS: usize = 100;
    let node = Node::start()?;
    let topic = "unread";
    create(&node, topic)?;
    let mut batch = BatchBuilder::default();
    batch.push(1_700_000_000_000, None, Some(&[7; 900_000]));
    let records = batch.build();
    for _ in 0..40 {
        let request = produce(topic, 0, records.clone());
        let answer = answered(&node, &request, 9)?;
        ensure!(answer.responses[0].partition_responses[0].error_code == 0);
    }
    let fetch = FetchRequest {
        min_bytes: 1,
        max_bytes: i32::MAX,
        topics: vec![FetchTopic {
            topic: topic.into(),
            partitions: vec![FetchPartition {
                partition_max_bytes: i32::MAX,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let asks = frame(&fetch, 4)?.repeat(100);
    let before = node.resident()?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(node.address())?;
        insist(
            &mut client,
            &asks,
            Instant::now() + Duration::from_millis(1),
        )?;
        clients.push(client);
    }
    nobody_is_disturbed(&node)?;
    let grown = resident_at_rest(&node)?.saturating_sub(before);
    println!("{CLIENTS} consumers that do not read: {grown} bytes more");
    let due = CLIENTS * (64 << 10) + SLACK;
    ensure!(grown < due, "{grown} bytes, where {due} are due");
    Ok(())
}

/// One record with `size` zero bytes, which compress to almost nothing.
fn bomb(compression: Compression, size: usize) -> ProduceRequest {
    let mut batch = BatchBuilder::new(compression);
    batch.push(1_700_000_000_000, None, Some(&vec![0; size]));
    produce("bombs", 0, batch.build())
}

#[test]
#[ignore = "needs the binary"]
fn records_that_unpack_to_much_take_little_memory() -> Result<()> {
    let node = Node::start()?;
    create(&node, "bombs")?;
    for (compression, size) in [
        (Compression::Gzip, 200 * MIB),
        (Compression::Zstd, 200 * MIB),
        (Compression::Lz4, 100 * MIB),
        (Compression::Snappy, 16 * MIB),
    ] {
        let request = bomb(compression, size);
        let before = node.resident()?;
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| answered(&node, &request, 9));
            while !sent.is_finished() {
                most.fetch_max(node.resident()?, Ordering::Relaxed);
                nobody_is_disturbed(&node)?;
                std::thread::sleep(Duration::from_millis(2));
            }
            let answer = sent
                .join()
                .map_err(|_| anyhow!("the producer panicked"))??;
            let error = answer.responses[0].partition_responses[0].error_code;
            ensure!(error == 0, "{compression:?} was refused: {error}");
            Ok(())
        })?;
        let grown = most.into_inner().saturating_sub(before);
        println!("{compression:?}: {grown} bytes more for {size} unpacked");
        ensure!(grown < SLACK + 4 * MIB, "{grown} bytes for {compression:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs the binary"]
fn clients_that_send_a_byte_at_a_time_hold_up_nobody() -> Result<()> {
    const CLIENTS: usize = 500;
    let node = Node::start()?;
    let request = frame(&ApiVersionsRequest::default(), 0)?;
    let mut clients = (0..CLIENTS)
        .map(|_| TcpStream::connect(node.address()))
        .collect::<std::io::Result<Vec<_>>>()?;
    for byte in &request {
        for client in &mut clients {
            client.write_all(&[*byte])?;
        }
        nobody_is_disturbed(&node)?;
    }
    for client in &mut clients {
        client.set_read_timeout(Some(LOG_LIMIT))?;
        client.read_exact(&mut [0; 4])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs the binary"]
fn a_client_without_manners_is_worth_one_line() -> Result<()> {
    let node = Node::start()?;
    let framed = |body: &[u8]| {
        let size = (body.len() as u32).to_be_bytes();
        [&size[..], body].concat()
    };
    let mut cut = frame(&CreateTopicsRequest::default(), 7)?;
    cut.truncate(cut.len() - 1);
    let size = (cut.len() as u32 - 4).to_be_bytes();
    cut[..4].copy_from_slice(&size);
    let unmannered: &[(&str, Vec<u8>)] = &[
        (
            "a length of two thousand million",
            vec![0x7f, 0xff, 0xff, 0xff],
        ),
        ("a length below zero", vec![0xff, 0xff, 0xff, 0xff]),
        ("an empty frame", vec![0; 4]),
        (
            "an unknown API",
            framed(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ),
        (
            "an unknown version",
            framed(&[0, 3, 0x7f, 0, 0, 0, 0, 1, 0xff, 0xff]),
        ),
        ("a body that ends early", cut),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        ),
        (
            "TLS",
            [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 501]].concat(),
        ),
    ];
    // The log lines of the start may come after the first response.
    let last = "no ZooKeeper";
    let is_started = eventually(LOG_LIMIT, || {
        let log = node.log().unwrap_or_default();
        log.iter().any(|line| line.contains(last))
    });
    ensure!(is_started, "no line with \"{last}\"");
    for (what, bytes) in unmannered {
        let before = node.log()?.len();
        let mut client = TcpStream::connect(node.address())?;
        client.write_all(bytes)?;
        client.set_read_timeout(Some(LOG_LIMIT))?;
        let mut rest = Vec::new();
        // The end of the stream, or a reset if the node left bytes unread.
        match client.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => bail!("{what}: {error}"),
        }
        nobody_is_disturbed(&node)?;
        eventually(LOG_LIMIT, || node.log().is_ok_and(|log| log.len() > before));
        let log = node.log()?;
        let told = &log[before..];
        println!("{what}: {told:?}");
        ensure!(told.len() == 1, "{what}: {told:?}");
        let peer = client.local_addr()?.port().to_string();
        ensure!(
            told[0].contains(&peer),
            "{what}: {} does not say who",
            told[0]
        );
    }
    // A client that sends nothing wrong, or disconnects in the middle of a request, causes no log line.
    let before = node.log()?.len();
    drop(TcpStream::connect(node.address())?);
    TcpStream::connect(node.address())?.write_all(&[0, 0, 1, 0, 3])?;
    std::thread::sleep(Duration::from_millis(300));
    nobody_is_disturbed(&node)?;
    let log = node.log()?;
    ensure!(log.len() == before, "{:?}", &log[before..]);
    Ok(())
}
