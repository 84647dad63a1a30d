//! Broker for a test: on a free port, with files in memory if the machine has a directory for that. Its files are removed when
//! it is dropped.

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

/// Directory whose files are kept in memory.
const MEMORY: &str = "/dev/shm";

/// A broker that removes its files when it is dropped. It dereferences to [`Broker`].
#[derive(Debug)]
pub struct TemporaryBroker {
    // Dropped before its directory.
    broker: Broker,
    dir: TemporaryDirectory,
}

impl TemporaryBroker {
    /// Starts a broker. `settings` are Kafka's, as in `&[("num.partitions", "3")]`. They override the defaults for tests.
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

    /// Stops the broker cleanly and removes its files.
    pub async fn stop(self) {
        let Self { broker, dir } = self;
        broker.shutdown().await;
        drop(dir);
    }

    /// Stops the broker and starts it again on the same directory with other settings. The task named by `panics` panics then.
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
        // Old connections keep the directory locked until they have ended.
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

    /// Value for `bootstrap.servers` of clients.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> = self.addresses().iter().map(ToString::to_string).collect();
        addresses.join(",")
    }

    /// Directory of the broker's files.
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

/// Directory that is removed when the value is dropped. It is in memory if the machine has a directory for that.
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
