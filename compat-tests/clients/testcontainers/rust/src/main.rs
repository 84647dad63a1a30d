//! Testcontainers for Rust: starts an image (NAME:TAG, after the kind: apache or confluent), sends records to it and reads
//! them again. Prints the time from the start to the first record's acknowledgement.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use testcontainers_modules::kafka::{apache, confluent};
use testcontainers_modules::testcontainers::core::IntoContainerPort;
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{ContainerAsync, Image, ImageExt};

const RECORDS: usize = 50;
const LIMIT: Duration = Duration::from_secs(250);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (kind, image) = (&words[0], &words[1]);
    let (name, tag) = image.rsplit_once(':').ok_or("an image needs a tag")?;
    let began = Instant::now();
    let work = async {
        if kind == "confluent" {
            let container = confluent::Kafka::default().with_name(name).with_tag(tag);
            exchange(container.start().await?, 9093, began).await
        } else {
            let container = apache::Kafka::default().with_name(name).with_tag(tag);
            exchange(container.start().await?, 9092, began).await
        }
    };
    tokio::time::timeout(LIMIT, work).await?
}

async fn exchange(container: ContainerAsync<impl Image>, port: u16, began: Instant) -> Result<(), Box<dyn Error>> {
    // Not get_host(): on a machine that is a container itself that is another address than the modules advertise.
    let address = format!("127.0.0.1:{}", container.get_host_port_ipv4(port.tcp()).await?);
    let client = ClientBuilder::new(vec![address]).build().await?;
    client.controller_client()?.create_topic("from-rust", 1, 1, 10_000).await?;
    let partition = client.partition_client("from-rust", 0, UnknownTopicHandling::Retry).await?;
    let record = |n: usize| Record {
        key: None,
        value: Some(format!("record {n}").into_bytes()),
        headers: BTreeMap::new(),
        timestamp: chrono::Utc::now(),
    };
    partition.produce(vec![record(0)], Compression::NoCompression).await?;
    println!("first record after {} ms", began.elapsed().as_millis());
    partition.produce((1..RECORDS).map(record).collect(), Compression::NoCompression).await?;
    let mut seen = Vec::new();
    while seen.len() < RECORDS {
        let (records, _) = partition.fetch_records(seen.len() as i64, 1..1_000_000, 1_000).await?;
        seen.extend(records.into_iter().filter_map(|one| one.record.value));
    }
    let sent: Vec<_> = (0..RECORDS).filter_map(|n| record(n).value).collect();
    if seen != sent {
        return Err("other records came back".into());
    }
    println!("all records");
    container.rm().await?;
    Ok(())
}
