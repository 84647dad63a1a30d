//! rskafka: a client written in Rust, without groups by design.

use std::collections::BTreeMap;
use std::time::Instant;

use chrono::{DateTime, Utc};
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};

use crate::{LIMIT, Result, TIME, same, step, value};

fn record(value: &str) -> Record {
    Record {
        key: Some(b"k".to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: BTreeMap::from([("h".to_owned(), b"x".to_vec())]),
        timestamp: DateTime::<Utc>::from_timestamp_millis(TIME).unwrap_or_default(),
    }
}

async fn produce(client: &Client, topic: &str, codec: Compression) -> Result {
    client.controller_client()?.create_topic(topic, 1, 1, 5_000).await?;
    let partition = client.partition_client(topic, 0, UnknownTopicHandling::Retry).await?;
    partition.produce((0..50).map(|n| record(&value(n))).collect(), codec).await?;
    Ok(())
}

async fn consume(client: &Client, topic: &str) -> Result<Vec<RecordAndOffset>> {
    let partition = client.partition_client(topic, 0, UnknownTopicHandling::Retry).await?;
    let (mut seen, end) = (Vec::new(), Instant::now() + LIMIT);
    while seen.len() < 50 && Instant::now() < end {
        seen.extend(partition.fetch_records(seen.len() as i64, 1..1_000_000, 500).await?.0);
    }
    same(&50, &seen.len())?;
    Ok(seen)
}

pub async fn features(address: &str) {
    let client = match ClientBuilder::new(vec![address.to_owned()]).build().await {
        Ok(client) => client,
        Err(error) => return eprintln!("{error}"),
    };
    step("produce", async { produce(&client, "basic", Compression::NoCompression).await.map(|()| "") }).await;
    step("consume", async { consume(&client, "basic").await.map(|_| "") }).await;
    step("compression", async {
        let kinds = [
            ("gzip", Compression::Gzip),
            ("snappy", Compression::Snappy),
            ("lz4", Compression::Lz4),
            ("zstd", Compression::Zstd),
        ];
        for (topic, codec) in kinds {
            produce(&client, topic, codec).await?;
            consume(&client, topic).await?;
        }
        Ok("gzip snappy lz4 zstd")
    })
    .await;
    step("headers", async {
        let seen = consume(&client, "basic").await?;
        same(&record("").headers, &seen[0].record.headers).map(|()| "")
    })
    .await;
    step("timestamps", async {
        let seen = consume(&client, "basic").await?;
        same(&TIME, &seen[0].record.timestamp.timestamp_millis()).map(|()| "")
    })
    .await;
    step("admin", async {
        let controller = client.controller_client()?;
        controller.create_topic("made", 3, 1, 5_000).await?;
        let listed = client.list_topics().await?;
        let made = listed.iter().find(|topic| topic.name == "made");
        same(&Some(3), &made.map(|topic| topic.partitions.len()))?;
        controller.delete_topic("made", 5_000).await?;
        Ok("")
    })
    .await;
    for feature in ["group", "idempotence", "transactions"] {
        println!("cell {feature} n/a the library has none");
    }
}
