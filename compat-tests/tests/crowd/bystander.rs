//! The well-behaved client: in each round it opens a connection, asks for versions, produces 1 KiB to all replicas and fetches
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use compat_tests::exchange::{Connection, produce};
use compat_tests::produced::Batch;
use monedula::wire::message::fetch::{FetchPartition, FetchRequest, FetchTopic};

/// The bystander's own topic.
pub const TOPIC: &str = "bystander";
const PACE: Duration = Duration::from_millis(100);
/// Time after which the bystander gives up.
const PATIENCE: Duration = Duration::from_secs(60);
const VALUE: usize = 1 << 10;
/// Number of leading bytes of a batch with its base offset and length. The broker may change the bytes before `CLIENTS_FROM`.
const LENGTH_END: usize = 12;
const CLIENTS_FROM: usize = 21;

/// The running bystander.
pub struct Bystander {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// Observations of the bystander.
#[derive(Debug, Default)]
pub struct Seen {
    pub longest: Duration,
    pub longest_of: &'static str,
    pub rounds: usize,
    pub errors: Vec<String>,
    /// Acknowledged batches, by their offsets.
    acknowledged: BTreeMap<i64, Bytes>,
}

impl Bystander {
    pub fn start(address: &str) -> Self {
        let ends = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let (ends, address) = (Arc::clone(&ends), address.to_owned());
            move || {
                let mut seen = Seen::default();
                while !ends.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    match seen.round(&address) {
                        Ok(()) => seen.rounds += 1,
                        Err(error) => seen.errors.push(format!("the bystander: {error:#}")),
                    }
                    thread::sleep(PACE.saturating_sub(began.elapsed()));
                }
                seen
            }
        });
        Self { ends, thread }
    }

    /// Ends the bystander after its current round; returns its observations.
    pub fn end(self) -> Result<Seen> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow!("the bystander panicked"))
    }
}

impl Seen {
    fn round(&mut self, address: &str) -> Result<()> {
        let mut client = self.timed("a connection", || {
            let mut client = Connection::open(address)?;
            client.be_patient(PATIENCE)?;
            client.versions()?;
            Ok(client)
        })?;
        let number = (self.rounds + self.errors.len()) as u64;
        let mut value = number.to_be_bytes().to_vec();
        value.resize(VALUE, b'v');
        let batch = Batch::default().of([(None, Bytes::from(value))])?;
        let offset = self.timed("a produce", || {
            let answer = client.answered(&produce(TOPIC, 0, batch.clone()), 9)?;
            let partition = &answer.responses[0].partition_responses[0];
            ensure!(
                partition.error_code == 0,
                "produce: {}",
                partition.error_code
            );
            Ok(partition.base_offset)
        })?;
        self.acknowledged.insert(offset, batch.clone());
        let records = self.timed("a fetch", || fetched(&mut client, offset))?;
        ensure!(
            records.len() >= batch.len() && records[CLIENTS_FROM..] == batch[CLIENTS_FROM..],
            "offset {offset} is not what was produced"
        );
        Ok(())
    }

    fn timed<T>(&mut self, of: &'static str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        let began = Instant::now();
        let done = step();
        let took = began.elapsed();
        if took > self.longest {
            (self.longest, self.longest_of) = (took, of);
        }
        done.map_err(|error| error.context(format!("{of}, after {took:?}")))
    }

    /// Acknowledged offsets that a broker does not have, or has with other content.
    pub fn missing(&self, address: &str) -> Result<Vec<i64>> {
        let mut client = Connection::open(address)?;
        let mut missing: BTreeMap<i64, &Bytes> = self
            .acknowledged
            .iter()
            .map(|(offset, batch)| (*offset, batch))
            .collect();
        let mut next = 0;
        let Some(last) = missing.keys().next_back().copied() else {
            return Ok(Vec::new());
        };
        while next <= last {
            // A fetch of a removed offset is an error. Then all remaining offsets are missing.
            let Ok(records) = fetched(&mut client, next) else {
                break;
            };
            let mut left = &records[..];
            while let Some((batch, rest)) = first_batch(left) {
                let offset = i64::from_be_bytes(batch[..8].try_into()?);
                let same = missing
                    .get(&offset)
                    .is_some_and(|sent| sent[CLIENTS_FROM..] == batch[CLIENTS_FROM..]);
                if same {
                    missing.remove(&offset);
                }
                next = offset + 1;
                left = rest;
            }
            if left.len() == records.len() {
                break;
            }
        }
        Ok(missing.into_keys().collect())
    }
}

fn first_batch(records: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = records.get(8..LENGTH_END)?.try_into().ok()?;
    records.split_at_checked(LENGTH_END + u32::from_be_bytes(length) as usize)
}

fn fetched(client: &mut Connection, offset: i64) -> Result<Bytes> {
    let request = FetchRequest {
        max_wait_ms: 5_000,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: TOPIC.into(),
            partitions: vec![FetchPartition {
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.answered(&request, 4)?;
    let partition = &answer.responses[0].partitions[0];
    ensure!(partition.error_code == 0, "fetch: {}", partition.error_code);
    let records = partition.records.as_ref();
    Ok(records.map(|records| records.bytes()).unwrap_or_default())
}
