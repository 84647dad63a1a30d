//! A broker of either kind, whose processor time and memory are measured.

use std::path::Path;

use anyhow::{Context, Result};

use crate::apache::Apache;
use crate::node::Node;
use crate::process;

/// A running broker: Apache Kafka or monedula.
#[derive(Debug)]
pub enum Broker {
    Kafka(Apache),
    Monedula(Node),
}

impl Broker {
    /// Starts Apache Kafka or monedula on the data in `scratch`.
    pub fn start(kafka: bool, scratch: &Path) -> Result<Self> {
        let data = scratch.join("data");
        Ok(if kafka {
            Self::Kafka(Apache::start(scratch, &data)?)
        } else {
            Self::Monedula(Node::on(&data)?)
        })
    }

    pub fn address(&self) -> String {
        match self {
            Self::Kafka(broker) => broker.address(),
            Self::Monedula(node) => node.address(),
        }
    }

    fn pid(&self) -> Result<u32> {
        match self {
            Self::Kafka(broker) => Ok(broker.pid()),
            Self::Monedula(node) => node.pid().context("the node is not running"),
        }
    }

    /// Processor time so far, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        process::cpu(self.pid()?)
    }

    /// Resident memory, in bytes.
    pub fn memory(&self) -> Result<f64> {
        Ok(process::resident(self.pid()?)? as f64)
    }

    pub fn stop(self) -> Result<()> {
        match self {
            Self::Kafka(broker) => broker.stop(),
            Self::Monedula(mut node) => node.stop(),
        }
    }
}

/// Measurements of one broker: their names and values.
pub type Figures = Vec<(&'static str, f64)>;

/// Prints the measurements of both brokers as a table.
pub fn print(kafka: &Figures, monedula: &Figures) {
    println!("| | Apache Kafka | monedula |\n|---|---|---|");
    for ((what, their), (_, our)) in kafka.iter().zip(monedula) {
        println!("| {what} | {their:.2} | {our:.2} |");
    }
}
