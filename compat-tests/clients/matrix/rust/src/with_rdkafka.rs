//! rdkafka: librdkafka for Rust.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::{Duration, Instant};

use crate::{LIMIT, Result, TIME, same, step, value};

fn config(address: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

fn produce(address: &str, topic: &str, count: usize, more: &[(&str, &str)]) -> Result {
    let producer: BaseProducer = config(address, more).create()?;
    for n in 0..count {
        let value = value(n);
        let record = BaseRecord::to(topic).partition(0).key("k").payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    Ok(producer.flush(LIMIT)?)
}

fn consume(address: &str, topic: &str, count: usize, more: &[(&str, &str)]) -> Result<Vec<OwnedMessage>> {
    let consumer: BaseConsumer = config(address, more).set("group.id", "x").create()?;
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&from)?;
    let (mut seen, end) = (Vec::new(), Instant::now() + LIMIT);
    while seen.len() < count && Instant::now() < end {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            seen.push(message?.detach());
        }
    }
    same(&count, &seen.len())?;
    Ok(seen)
}

pub async fn features(address: &str) {
    step("produce", async { produce(address, "basic", 20, &[]).map(|()| "") }).await;
    step("consume", async { consume(address, "basic", 20, &[]).map(|_| "") }).await;
    step("compression", async {
        for codec in ["gzip", "snappy", "lz4", "zstd"] {
            produce(address, codec, 50, &[("compression.type", codec)])?;
            consume(address, codec, 50, &[])?;
        }
        Ok("gzip snappy lz4 zstd")
    })
    .await;
    step("headers", async {
        let producer: BaseProducer = config(address, &[]).create()?;
        let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("x") });
        let record = BaseRecord::<str, str>::to("headers").partition(0).payload("v").headers(headers);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(LIMIT)?;
        let seen = consume(address, "headers", 1, &[])?;
        let header = seen[0].headers().map(|headers| headers.get(0).value.map(<[u8]>::to_vec));
        same(&Some(Some(b"x".to_vec())), &header).map(|()| "")
    })
    .await;
    step("timestamps", async {
        let producer: BaseProducer = config(address, &[]).create()?;
        let record = BaseRecord::<str, str>::to("times").partition(0).payload("v").timestamp(TIME);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(LIMIT)?;
        let seen = consume(address, "times", 1, &[])?;
        same(&Some(TIME), &seen[0].timestamp().to_millis()).map(|()| "")
    })
    .await;
    step("admin", async {
        let admin: AdminClient<DefaultClientContext> = config(address, &[]).create()?;
        let topic = NewTopic::new("made", 3, TopicReplication::Fixed(1));
        for made in admin.create_topics(&[topic], &AdminOptions::new()).await? {
            made.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
        let metadata = admin.inner().fetch_metadata(Some("made"), LIMIT)?;
        same(&3, &metadata.topics()[0].partitions().len())?;
        for gone in admin.delete_topics(&["made"], &AdminOptions::new()).await? {
            gone.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
        Ok("")
    })
    .await;
    step("idempotence", async {
        produce(address, "once", 50, &[("enable.idempotence", "true")])?;
        let seen = consume(address, "once", 50, &[])?;
        same(&Some(value(49).as_bytes()), &seen[49].payload()).map(|()| "")
    })
    .await;
    step("transactions", async {
        let producer: BaseProducer = config(address, &[("transactional.id", "t")]).create()?;
        producer.init_transactions(LIMIT)?;
        for fate in ["aborted", "committed"] {
            producer.begin_transaction()?;
            let record = BaseRecord::<str, str>::to("txn").partition(0).payload(fate);
            producer.send(record).map_err(|(error, _)| error)?;
            if fate == "committed" {
                producer.commit_transaction(LIMIT)?;
            } else {
                producer.flush(LIMIT)?;
                producer.abort_transaction(LIMIT)?;
            }
        }
        let seen = consume(address, "txn", 1, &[("isolation.level", "read_committed")])?;
        same(&Some(&b"committed"[..]), &seen[0].payload()).map(|()| "")
    })
    .await;
}

pub fn member(address: &str, topic: &str, group: &str) -> Result {
    let more = [
        ("group.id", group),
        ("auto.offset.reset", "earliest"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "500"),
    ];
    let consumer: BaseConsumer = config(address, &more).create()?;
    consumer.subscribe(&[topic])?;
    let mut before = 0;
    loop {
        if let Some(message) = consumer.poll(Duration::from_millis(200)) {
            println!("got {}", String::from_utf8_lossy(message?.payload().unwrap_or_default()));
        }
        let owned = consumer.assignment()?.count();
        if owned != before {
            before = owned;
            println!("owns {owned}");
        }
    }
}
