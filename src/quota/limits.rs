//! pure: the quotas of an image by who they are for, and which one counts for a client. Kafka's `DefaultQuotaCallback`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::buckets::Key;
use crate::config::client_quotas::{
    CLIENT_ID, CONNECTION_CREATION_RATE, CONSUMER_BYTE_RATE, CONTROLLER_MUTATION_RATE, IP,
    PRODUCER_BYTE_RATE, REQUEST_PERCENTAGE, USER,
};
use crate::metadata::image::Image;

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `producer_byte_rate`: bytes of Produce requests per second.
    Produce,
    /// `consumer_byte_rate`: bytes of answers to Fetch requests per second.
    Fetch,
    /// `request_percentage`: time of threads, in percent of one.
    Request,
    /// `controller_mutation_rate`: partitions created and deleted per second.
    Mutation,
}

pub const KINDS: [Kind; 4] = [Kind::Produce, Kind::Fetch, Kind::Request, Kind::Mutation];

impl Kind {
    pub fn key(self) -> &'static str {
        match self {
            Self::Produce => PRODUCER_BYTE_RATE,
            Self::Fetch => CONSUMER_BYTE_RATE,
            Self::Request => REQUEST_PERCENTAGE,
            Self::Mutation => CONTROLLER_MUTATION_RATE,
        }
    }
}

/// A client, as quotas know it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub user: &'a str,
    /// Empty if the client has given none.
    pub client: &'a str,
}

/// Quotas of one user, or of those of whom only the client id is known.
#[derive(Clone, Debug, Default)]
struct OfUser {
    own: Option<f64>,
    default_client: Option<f64>,
    clients: HashMap<Arc<str>, f64>,
}

impl OfUser {
    fn of_client(&self, client: &str) -> Option<f64> {
        // Kafka holds a client without an id only to quotas of users.
        if client.is_empty() {
            return None;
        }
        self.clients.get(client).copied().or(self.default_client)
    }
}

/// Quotas of one kind.
#[derive(Clone, Debug, Default)]
struct Levels {
    users: HashMap<Arc<str>, OfUser>,
    default_user: OfUser,
    /// Quotas of client ids, whoever the user is. `own` is not used.
    any_user: OfUser,
}

impl Levels {
    fn is_empty(&self) -> bool {
        let nothing =
            |of: &OfUser| of.own.is_none() && of.default_client.is_none() && of.clients.is_empty();
        self.users.is_empty() && nothing(&self.default_user) && nothing(&self.any_user)
    }

    fn find<'a>(&self, who: Who<'a>) -> Option<(f64, Key<&'a str>)> {
        let (user, client) = (Some(who.user), Some(who.client));
        let named = self.users.get(who.user);
        for of in named.into_iter().chain([&self.default_user]) {
            if let Some(quota) = of.of_client(who.client) {
                return Some((quota, Key { user, client }));
            }
            if let Some(quota) = of.own {
                return Some((quota, Key { user, client: None }));
            }
        }
        let quota = self.any_user.of_client(who.client)?;
        Some((quota, Key { user: None, client }))
    }
}

/// All quotas of an image.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    levels: [Levels; 4],
    addresses: HashMap<IpAddr, f64>,
    default_address: Option<f64>,
}

impl Limits {
    pub fn of(image: &Image) -> Self {
        let mut limits = Self::default();
        for ((entity, key), bits) in &image.quotas {
            let quota = f64::from_bits(*bits);
            // No request can set such a value, but a log may have it. A quota of nothing would mean to wait forever.
            if !(quota > 0.0 && quota.is_finite()) {
                continue;
            }
            let name = |kind: &str| {
                let part = entity.iter().find(|(of, _)| &**of == kind);
                part.map(|(_, name)| name.clone())
            };
            let (user, client) = (name(USER), name(CLIENT_ID));
            if let Some(address) = name(IP) {
                if &**key == CONNECTION_CREATION_RATE {
                    limits.set_address(address.as_deref(), quota);
                }
                continue;
            }
            let Some(kind) = KINDS.into_iter().find(|kind| kind.key() == &**key) else {
                continue;
            };
            let levels = &mut limits.levels[kind as usize];
            let of = match user {
                Some(Some(user)) => levels.users.entry(user).or_default(),
                Some(None) => &mut levels.default_user,
                None if client.is_some() => &mut levels.any_user,
                None => continue,
            };
            match client {
                Some(Some(client)) => drop(of.clients.insert(client, quota)),
                Some(None) => of.default_client = Some(quota),
                None => of.own = Some(quota),
            }
        }
        limits
    }

    fn set_address(&mut self, address: Option<&str>, quota: f64) {
        match address.map(str::parse::<IpAddr>) {
            None => self.default_address = Some(quota),
            Some(Ok(address)) => drop(self.addresses.insert(address.to_canonical(), quota)),
            // Kafka writes addresses only, whatever name a request has.
            Some(Err(_)) => {}
        }
    }

    /// Whether any client has a quota of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        !self.levels[kind as usize].is_empty()
    }

    /// The quota that counts for a client, and the bucket that it is measured by.
    pub fn find<'a>(&self, kind: Kind, who: Who<'a>) -> Option<(f64, Key<&'a str>)> {
        self.levels[kind as usize].find(who)
    }

    pub fn has_addresses(&self) -> bool {
        self.default_address.is_some() || !self.addresses.is_empty()
    }

    /// Connections per second from an address.
    pub fn of_address(&self, address: IpAddr) -> Option<f64> {
        let own = self.addresses.get(&address.to_canonical()).copied();
        own.or(self.default_address)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::metadata::image::Delta;
    use crate::metadata::record::schema::{ClientQuotaEntityData, ClientQuotaRecord};

    /// An image with quotas from lines of text: `user=a client-id producer_byte_rate=5`, where a kind without a name is the
    /// default.
    pub fn image(text: &str) -> Image {
        let mut image = Image::empty();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            let (key, value) = words.pop().unwrap().split_once('=').unwrap();
            let entity = words.iter().map(|word| {
                let (kind, name) = match word.split_once('=') {
                    Some((kind, name)) => (kind, Some(name)),
                    None => (*word, None),
                };
                ClientQuotaEntityData {
                    entity_type: kind.into(),
                    entity_name: name.map(Into::into),
                }
            });
            let record = ClientQuotaRecord {
                entity: entity.collect(),
                key: key.into(),
                value: value.parse().unwrap(),
                remove: false,
            };
            image.apply(&record.into(), image.offset + 1, &mut Delta::default());
        }
        image
    }

    const ALL: &str = "
        user=u client-id=c producer_byte_rate=1
        user=u client-id producer_byte_rate=2
        user=u producer_byte_rate=3
        user client-id=c producer_byte_rate=4
        user client-id producer_byte_rate=5
        user producer_byte_rate=6
        client-id=c producer_byte_rate=7
        client-id producer_byte_rate=8
    ";

    fn found(text: &str, user: &str, client: &str) -> Option<(f64, String)> {
        let limits = Limits::of(&image(text));
        let (quota, key) = limits.find(Kind::Produce, Who { user, client })?;
        let shown = |part: Option<&str>| part.unwrap_or("-").to_owned();
        Some((quota, format!("{} {}", shown(key.user), shown(key.client))))
    }

    #[test]
    fn of_the_eight_levels_the_first_that_is_set_counts() {
        let lines: Vec<&str> = ALL.lines().filter(|line| !line.trim().is_empty()).collect();
        for from in 0..lines.len() {
            let rest = lines[from..].join("\n");
            let expected = match from {
                0 | 1 | 3 | 4 => "u c",
                2 | 5 => "u -",
                _ => "- c",
            };
            let expected = Some((from as f64 + 1.0, expected.to_owned()));
            assert_eq!(found(&rest, "u", "c"), expected, "{rest}");
        }
        assert_eq!(found("", "u", "c"), None);
        assert_eq!(found(ALL, "u", "d").unwrap().0, 2.0);
        assert_eq!(found(ALL, "v", "c").unwrap().0, 4.0);
        assert_eq!(found(ALL, "v", "d").unwrap().0, 5.0);
    }

    /// Apache Kafka 4.4.0 does not hold a client with an empty id, or without one, to a default quota of client ids.
    #[test]
    fn a_client_without_an_id_has_only_quotas_of_its_user() {
        assert_eq!(found("client-id producer_byte_rate=8", "u", ""), None);
        assert_eq!(found(ALL, "u", ""), Some((3.0, "u -".to_owned())));
        assert_eq!(found(ALL, "v", ""), Some((6.0, "v -".to_owned())));
    }

    #[test]
    fn kinds_and_addresses_are_kept_apart() {
        let limits = Limits::of(&image(
            "user=u request_percentage=1\nip=10.0.0.7 connection_creation_rate=5\nip connection_creation_rate=2\n\
             client-id=c producer_byte_rate=-1\nclient-id=c connection_creation_rate=3",
        ));
        let set: Vec<Kind> = KINDS.into_iter().filter(|kind| limits.has(*kind)).collect();
        assert_eq!(set, [Kind::Request]);
        assert!(limits.has_addresses());
        let of = |text: &str| limits.of_address(text.parse().unwrap());
        assert_eq!(of("::ffff:10.0.0.7"), Some(5.0));
        assert_eq!(of("10.0.0.8"), Some(2.0));
        assert!(!Limits::default().has_addresses());
    }
}
