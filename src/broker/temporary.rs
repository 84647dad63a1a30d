//! A broker for a test: memory-backed where the machine has such a directory, on a free port, gone when dropped.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use super::boot::Options;
use super::{Broker, StartError};
use crate::config::broker::{BrokerConfig, standalone};
use crate::config::parse::Property;
use crate::host::chance::Chance;
use crate::host::disk::Disk;
use crate::log::error::DiskContext;
use crate::metadata::bootstrap::random_uuid;

/// Files here are kept in memory.
const MEMORY: &str = "/dev/shm";

/// See the module. Everything that a [`Broker`] can, this one can.
#[derive(Debug)]
pub struct TemporaryBroker {
    // Ends before its directory goes.
    broker: Broker,
    dir: TemporaryDirectory,
}

impl TemporaryBroker {
    /// Starts one; `settings` are Kafka's, as in `&[("num.partitions", "3")]`, over those of a node for tests.
    pub async fn start(settings: &[(&str, &str)]) -> Result<Self, StartError> {
        let dir = TemporaryDirectory::create()?;
        let options = Options {
            clamp_replication: true,
            ..Options::default()
        };
        Ok(Self {
            broker: Broker::start(config(&dir, settings)?, options).await?,
            dir,
        })
    }

    /// Stops it cleanly; its directory goes.
    pub async fn stop(self) {
        let Self { broker, dir } = self;
        broker.shutdown().await;
        drop(dir);
    }

    /// Stops it, and starts it in the same directory with other settings; the task of that name panics then.
    #[cfg(test)]
    pub(super) async fn restart(
        self,
        settings: &[(&str, &str)],
        panics: Option<&'static str>,
    ) -> Result<Self, StartError> {
        let Self { broker, dir } = self;
        broker.shutdown().await;
        let options = Options {
            clamp_replication: true,
            panics,
            ..Options::default()
        };
        // Connections of before hold the directory until they have ended.
        let broker = loop {
            match Broker::start(config(&dir, settings)?, options.clone()).await {
                Err(StartError::Storage(error))
                    if error.source.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    tokio::task::yield_now().await;
                }
                started => break started?,
            }
        };
        Ok(Self { broker, dir })
    }

    /// What clients call `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> = self.addresses().iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    /// Where it keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }
}

impl Deref for TemporaryBroker {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

fn config(dir: &TemporaryDirectory, settings: &[(&str, &str)]) -> Result<BrokerConfig, StartError> {
    let own = [
        ("listeners", "PLAINTEXT://127.0.0.1:0"),
        ("log.dirs", &*dir.0.to_string_lossy()),
        ("log.segment.delete.delay.ms", "0"),
    ];
    let properties: Vec<Property> = own
        .iter()
        .chain(settings)
        .map(|(key, value)| Property::given(key, value))
        .collect();
    let checked = standalone(&properties);
    let checked = checked.map_err(|faults| StartError::Settings(faults.join("; ")))?;
    Ok(checked.config)
}

/// A directory that goes when this value does, in memory where the machine keeps such files.
#[derive(Debug)]
pub struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    pub fn create() -> Result<Self, StartError> {
        let memory = Path::new(MEMORY);
        let name = format!("monedula-{}", random_uuid(&Chance::default())?);
        let path = memory.join(&name);
        let disk = Disk::default();
        if disk.is_dir(memory) && disk.create_dir(&path).is_ok() {
            return Ok(Self(path));
        }
        let path = std::env::temp_dir().join(name);
        disk.create_dir(&path).at("create", &path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(error) = Disk::default().remove_dir(&self.0) {
            tracing::debug!(dir = %self.0.display(), %error, "a temporary directory stays");
        }
    }
}
