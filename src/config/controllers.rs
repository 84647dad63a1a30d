//! pure: settings of a broker that is not a controller for its connections to the controllers.

use std::collections::BTreeMap;

use super::broker::{BrokerSettings, CONTROLLER_NAMES, MAP, controller_names};
use super::listener::{Endpoint, SecurityProtocol};
use super::setting::list;
use crate::base::ids::BrokerId;

const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";
const VOTERS: &str = "controller.quorum.voters";
const LISTENERS: &str = "listeners";

/// Addresses of the controllers, and their listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controllers {
    /// Bootstrap servers as `host:port`; not empty.
    pub bootstrap: Vec<String>,
    /// Static voters with their addresses (`controller.quorum.voters`); empty if the voters are in the metadata log.
    pub voters: BTreeMap<BrokerId, String>,
    /// Listener of the controllers: the first of `controller.listener.names`, in upper case.
    pub listener: String,
    pub protocol: SecurityProtocol,
}

/// The setting that has a mistake, and the mistake.
type Fault = (&'static str, String);

impl Controllers {
    /// The settings for a node with `process.roles=broker`.
    ///
    /// Errors: every mistake, with Apache Kafka's message if it has one.
    pub fn of(settings: &BrokerSettings, node_id: BrokerId) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let names = controller_names(settings);
        let Some(listener) = names.first().cloned() else {
            let what = format!(
                "{CONTROLLER_NAMES} must contain at least one value appearing in the 'listeners' configuration of the controllers when running KRaft with just the broker role"
            );
            return Err(vec![(CONTROLLER_NAMES, what)]);
        };
        let own = list(settings.get(LISTENERS).unwrap_or_default());
        let mut own = own.filter_map(|text| Endpoint::parse(text).ok());
        if own.any(|endpoint| names.contains(&endpoint.name)) {
            let what = format!(
                "The {CONTROLLER_NAMES} config must not contain a value appearing in the 'listeners' configuration when running KRaft with just the broker role"
            );
            faults.push((CONTROLLER_NAMES, what));
        }
        let protocol = protocol(settings, &listener).unwrap_or_else(|what| {
            faults.push((MAP, what));
            SecurityProtocol::Plaintext
        });
        let mut bootstrap = Vec::new();
        for text in list(settings.get(BOOTSTRAP).unwrap_or_default()) {
            match checked_address(text) {
                Some(address) => bootstrap.push(address),
                None => faults.push((BOOTSTRAP, format!("{BOOTSTRAP}: {text} is not HOST:PORT"))),
            }
        }
        let mut voters = BTreeMap::new();
        for text in list(settings.get(VOTERS).unwrap_or_default()) {
            let voter = text.split_once('@').and_then(|(id, address)| {
                let id = id.trim().parse().ok().filter(|id: &BrokerId| *id >= 0)?;
                Some((id, checked_address(address)?))
            });
            match voter {
                Some((id, address)) => drop(voters.insert(id, address)),
                None => faults.push((VOTERS, format!("{VOTERS}: {text} is not ID@HOST:PORT"))),
            }
        }
        if voters.contains_key(&node_id) {
            let what = format!(
                "If process.roles contains just the 'broker' role, the node id {node_id} must not be included in the set of voters {VOTERS}={:?}",
                voters.keys().collect::<Vec<_>>()
            );
            faults.push((VOTERS, what));
        }
        if bootstrap.is_empty() {
            bootstrap.extend(voters.values().cloned());
        }
        if bootstrap.is_empty() && faults.is_empty() {
            let what = format!(
                "If using process.roles, either {BOOTSTRAP} must contain the set of bootstrap controllers or {VOTERS} must contain a parseable set of controllers."
            );
            faults.push((BOOTSTRAP, what));
        }
        match faults.is_empty() {
            true => Ok(Self {
                bootstrap,
                voters,
                listener,
                protocol,
            }),
            false => Err(faults),
        }
    }
}

/// Security protocol of the controllers' listener. If the map is not set, it is PLAINTEXT, as in Kafka.
fn protocol(settings: &BrokerSettings, listener: &str) -> Result<SecurityProtocol, String> {
    let pairs = list(settings.get(MAP).unwrap_or_default());
    let mut named = pairs.filter_map(|pair| pair.split_once(':'));
    match named.find(|(name, _)| name.trim().eq_ignore_ascii_case(listener)) {
        Some((_, protocol)) => SecurityProtocol::parse(protocol.trim())
            .ok_or_else(|| format!("{MAP}: {protocol} is no protocol")),
        None if settings.explicit(MAP).is_none() => Ok(SecurityProtocol::Plaintext),
        None => Err(format!(
            "{MAP}: Controller listener with name {listener} defined in {CONTROLLER_NAMES} not found in {MAP}."
        )),
    }
}

/// The text, if it is `host:port`.
fn checked_address(text: &str) -> Option<String> {
    let text = text.trim();
    let endpoint = Endpoint::parse(&format!("CONTROLLER://{text}")).ok()?;
    (!endpoint.is_wildcard() && endpoint.port > 0).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::parse::properties;
    use super::*;

    fn read(text: &str) -> Result<Controllers, String> {
        let text = format!("listeners=PLAINTEXT://:9092\n{text}");
        let given = properties(&text).into_iter();
        let settings = BrokerSettings::new(given.map(|one| (one.key, one.value)).collect());
        Controllers::of(&settings, 1).map_err(|faults| {
            let texts: Vec<String> = faults.into_iter().map(|(_, what)| what).collect();
            texts.join("\n")
        })
    }

    #[test]
    fn controllers_are_those_of_either_setting() {
        let names = "controller.listener.names=CTL,OTHER\n";
        let by_servers = read(&format!(
            "{names}controller.quorum.bootstrap.servers=a:9093, [::1]:9094\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CTL:SSL\n"
        ));
        let by_servers = by_servers.unwrap();
        assert_eq!(by_servers.bootstrap, ["a:9093", "[::1]:9094"]);
        assert!(by_servers.voters.is_empty());
        assert_eq!(by_servers.listener, "CTL");
        assert_eq!(by_servers.protocol, SecurityProtocol::Ssl);
        let by_voters = read(&format!("{names}controller.quorum.voters=7@a:1,8@b:2\n")).unwrap();
        assert_eq!(by_voters.bootstrap, ["a:1", "b:2"]);
        assert_eq!(by_voters.voters[&8], "b:2");
        assert_eq!(by_voters.protocol, SecurityProtocol::Plaintext);
    }

    #[test]
    fn mistakes_are_told_as_apache_kafka_tells_them() {
        for (text, expected) in [
            (
                "",
                "controller.listener.names must contain at least one value",
            ),
            (
                "controller.listener.names=C\n",
                "either controller.quorum.bootstrap.servers must",
            ),
            (
                "controller.listener.names=PLAINTEXT\ncontroller.quorum.voters=2@a:1\n",
                "must not contain a value appearing in the 'listeners'",
            ),
            (
                "controller.listener.names=C\ncontroller.quorum.voters=1@a:1\n",
                "the node id 1 must not be included",
            ),
            (
                "controller.listener.names=C\ncontroller.quorum.voters=a:1\n",
                "a:1 is not ID@HOST:PORT",
            ),
            (
                "controller.listener.names=C\ncontroller.quorum.bootstrap.servers=a,:9093\n",
                "a is not HOST:PORT\ncontroller.quorum.bootstrap.servers: :9093 is not HOST:PORT",
            ),
            (
                "controller.listener.names=C\ncontroller.quorum.voters=2@a:1\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT\n",
                "Controller listener with name C defined in",
            ),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }
}
