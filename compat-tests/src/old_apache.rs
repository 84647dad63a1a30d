//! A version of Apache Kafka that needs ZooKeeper, with its ZooKeeper, from Maven artifacts.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::apache::{answers, hurry, jars_of};
use crate::node::{free_port, listens};
use crate::programs::eventually;

const START_LIMIT: Duration = Duration::from_secs(240);

/// A broker and its ZooKeeper. Killed when dropped.
#[derive(Debug)]
pub struct OldApache {
    zookeeper: Child,
    kafka: Option<Child>,
    port: u16,
}

impl OldApache {
    /// Starts both. `home` holds the settings and ZooKeeper's data, its folder `data` the broker's.
    pub fn start(version: &str, home: &Path, further: &str) -> Result<Self> {
        let (port, zookeeper_port) = (free_port()?, free_port()?);
        fs::create_dir_all(home)?;
        let file = home.join("zookeeper.properties");
        let text = format!(
            "dataDir={}\nclientPort={zookeeper_port}\nclientPortAddress=127.0.0.1\ntickTime=500\nadmin.enableServer=false\n",
            home.join("zookeeper").display()
        );
        fs::write(&file, text)?;
        let zookeeper = java(
            version,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            &file,
        )?;
        let mut this = Self {
            zookeeper,
            kafka: None,
            port,
        };
        ensure!(
            eventually(START_LIMIT, || listens(zookeeper_port)),
            "ZooKeeper does not listen"
        );
        let file = home.join("server.properties");
        let text = format!(
            "broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={}\n\
             zookeeper.connect=127.0.0.1:{zookeeper_port}\noffsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\nzookeeper.session.timeout.ms=5000\n{further}\n",
            home.join("data").display()
        );
        fs::write(&file, text)?;
        let serves = eventually(START_LIMIT, || {
            // A broker that was killed stays registered until its session ends. Until then a new one exits and is started
            // again.
            let kafka = this.kafka.as_mut().map(Child::try_wait);
            if !matches!(kafka, Some(Ok(None))) {
                this.kafka = java(version, "kafka.Kafka", &file).ok();
            }
            answers(port)
        });
        ensure!(serves, "Apache Kafka {version} does not serve");
        Ok(this)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Stops the broker cleanly, then ZooKeeper.
    pub fn stop(mut self) -> Result<()> {
        let mut kafka = self.kafka.take().context("the broker is not running")?;
        Command::new("kill").arg(kafka.id().to_string()).status()?;
        let mut ended = false;
        eventually(START_LIMIT, || {
            ended = kafka.try_wait().is_ok_and(|status| status.is_some());
            ended
        });
        if !ended {
            kafka.kill()?;
        }
        kafka.wait()?;
        ensure!(ended, "Apache Kafka did not stop");
        Ok(())
    }

    /// Kills both with SIGKILL.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for OldApache {
    fn drop(&mut self) {
        for child in self
            .kafka
            .iter_mut()
            .chain(std::iter::once(&mut self.zookeeper))
        {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn java(version: &str, class: &str, settings: &Path) -> Result<Child> {
    Command::new("java")
        .args(hurry())
        .args([
            "-Xmx384m",
            "-cp",
            &format!("{}/*", jars_of(version)?.display()),
            class,
        ])
        .arg(settings)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {class}"))
}
