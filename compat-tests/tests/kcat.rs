//! The promise: librdkafka, through kcat, cannot tell us from Apache Kafka.

use compat_tests::node::Node;

fn lines(count: usize) -> String {
    (0..count).map(|n| format!("record-{n:06}\n")).collect()
}

#[test]
#[ignore = "needs kcat"]
fn every_codec_comes_back_as_it_was_sent() {
    let node = Node::start().unwrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("codec-{codec}");
        let sent = lines(5_000);
        assert!(
            node.kcat(&["-P", "-t", &topic, "-z", codec], &sent)
                .unwrap()
                .success,
            "{codec}"
        );
        let got = node
            .kcat(&["-C", "-t", &topic, "-o", "beginning", "-e", "-q"], "")
            .unwrap();
        assert_eq!(got.stdout, sent, "{codec}");
    }
}

#[test]
#[ignore = "needs kcat"]
fn keys_headers_and_times_survive_a_restart() {
    let mut node = Node::start().unwrap();
    let produce = ["-P", "-t", "t", "-K:", "-H", "kind=test", "-H", "empty="];
    assert!(node.kcat(&produce, "k1:v1\nk2:v2\n").unwrap().success);
    let consume = [
        "-C",
        "-t",
        "t",
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%o %k %s %h %T\n",
    ];
    let before = node.kcat(&consume, "").unwrap().stdout;
    assert!(before.contains("0 k1 v1 kind=test,empty="), "{before}");
    node.stop().unwrap();
    node.resume().unwrap();
    assert_eq!(node.kcat(&consume, "").unwrap().stdout, before);
    node.kill().unwrap();
    node.resume().unwrap();
    assert_eq!(node.kcat(&consume, "").unwrap().stdout, before);
}

#[test]
#[ignore = "needs kcat"]
fn a_group_goes_on_from_its_commits() {
    let mut node = Node::start().unwrap();
    assert!(node.kcat(&["-P", "-t", "g"], &lines(100)).unwrap().success);
    let read = [
        "-G",
        "group",
        "-X",
        "auto.offset.reset=earliest",
        "-e",
        "-q",
        "g",
    ];
    assert_eq!(node.kcat(&read, "").unwrap().stdout.lines().count(), 100);
    assert!(node.kcat(&["-P", "-t", "g"], "later\n").unwrap().success);
    node.kill().unwrap();
    node.resume().unwrap();
    assert_eq!(node.kcat(&read, "").unwrap().stdout, "later\n");
}

#[test]
#[ignore = "needs kcat"]
fn an_idempotent_producer_writes_each_record_once() {
    let node = Node::start().unwrap();
    let sent = lines(20_000);
    let produce = [
        "-P",
        "-t",
        "i",
        "-X",
        "enable.idempotence=true",
        "-X",
        "linger.ms=1",
    ];
    assert!(node.kcat(&produce, &sent).unwrap().success);
    let got = node
        .kcat(&["-C", "-t", "i", "-o", "beginning", "-e", "-q"], "")
        .unwrap();
    assert_eq!(got.stdout, sent);
}

/// Twenty rounds of kill -9 while a producer sends: what was acknowledged is there, once, in order.
#[test]
#[ignore = "needs kcat"]
fn what_was_acknowledged_survives_twenty_kills() {
    let mut node = Node::start().unwrap();
    let mut acknowledged = String::new();
    for round in 0..20 {
        let sent: String = (0..500).map(|n| format!("{round:02}-{n:04}\n")).collect();
        // The producer has ended, so everything it sent was acknowledged; the data is in the page cache at most.
        assert!(
            node.kcat(&["-P", "-t", "k", "-X", "enable.idempotence=true"], &sent)
                .unwrap()
                .success
        );
        acknowledged += &sent;
        node.kill().unwrap();
        node.resume().unwrap();
        let got = node
            .kcat(&["-C", "-t", "k", "-o", "beginning", "-e", "-q"], "")
            .unwrap();
        assert!(
            got.stdout == acknowledged,
            "round {round}: {} lines",
            got.stdout.lines().count()
        );
    }
}
