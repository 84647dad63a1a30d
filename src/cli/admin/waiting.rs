//! Asking whether a broker is there: `ready`, `connect`, and `cub kafka-ready` of Confluent's images.

use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use super::client::{Cluster, Failure, WITHIN, run as run_work};
use crate::cli::container;
use crate::cli::options::Takes::{Nothing, Value};
use crate::cli::options::{Takes, parse};
use crate::peer::channel::{Channel, Identity};

const PAUSE: Duration = Duration::from_millis(200);

/// `ready [--bootstrap-server HOST:PORT] [--timeout-ms N]`: success once a broker answers.
pub(super) fn ready(arguments: &[String]) -> ExitCode {
    const OPTIONS: &[(&str, Takes)] = &[("bootstrap-server", Value), ("timeout-ms", Value)];
    run_work(async {
        let options = parse(arguments.iter().cloned(), OPTIONS)?;
        let within = Duration::from_millis(options.number("timeout-ms")?.unwrap_or(3000));
        let addresses = match options.value("bootstrap-server") {
            Some(address) => vec![address.to_owned()],
            None => container::own_addresses(),
        };
        let mut last = String::from("no listener is known");
        for address in addresses {
            let channel = Channel::new(address, Identity::new("ready"));
            match channel.versions(within).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last.into())
    })
}

/// `connect HOST PORT SECONDS`: success if somebody listens there. What the image's `nc -z` is.
pub(super) fn connect(arguments: &[String]) -> ExitCode {
    let [host, port, seconds] = arguments else {
        eprintln!("usage: monedula connect HOST PORT SECONDS");
        return ExitCode::FAILURE;
    };
    let (Ok(port), Ok(seconds)) = (port.parse::<u16>(), seconds.parse::<f32>()) else {
        eprintln!("{port} {seconds}: a port and a number of seconds were expected");
        return ExitCode::FAILURE;
    };
    let within = Duration::try_from_secs_f32(seconds.max(0.1)).unwrap_or(WITHIN);
    let open = (host.as_str(), port)
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

/// What `cub` and `ub` are asked for.
#[derive(Debug, PartialEq)]
struct Wanted {
    servers: Option<String>,
    brokers: usize,
    within: Duration,
}

/// `kafka-ready [-b HOST:PORT,…] [-c FILE] BROKERS SECONDS`: success once so many brokers are there.
pub(super) fn cub(arguments: &[String]) -> ExitCode {
    run_work(async {
        let wanted = match arguments.split_first() {
            Some((command, rest)) if command == "kafka-ready" => wanted(rest)?,
            // Scripts of the ZooKeeper era wait for it first; nothing needs it.
            Some((command, _)) if command == "zk-ready" => return Ok(()),
            _ => return Err("only kafka-ready and zk-ready are here".into()),
        };
        let servers = wanted
            .servers
            .unwrap_or_else(|| container::own_addresses().join(","));
        let deadline = Instant::now() + wanted.within;
        let asking = async {
            loop {
                if let Ok(cluster) = Cluster::at(&servers).await
                    && let Ok(found) = cluster.metadata(Some(&[])).await
                    && found.brokers.len() >= wanted.brokers
                {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let found = tokio::time::timeout_at(deadline, asking).await;
        found.map_err(|_| {
            Failure(format!(
                "not {} brokers at {servers} within {} s",
                wanted.brokers,
                wanted.within.as_secs()
            ))
        })
    })
}

fn wanted(arguments: &[String]) -> Result<Wanted, Failure> {
    const OPTIONS: &[(&str, Takes)] = &[
        ("b", Value),
        ("bootstrap_broker_list", Value),
        ("c", Value),
        ("config", Value),
        ("s", Value),
        ("security_protocol", Value),
        ("secure", Nothing),
    ];
    let options = parse(arguments.iter().cloned(), OPTIONS)?;
    let servers = options
        .value("b")
        .or_else(|| options.value("bootstrap_broker_list"));
    let mut numbers = options.words.iter().map(|word| word.parse::<u64>().ok());
    let brokers = match numbers.next() {
        None => 1,
        Some(number) => number.ok_or("the number of brokers is none")?,
    };
    let seconds = match numbers.next() {
        None => WITHIN.as_secs(),
        Some(number) => number.ok_or("the number of seconds is none")?,
    };
    Ok(Wanted {
        servers: servers.map(str::to_owned),
        brokers: brokers as usize,
        within: Duration::from_secs(seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confluents_words_are_understood() {
        let check = |text: &str, expected: Option<(Option<&str>, usize, u64)>| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            let expected = expected.map(|(servers, brokers, seconds)| Wanted {
                servers: servers.map(str::to_owned),
                brokers,
                within: Duration::from_secs(seconds),
            });
            assert_eq!(wanted(&words).ok(), expected, "{text}");
        };
        check("-b kafka:9092 1 20", Some((Some("kafka:9092"), 1, 20)));
        check("1 60 -b a:1,b:2", Some((Some("a:1,b:2"), 1, 60)));
        check("2 30", Some((None, 2, 30)));
        check("many 30", None);
    }
}
