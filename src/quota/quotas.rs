//! Quotas of the clients of a node, as requests and connections are held to them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::buckets::{Buckets, Key};
use super::limits::{KINDS, Kind, Limits, Who};
use super::rate::{Measure as _, Rate, Tokens, Windows};
use crate::config::broker::BrokerSettings;
use crate::host::clock::Clock;
use crate::metadata::image::{Delta, Image};
use crate::metadata::loader::Publisher;

/// Upper bound on the addresses whose connections are counted. An address takes some 100 bytes.
const ADDRESSES_MAX: usize = 20_000;

/// Quotas of a node's clients, and what the clients have caused. Changes of the quotas apply at once.
#[derive(Debug)]
pub struct Quotas {
    /// Whether there is any quota of users or client ids.
    set: AtomicBool,
    limits: ArcSwap<Limits>,
    /// By kind: Produce, Fetch, Request.
    rates: [Mutex<Buckets<Rate>>; 3],
    mutations: Mutex<Buckets<Tokens>>,
    addresses: Mutex<HashMap<IpAddr, Rate>>,
    windows: Windows,
    clock: Clock,
    started: Instant,
}

/// State of a bucket, for metrics.
#[derive(Clone, Debug)]
pub struct Figure {
    pub kind: Kind,
    pub key: Key<Arc<str>>,
    /// Amount per second; for [`Kind::Mutation`], tokens that are left.
    pub rate: f64,
    /// The last time for which the client had to wait.
    pub throttle_ms: i64,
}

impl Quotas {
    pub fn new(settings: &BrokerSettings, clock: &Clock, image: &Image) -> Self {
        let windows = |prefix: &str| {
            Windows::new(
                settings.int(&format!("{prefix}quota.window.num")),
                settings.int(&format!("{prefix}quota.window.size.seconds")),
            )
        };
        let of_clients = windows("");
        let quotas = Self {
            set: AtomicBool::new(false),
            limits: ArcSwap::default(),
            rates: std::array::from_fn(|_| Mutex::new(Buckets::new(of_clients))),
            mutations: Mutex::new(Buckets::new(windows("controller."))),
            addresses: Mutex::default(),
            windows: of_clients,
            started: clock.steady(),
            clock: clock.clone(),
        };
        quotas.follow(image);
        quotas
    }

    fn follow(&self, image: &Image) {
        let limits = Limits::of(image);
        let set = KINDS.into_iter().any(|kind| limits.has(kind));
        self.limits.store(Arc::new(limits));
        self.set.store(set, Ordering::Release);
    }

    /// Whether there is any quota of users or client ids.
    pub fn are_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Whether there is any quota of this kind.
    pub fn has(&self, kind: Kind) -> bool {
        self.are_set() && self.limits.load().has(kind)
    }

    /// Adds to what a client has caused. Gives the time for which it must wait, in milliseconds; 0 if it is within its quota.
    pub fn charge(&self, kind: Kind, who: Who<'_>, amount: f64) -> i64 {
        let limits = self.limits.load();
        let Some((quota, key)) = limits.find(kind, who) else {
            return 0;
        };
        let now = self.now();
        let Some(buckets) = self.rates.get(kind as usize) else {
            return 0;
        };
        let throttle = buckets.lock().with(key, now, |rate, windows| {
            rate.record(amount, now, windows);
            rate.throttle_ms(quota, now, windows)
        });
        match kind {
            // As in Kafka, the time of threads is never punished with more than one window.
            Kind::Request => throttle.min(self.windows.size_ms),
            _ => throttle,
        }
    }

    /// Takes back what was charged, as the client has not got it.
    pub fn refund(&self, kind: Kind, who: Who<'_>, amount: f64) {
        let limits = self.limits.load();
        let Some((_, key)) = limits.find(kind, who) else {
            return;
        };
        let now = self.now();
        if let Some(buckets) = self.rates.get(kind as usize) {
            buckets.lock().with(key, now, |rate, windows| {
                rate.record(-amount, now, windows);
                0
            });
        }
    }

    /// The most that one answer to a Fetch may have, in bytes; `None` without a quota.
    pub fn fetch_bytes_max(&self, who: Who<'_>) -> Option<usize> {
        let limits = self.limits.load();
        let (quota, _) = limits.find(Kind::Fetch, who)?;
        Some((quota * self.windows.burst_seconds()) as usize)
    }

    /// Takes tokens for partitions that are created or deleted. Gives the time for which the client must wait, in
    /// milliseconds. With `strict`, nothing is taken if the client has to wait already; otherwise all is taken in any case.
    pub fn take_partitions(&self, who: Who<'_>, partitions: f64, strict: bool) -> i64 {
        let limits = self.limits.load();
        let Some((quota, key)) = limits.find(Kind::Mutation, who) else {
            return 0;
        };
        let now = self.now();
        self.mutations.lock().with(key, now, |tokens, windows| {
            if strict {
                let throttle = tokens.throttle_ms(quota, now, windows);
                if throttle == 0 {
                    tokens.take(partitions, quota, now, windows);
                }
                return throttle;
            }
            tokens.take(partitions, quota, now, windows);
            tokens.throttle_ms(quota, now, windows)
        })
    }

    /// Gives back tokens of partitions that were not created or deleted after all.
    pub fn give_back_partitions(&self, who: Who<'_>, partitions: f64) {
        self.take_partitions(who, -partitions, false);
    }

    /// Counts a connection from an address. Gives the time after which it is to be closed, if the address makes too many.
    pub fn connect(&self, address: IpAddr) -> Option<Duration> {
        let limits = self.limits.load();
        if !limits.has_addresses() {
            return None;
        }
        let quota = limits.of_address(address)?;
        let (now, windows) = (self.now(), self.windows);
        let mut addresses = self.addresses.lock();
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, rate| !rate.is_forgotten(now, windows));
            if addresses.len() >= ADDRESSES_MAX {
                // So many addresses within one window are an attack. Who is forgotten may connect once more.
                addresses.clear();
            }
        }
        let rate = addresses.entry(address.to_canonical()).or_default();
        rate.record(1.0, now, windows);
        let throttle = rate.throttle_ms(quota, now, windows).min(windows.size_ms);
        if throttle == 0 {
            return None;
        }
        // The connection is refused, so it does not count.
        rate.record(-1.0, now, windows);
        Some(Duration::from_millis(throttle.unsigned_abs()))
    }

    pub fn windows(&self) -> Windows {
        self.windows
    }

    /// Milliseconds of the steady clock since the start.
    pub fn now(&self) -> i64 {
        let passed = self.clock.steady().saturating_duration_since(self.started);
        passed.as_millis() as i64
    }

    /// States of all buckets.
    pub fn figures(&self) -> Vec<Figure> {
        let now = self.now();
        let mut figures = Vec::new();
        for (kind, buckets) in KINDS.into_iter().zip(&self.rates) {
            let mut buckets = buckets.lock();
            let windows = buckets.windows();
            buckets.visit(now, |key, rate, throttle_ms| {
                figures.push(Figure {
                    kind,
                    key: key.clone(),
                    rate: rate.measure(now, windows).0,
                    throttle_ms,
                });
            });
        }
        figures
    }
}

impl Publisher for Quotas {
    fn on_update(&self, delta: &Delta, image: &Arc<Image>) {
        if delta.quotas {
            self.follow(image);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::limits::tests::image;

    fn quotas(text: &str) -> Quotas {
        Quotas::new(&BrokerSettings::default(), &Clock::default(), &image(text))
    }

    fn who(client: &str) -> Who<'_> {
        Who { user: "u", client }
    }

    #[test]
    fn a_changed_quota_counts_at_once_and_what_was_caused_is_kept() {
        let quotas = quotas("client-id=c producer_byte_rate=1000000");
        assert!(quotas.are_set() && quotas.has(Kind::Produce) && !quotas.has(Kind::Fetch));
        assert_eq!(quotas.charge(Kind::Produce, who("c"), 60_000.0), 0);
        let changed = Arc::new(image("client-id=c producer_byte_rate=1000"));
        let delta = Delta {
            quotas: true,
            ..Delta::default()
        };
        quotas.on_update(&delta, &changed);
        let throttle = quotas.charge(Kind::Produce, who("c"), 0.0);
        assert!((40_000..=51_000).contains(&throttle), "{throttle}");
        assert_eq!(quotas.charge(Kind::Produce, who("d"), 60_000.0), 0);
        quotas.on_update(&delta, &Arc::new(Image::empty()));
        assert!(!quotas.are_set());
        assert_eq!(quotas.charge(Kind::Produce, who("c"), 60_000.0), 0);
    }

    #[test]
    fn time_of_threads_costs_at_most_one_window() {
        let quotas = quotas("user=u request_percentage=0.01");
        assert_eq!(quotas.charge(Kind::Request, who("c"), 1_000.0), 1000);
    }

    #[test]
    fn an_answer_that_is_not_sent_is_not_counted() {
        let quotas = quotas("client-id=c consumer_byte_rate=1000");
        assert_eq!(quotas.fetch_bytes_max(who("c")), Some(10_000));
        assert_eq!(quotas.fetch_bytes_max(who("d")), None);
        assert!(quotas.charge(Kind::Fetch, who("c"), 60_000.0) > 0);
        quotas.refund(Kind::Fetch, who("c"), 60_000.0);
        assert_eq!(quotas.charge(Kind::Fetch, who("c"), 10.0), 0);
    }

    #[test]
    fn partitions_are_refused_or_only_slowed_down() {
        let quotas = quotas("client-id=c controller_mutation_rate=1");
        assert_eq!(quotas.take_partitions(who("c"), 20.0, true), 0);
        let throttle = quotas.take_partitions(who("c"), 1.0, true);
        assert!((1..=9000).contains(&throttle), "{throttle}");
        assert!(quotas.take_partitions(who("c"), 1.0, false) >= throttle);
        quotas.give_back_partitions(who("c"), 21.0);
        assert_eq!(quotas.take_partitions(who("c"), 1.0, true), 0);
    }

    #[test]
    fn an_address_that_connects_too_often_is_held_and_closed() {
        let quotas = quotas("ip=10.0.0.7 connection_creation_rate=1");
        let address = "10.0.0.7".parse().unwrap();
        let refused = (0..20).filter(|_| quotas.connect(address).is_some());
        assert!((9..=10).contains(&refused.count()));
        let another = "10.0.0.8".parse().unwrap();
        assert!((0..20).all(|_| quotas.connect(another).is_none()));
    }
}
