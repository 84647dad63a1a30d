//! rdkafka and rskafka: LIBRARY COMMAND ARGUMENT…; the commands are explained in src/client.rs of compat-tests.

mod with_rdkafka;
mod with_rskafka;

use std::error::Error;
use std::future::Future;
use std::time::Duration;

pub type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

pub const LIMIT: Duration = Duration::from_secs(60);
pub const TIME: i64 = 1_500_000_000_123;

#[tokio::main]
async fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [library, "version"] => println!("{}", version(library)),
        ["rdkafka", "features", address] => with_rdkafka::features(address).await,
        ["rdkafka", "member", address, topic, group] => with_rdkafka::member(address, topic, group)?,
        ["rskafka", "features", address] => with_rskafka::features(address).await,
        _ => return Err(format!("{words:?}").into()),
    }
    Ok(())
}

/// The version that Cargo.lock names.
fn version(library: &str) -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{library}\"\n")).unwrap_or_default();
    rest.split('"').nth(1).unwrap_or_default()
}

pub async fn step(feature: &str, work: impl Future<Output = Result<&str>>) {
    match work.await {
        Ok(note) => println!("cell {feature} pass {note}"),
        Err(error) => println!("cell {feature} fail {}", error.to_string().replace('\n', " ")),
    }
}

pub fn same<T: PartialEq + std::fmt::Debug>(wanted: &T, seen: &T) -> Result {
    if wanted == seen { Ok(()) } else { Err(format!("expected {wanted:?}, got {seen:?}").into()) }
}

pub fn value(n: usize) -> String {
    format!("value of record {n}")
}
