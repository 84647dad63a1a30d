//! `start`: runs a node until a signal.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use tokio::signal::unix::{SignalKind, signal};

use crate::broker::Broker;
use crate::broker::boot::Options;
use crate::config::broker::{Checked, check, standalone};
use crate::config::parse::{Property, properties};

/// Threads' own memory; nothing here recurses deeply.
const STACK_SIZE: usize = 512 << 10;

/// Runs a node until a signal. `lenient`: replication factors above the number of brokers are cut down, as tests like it.
pub fn run(config: Option<&Path>, overrides: &[String], lenient: bool) -> ExitCode {
    let began = Instant::now();
    crate::telemetry::logging::start();
    let checked = match read(config, overrides) {
        Ok(checked) => checked,
        Err(faults) => {
            for fault in faults {
                eprintln!("monedula: {fault}");
            }
            return ExitCode::FAILURE;
        }
    };
    for note in &checked.notes {
        if note.warning {
            tracing::warn!("{}", note.text);
        } else {
            tracing::info!("{}", note.text);
        }
    }
    if config.is_none() {
        tracing::info!(
            "no settings file: listening on loopback addresses only; to serve a network, give a file with listeners"
        );
    }
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_SIZE)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("monedula: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(checked, began, lenient));
    // After a failure of the disks nobody waits for what may hang on them.
    runtime.shutdown_background();
    ended
}

async fn serve(checked: Checked, began: Instant, lenient: bool) -> ExitCode {
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("monedula: cannot wait for signals: {error}");
            return ExitCode::FAILURE;
        }
    };
    let node_id = checked.config.node_id;
    let broker = match Broker::start(
        checked.config,
        Options {
            clamp_replication: lenient,
            ..Options::default()
        },
    )
    .await
    {
        Ok(broker) => broker,
        Err(error) => {
            eprintln!("monedula: {error}");
            return ExitCode::FAILURE;
        }
    };
    for address in broker.addresses() {
        tracing::info!(%address, "listening");
    }
    // Wait strategies look for these, whichever version of Kafka they were written for.
    tracing::info!(
        "[BrokerLifecycleManager id={node_id}] The broker has been unfenced. Transitioning from RECOVERY to RUNNING."
    );
    tracing::info!("[KafkaServer id={node_id}] started");
    tracing::info!(
        "[KafkaRaftServer nodeId={node_id}] Kafka Server started ({} ms)",
        began.elapsed().as_millis()
    );
    // The one for Confluent's image with ZooKeeper is ZooKeeper's.
    tracing::info!("Creating new log file: none, there is no ZooKeeper");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
        _ = interrupt.recv() => tracing::info!("interrupted: shutting down"),
        why = broker.failed() => {
            eprintln!("monedula: halted: {why}");
            return ExitCode::FAILURE;
        }
    }
    broker.shutdown().await;
    ExitCode::SUCCESS
}

fn read(config: Option<&Path>, overrides: &[String]) -> Result<Checked, Vec<String>> {
    let mut faults = Vec::new();
    let mut given = Vec::new();
    for text in overrides {
        match text.split_once('=') {
            Some((key, value)) => {
                given.push(Property {
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                    line: 0,
                });
            }
            None => faults.push(format!("--override {text}: expected key=value")),
        }
    }
    let Some(path) = config else {
        return if faults.is_empty() {
            standalone(&given)
        } else {
            Err(faults)
        };
    };
    match fs::read_to_string(path) {
        Ok(text) => {
            let mut all = properties(&text);
            all.extend(given);
            let checked = check(&path.display().to_string(), &all);
            match checked {
                Ok(checked) if faults.is_empty() => Ok(checked),
                Ok(_) => Err(faults),
                Err(found) => {
                    faults.extend(found);
                    Err(faults)
                }
            }
        }
        Err(error) => {
            faults.push(format!("cannot read {}: {error}", path.display()));
            Err(faults)
        }
    }
}

/// Every segment in use holds a descriptor: take as many as the system allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}
