//! Copies a partition of topic "input" to the end that it has now, a few records per transaction, a fifth of which it
//! aborts. Arguments: ADDRESS PARTITION TRANSACTIONAL-ID.

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(30);
const PER_TRANSACTION: usize = 20;

/// A transaction ends only when somebody takes the delivery reports.
type Delivering = ThreadedProducer<DefaultProducerContext>;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().collect();
    let (address, partition, id) = (&words[1], words[2].parse::<i32>()?, &words[3]);
    let producer: Delivering = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("transactional.id", id)
        .create()?;
    // Whatever a predecessor left is finished before its offsets are asked for.
    again(|| producer.init_transactions(LIMIT))?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "copiers")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut input = TopicPartitionList::new();
    input.add_partition("input", partition);
    let (_, end) = consumer.fetch_watermarks("input", partition, LIMIT)?;
    let committed = consumer.committed_offsets(input, LIMIT)?;
    let mut done = match committed.elements()[0].offset() {
        Offset::Offset(offset) => offset,
        _ => 0,
    };
    let mut chance = u64::from(std::process::id());
    while done < end {
        let mut from = TopicPartitionList::new();
        from.add_partition_offset("input", partition, Offset::Offset(done))?;
        consumer.assign(&from)?;
        let mut aborted = false;
        while done < end && !aborted {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let gives_up = (chance >> 33) % 5 == 0;
            match one(&producer, &consumer, partition, done, end, gives_up) {
                Ok(next) => {
                    aborted = gives_up;
                    if !gives_up {
                        done = next;
                    }
                }
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    again(|| producer.abort_transaction(LIMIT))?;
                    aborted = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// One transaction; gives the offset after it.
fn one(
    producer: &Delivering,
    consumer: &BaseConsumer,
    partition: i32,
    done: i64,
    end: i64,
    gives_up: bool,
) -> Result<i64, KafkaError> {
    let mut next = done;
    producer.begin_transaction()?;
    for _ in 0..PER_TRANSACTION {
        if next >= end {
            break;
        }
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) else {
            break;
        };
        next = message.offset() + 1;
        let mut record =
            BaseRecord::<[u8], [u8]>::to("output").payload(message.payload().unwrap_or_default());
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error);
            }
            sleep(Duration::from_millis(10));
            record = back;
        }
    }
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("input", partition, Offset::Offset(next))?;
    if let Some(group) = consumer.group_metadata() {
        again(|| producer.send_offsets_to_transaction(&offsets, &group, LIMIT))?;
    }
    if gives_up {
        again(|| producer.abort_transaction(LIMIT))?;
    } else {
        again(|| producer.commit_transaction(LIMIT))?;
    }
    Ok(next)
}

/// librdkafka says which failures are worth another try.
fn again(mut act: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    loop {
        match act() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => {}
            done => return done,
        }
    }
}
