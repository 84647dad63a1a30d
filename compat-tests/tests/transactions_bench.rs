//! Speed of transactions in comparison with Apache Kafka, in one run: transactions of a thousand records, the commit of small
//! ones, the reload of many transactional ids, and the memory of an idle one. Prints a table; asserts nothing.
//!
//! `cargo test -p compat-tests --release --test transactions_bench -- --ignored --nocapture`

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use compat_tests::admin::create;
use compat_tests::exchange::Connection;
use compat_tests::measured::{Broker, Figures, print};
use compat_tests::transactional::Transactional;
use kafka_protocol::messages::{InitProducerIdRequest, ListTransactionsRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;

const LARGE: usize = 200;
const RECORDS: usize = 1_000;
const RECORD_BYTES: usize = 1_024;
const SMALL: usize = 3_000;
const IDS: usize = 100_000;
const ID_CLIENTS: usize = 8;
const LOAD_LIMIT: Duration = Duration::from_secs(600);

fn large(broker: &Broker, figures: &mut Figures) -> Result<()> {
    let mut producer = Transactional::open(&broker.address(), "large", 60_000)?;
    let value = "x".repeat(RECORD_BYTES - 12);
    let run = |producer: &mut Transactional, count: usize| -> Result<()> {
        for _ in 0..count {
            for _ in 0..4 {
                producer.send_many("t", 0, &value, RECORDS / 4)?;
            }
            producer.end(true)?;
        }
        Ok(())
    };
    run(&mut producer, LARGE / 4)?;
    let (began, cpu) = (Instant::now(), broker.cpu()?);
    run(&mut producer, LARGE)?;
    let bytes = (LARGE * RECORDS * RECORD_BYTES) as f64;
    let seconds = began.elapsed().as_secs_f64();
    figures.push((
        "1,000 records of 1 KiB a transaction, MB/s",
        bytes / 1e6 / seconds,
    ));
    figures.push((
        "the same, broker CPU, s/GB",
        (broker.cpu()? - cpu) / (bytes / 1e9),
    ));
    Ok(())
}

fn small(broker: &Broker, figures: &mut Figures) -> Result<()> {
    let mut producer = Transactional::open(&broker.address(), "small", 60_000)?;
    let mut run = |count: usize| -> Result<Vec<f64>> {
        (0..count)
            .map(|_| {
                producer.send("t", 0, "value")?;
                let began = Instant::now();
                producer.end(true)?;
                Ok(began.elapsed().as_secs_f64() * 1e3)
            })
            .collect()
    };
    run(SMALL / 3)?;
    let cpu = broker.cpu()?;
    let mut times = run(SMALL)?;
    figures.push((
        "a transaction of one record, broker CPU, µs",
        (broker.cpu()? - cpu) / SMALL as f64 * 1e6,
    ));
    times.sort_by(f64::total_cmp);
    figures.push(("its commit, p50, ms", times[SMALL / 2]));
    figures.push(("its commit, p99, ms", times[SMALL * 99 / 100]));
    Ok(())
}

fn id(index: usize) -> TransactionalId {
    TransactionalId(StrBytes::from_string(format!("idle-{index:06}")))
}

/// Number of transactional ids that the broker knows; 0 while it loads.
fn known(address: &str) -> Result<usize> {
    let answer = Connection::open(address)?.call(1, &ListTransactionsRequest::default())?;
    Ok(if answer.error_code == 0 {
        answer.transaction_states.len()
    } else {
        0
    })
}

fn idle(kafka: bool, scratch: &Path, figures: &mut Figures) -> Result<()> {
    let broker = Broker::start(kafka, scratch)?;
    let address = broker.address();
    // The first transaction creates the topics and waits until the coordinator has loaded.
    drop(Transactional::open(&address, "warm", 60_000)?);
    let memory = broker.memory()?;
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..ID_CLIENTS)
        .map(|_| {
            let (address, next) = (address.clone(), Arc::clone(&next));
            thread::spawn(move || -> Result<()> {
                let mut connection = Connection::open(&address)?;
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= IDS {
                        return Ok(());
                    }
                    let request = InitProducerIdRequest::default()
                        .with_transactional_id(Some(id(index)))
                        .with_transaction_timeout_ms(60_000);
                    // The partition may still be loading, or a block of producer ids may not have arrived yet.
                    while connection.call(4, &request)?.error_code != 0 {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client
            .join()
            .map_err(|_| anyhow::anyhow!("a client failed"))??;
    }
    let grown = (broker.memory()? - memory) / IDS as f64;
    figures.push(("memory per idle transactional id, bytes", grown));
    broker.stop()?;
    let broker = Broker::start(kafka, scratch)?;
    // The broker listens now; the work before that is part of its start time.
    let (began, address) = (Instant::now(), broker.address());
    while known(&address)? < IDS {
        ensure!(began.elapsed() < LOAD_LIMIT, "not reloaded");
        thread::sleep(Duration::from_millis(2));
    }
    figures.push((
        "100,000 transactional ids reloaded, from listening to listed, ms",
        began.elapsed().as_secs_f64() * 1e3,
    ));
    broker.stop()
}

fn measure(kafka: bool) -> Result<Figures> {
    let mut figures = Figures::new();
    let scratch = tempfile::tempdir()?;
    let broker = Broker::start(kafka, scratch.path())?;
    create(&mut Connection::open(&broker.address())?, &["t"], 1)?;
    large(&broker, &mut figures)?;
    small(&broker, &mut figures)?;
    broker.stop()?;
    let scratch = tempfile::tempdir()?;
    idle(kafka, scratch.path(), &mut figures)?;
    Ok(figures)
}

#[test]
#[ignore = "needs java and maven, and an idle machine"]
fn how_fast() -> Result<()> {
    let ours = measure(false)?;
    let theirs = measure(true)?;
    print(&theirs, &ours);
    Ok(())
}
