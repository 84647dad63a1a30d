//! Checks that a broker is available: `ready`, `connect`, and `cub kafka-ready` of Confluent's images.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::Instant;

use super::client::{Cluster, Connection, Failure, WITHIN, run as run_work};
use super::security;
use crate::cli::container;
use crate::peer::connection::Access;

const PAUSE: Duration = Duration::from_millis(200);

/// Wait until a broker answers
#[derive(Args, Debug)]
#[command(
    long_about = "Wait until a broker answers. Exit status: 0 once a broker answers, 1 if no broker answers in time.",
    after_help = "Examples:
  monedula ready
  monedula ready --bootstrap-server localhost:9092 --timeout 60"
)]
#[group(skip)]
pub struct Ready {
    #[command(flatten)]
    connection: Connection,
    /// How long to wait; 0 asks once
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// The same in milliseconds
    #[arg(long, value_name = "MS", hide = true, conflicts_with = "timeout")]
    timeout_ms: Option<u64>,
}

impl Ready {
    pub fn run(&self) -> ExitCode {
        let within = self
            .timeout_ms
            .map_or_else(|| Duration::from_secs(self.timeout), Duration::from_millis);
        run_work(async {
            let access = self.connection.access()?;
            let addresses = match &self.connection.bootstrap_server {
                Some(address) => address.clone(),
                None => container::own_addresses().join(","),
            };
            let deadline = Instant::now() + within;
            loop {
                let Err(Failure(fault)) = Cluster::at(&addresses, &access, Duration::ZERO).await
                else {
                    return Ok(());
                };
                if Instant::now() + PAUSE > deadline {
                    return Err(fault.into());
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    }
}

/// Succeed if somebody listens at an address: what the image's `nc -z` is
#[derive(Args, Debug)]
#[group(skip)]
pub struct Connect {
    host: String,
    port: u16,
    seconds: f32,
}

impl Connect {
    pub fn run(&self) -> ExitCode {
        let within = Duration::try_from_secs_f32(self.seconds.max(0.1)).unwrap_or(WITHIN);
        let open = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .into_iter()
            .flatten()
            .any(|address| TcpStream::connect_timeout(&address, within).is_ok());
        if open {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Wait for brokers as Confluent's images do: kafka-ready BROKERS SECONDS
#[derive(Args, Debug)]
#[group(skip)]
pub struct Cub {
    #[command(subcommand)]
    action: CubAction,
}

#[derive(Debug, Subcommand)]
enum CubAction {
    /// Succeed once so many brokers are there
    KafkaReady(KafkaReady),
    /// Scripts of the ZooKeeper era wait for it first; nothing needs it
    ZkReady {
        #[arg(num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
        ignored: Vec<String>,
    },
}

#[derive(Args, Debug)]
#[group(skip)]
struct KafkaReady {
    /// How many brokers
    #[arg(default_value_t = 1)]
    brokers: usize,
    /// How long to wait
    #[arg(default_value_t = WITHIN.as_secs())]
    seconds: u64,
    #[arg(short = 'b', long = "bootstrap_broker_list")]
    servers: Option<String>,
    #[arg(short = 'c', long)]
    config: Option<PathBuf>,
    #[arg(short = 's', long = "security_protocol")]
    security_protocol: Option<String>,
    #[arg(long)]
    secure: bool,
}

impl Cub {
    pub fn run(&self) -> ExitCode {
        let CubAction::KafkaReady(wanted) = &self.action else {
            return ExitCode::SUCCESS;
        };
        let within = Duration::from_secs(wanted.seconds);
        run_work(async {
            let access = match &wanted.config {
                Some(path) => security::access(path)?,
                None => Access::default(),
            };
            let servers = wanted
                .servers
                .clone()
                .unwrap_or_else(|| container::own_addresses().join(","));
            let asking = async {
                loop {
                    if let Ok(cluster) = Cluster::at(&servers, &access, Duration::ZERO).await
                        && let Ok(found) = cluster.metadata(Some(&[])).await
                        && found.brokers.len() >= wanted.brokers
                    {
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            let found = tokio::time::timeout(within, asking).await;
            found.map_err(|_| {
                Failure(format!(
                    "not {} brokers at {servers} within {} s",
                    wanted.brokers, wanted.seconds
                ))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Alone {
        #[command(flatten)]
        wanted: KafkaReady,
    }

    #[test]
    fn confluents_words_are_understood() {
        let check = |text: &str, expected: Option<(Option<&str>, usize, u64)>| {
            let parsed = Alone::try_parse_from(text.split_whitespace()).ok();
            let found = parsed.as_ref().map(|Alone { wanted }| {
                (wanted.servers.as_deref(), wanted.brokers, wanted.seconds)
            });
            assert_eq!(found, expected, "{text}");
        };
        check("-b kafka:9092 1 20", Some((Some("kafka:9092"), 1, 20)));
        check("1 60 -b a:1,b:2", Some((Some("a:1,b:2"), 1, 60)));
        check("2 30", Some((None, 2, 30)));
        check("many 30", None);
    }
}
