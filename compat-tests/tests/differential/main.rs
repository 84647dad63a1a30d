//! Every API at every version answers as Apache Kafka does, both valid and invalid requests.
//!
//! Each scene sends one request, in every version that both brokers offer, to a monedula node and to Apache Kafka in the same
//! state. The responses are compared field by field after ids, addresses, times and error messages have been masked.
//! `DIFFERENCES.md` lists the scenes whose responses differ, and why. Any other difference is a failure, and so is a listed one
//! that no longer occurs.

mod consumer_groups;
mod fetches;
mod files;
mod groups;
mod pair;
mod quotas;
mod records;
mod repeats;
mod security;
mod settings;
mod sweep;
mod synonyms;
mod topics;
mod transactions;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use pair::Pair;

const LISTED: &str = include_str!("../../DIFFERENCES.md");

/// Names of the scenes at the start of the list's items: "- `Api, scene`: why".
fn listed() -> BTreeSet<String> {
    LISTED
        .lines()
        .filter_map(|line| Some(line.strip_prefix("- `")?.split_once('`')?.0.to_owned()))
        // Items without a comma are about settings.
        .filter(|name| name.contains(", "))
        .collect()
}

#[test]
#[ignore = "needs java and maven"]
fn every_api_answers_as_apache_kafka_does() -> Result<()> {
    // Kafka's heartbeat interval, so that responses do not differ in it.
    let mut pair =
        Pair::start_with("monedula.group.consumer.unsettled.heartbeat.interval.ms=5000\n")?;
    pair.versions()?;
    pair.warm_up()?;
    topics::play(&mut pair)?;
    records::play(&mut pair)?;
    groups::play(&mut pair)?;
    consumer_groups::play(&mut pair)?;
    transactions::play(&mut pair)?;
    fetches::play(&mut pair)?;
    settings::play(&mut pair)?;
    security::play(&mut pair)?;
    sweep::play(&mut pair)?;
    repeats::play(&mut pair)?;

    let listed = listed();
    let seen: BTreeSet<String> = pair
        .differences
        .iter()
        .map(|one| one.scene.clone())
        .collect();
    for difference in &pair.differences {
        if !listed.contains(&difference.scene) {
            println!("{difference}");
        }
    }
    let unlisted: Vec<_> = seen.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&seen).collect();
    println!("{} scenes in {} versions", pair.scenes, pair.asked);
    ensure!(unlisted.is_empty(), "not in DIFFERENCES.md: {unlisted:#?}");
    ensure!(gone.is_empty(), "no longer different: {gone:#?}");
    Ok(())
}
