//! Counters of a node for its metrics. Kafka's `RequestMetrics`, `BrokerTopicMetrics`, and the metrics of its `Selector`.
//!
//! Counting is one atomic operation and never waits for a reader.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::histogram::Histogram;

/// Upper bound on API keys, exclusive.
const KEYS: usize = 128;
/// Upper bound on the versions of an API, exclusive. Higher versions count as the last one.
const VERSIONS: usize = 24;

/// Counter that only increases.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests of one API.
#[derive(Debug, Default)]
pub struct ApiMeter {
    versions: [Counter; VERSIONS],
    /// Time from the last byte of the request until the answer is in the connection's output.
    pub total: Histogram,
    /// Part of the total time on a thread that serves clients.
    pub local: Histogram,
    /// Part of the total time for which the request waited: for records, a disk, or other members of a group.
    pub remote: Histogram,
}

impl ApiMeter {
    /// Versions with at least one request, and their numbers of requests.
    pub fn versions(&self) -> impl Iterator<Item = (usize, u64)> {
        let counts = self.versions.iter().map(Counter::get).enumerate();
        counts.filter(|(_, count)| *count > 0)
    }
}

/// Connections of one listener.
#[derive(Debug, Default)]
pub struct ListenerMeter {
    pub opened: Counter,
    pub closed: Counter,
    /// Successful logins and TLS handshakes.
    pub authenticated: Counter,
    pub refused: Counter,
}

impl ListenerMeter {
    /// Counts a connection as open until the returned value is dropped.
    pub fn connection(self: &Arc<Self>) -> CountedConnection {
        self.opened.add(1);
        CountedConnection(Arc::clone(self))
    }
}

/// An open connection.
#[derive(Debug)]
pub struct CountedConnection(Arc<ListenerMeter>);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.closed.add(1);
    }
}

/// Counters of a topic's records and requests.
#[derive(Debug, Default)]
pub struct TopicCounts {
    pub messages_in: Counter,
    pub bytes_in: Counter,
    pub bytes_out: Counter,
    /// Bytes of records that were rejected as too large.
    pub bytes_rejected: Counter,
    /// Partitions in Produce requests.
    pub produce_requests: Counter,
    /// Partitions in Fetch requests, counted each time that one is read.
    pub fetch_requests: Counter,
    pub failed_produce_requests: Counter,
    pub failed_fetch_requests: Counter,
}

/// Counters of a topic. The counters of all topics are increased together with them.
#[derive(Debug)]
pub struct TopicMeter {
    own: TopicCounts,
    all: Arc<TopicCounts>,
}

impl TopicMeter {
    pub fn add(&self, count: fn(&TopicCounts) -> &Counter, more: u64) {
        count(&self.own).add(more);
        count(&self.all).add(more);
    }

    pub fn own(&self) -> &TopicCounts {
        &self.own
    }
}

/// All counters of a node. See the module.
#[derive(Debug)]
pub struct Meters {
    started: Instant,
    all_topics: Arc<TopicCounts>,
    topics: RwLock<BTreeMap<Arc<str>, Arc<TopicMeter>>>,
    /// Counters by API key, once a request of the API has come.
    apis: Box<[OnceLock<Box<ApiMeter>>]>,
    listeners: Mutex<BTreeMap<Arc<str>, Arc<ListenerMeter>>>,
}

impl Meters {
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            all_topics: Arc::default(),
            topics: RwLock::default(),
            apis: (0..KEYS).map(|_| OnceLock::new()).collect(),
            listeners: Mutex::default(),
        }
    }

    /// Counts an answered request. `local` is the part of `total` on a thread that serves clients.
    pub fn answered(&self, asked: Option<Asked>, local: Duration, total: Duration, now: Instant) {
        let api = |asked: Asked| Some((asked, self.apis.get(usize::from(asked.key))?));
        let Some((asked, api)) = asked.and_then(api) else {
            return;
        };
        let api = api.get_or_init(Box::default);
        api.versions[usize::from(asked.version).min(VERSIONS - 1)].add(1);
        let now = self.at(now);
        api.total.record(total, now);
        api.local.record(local, now);
        api.remote.record(total.saturating_sub(local), now);
    }

    /// APIs with at least one request, in the order of their keys.
    pub fn apis(&self) -> impl Iterator<Item = (i16, &ApiMeter)> {
        let apis = (0..).zip(&self.apis);
        apis.filter_map(|(key, api)| Some((key, &**api.get()?)))
    }

    /// Counters of a topic, created at the first call and kept until the topic is [gone](Self::topic_gone).
    pub fn topic(&self, name: &str) -> Arc<TopicMeter> {
        let known = self.topics.read().get(name).cloned();
        known.unwrap_or_else(|| {
            let mut topics = self.topics.write();
            let new = || {
                Arc::new(TopicMeter {
                    own: TopicCounts::default(),
                    all: Arc::clone(&self.all_topics),
                })
            };
            Arc::clone(topics.entry(Arc::from(name)).or_insert_with(new))
        })
    }

    pub fn topic_gone(&self, name: &str) {
        self.topics.write().remove(name);
    }

    /// Counters of all topics, deleted ones included.
    pub fn all_topics(&self) -> &TopicCounts {
        &self.all_topics
    }

    /// Topics of which this node has replicas, in order.
    pub fn topics(&self) -> Vec<(Arc<str>, Arc<TopicMeter>)> {
        let topics = self.topics.read();
        let all = topics.iter();
        all.map(|(name, meter)| (Arc::clone(name), Arc::clone(meter)))
            .collect()
    }

    pub fn listener(&self, name: &Arc<str>) -> Arc<ListenerMeter> {
        let mut listeners = self.listeners.lock();
        Arc::clone(listeners.entry(Arc::clone(name)).or_default())
    }

    pub fn listeners(&self) -> Vec<(Arc<str>, Arc<ListenerMeter>)> {
        let listeners = self.listeners.lock();
        let all = listeners.iter();
        all.map(|(name, meter)| (Arc::clone(name), Arc::clone(meter)))
            .collect()
    }

    /// Time from the start of the node to `now`.
    pub fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }
}

/// API key and version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    key: u8,
    version: u8,
}

impl Asked {
    /// API key and version of a frame. `None` if no API has such a key or version.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let [key_high, key, version_high, version] = *frame.first_chunk()?;
        let is_small = key_high == 0 && version_high == 0;
        is_small.then_some(Self { key, version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_api_and_version() {
        let start = Instant::now();
        let meters = Meters::new(start);
        let second = Duration::from_secs(1);
        for frame in [[0, 0, 0, 13], [0, 0, 0, 13], [0, 1, 0, 4], [0, 0, 0, 200]] {
            meters.answered(Asked::of(&frame), second, 3 * second, start);
        }
        // Keys and versions that do not exist.
        assert_eq!(Asked::of(&[1, 0, 0, 0]), None);
        assert_eq!(Asked::of(&[0, 1, 0]), None);
        meters.answered(Asked::of(&[0, 255, 0, 0]), second, second, start);
        let found: Vec<_> = meters
            .apis()
            .map(|(key, api)| (key, api.versions().collect::<Vec<_>>(), api.total.count()))
            .collect();
        let expected = [
            (0, vec![(13, 2), (VERSIONS - 1, 1)], 3),
            (1, vec![(4, 1)], 1),
        ];
        assert_eq!(found, expected);
        let (_, produce) = meters.apis().next().unwrap();
        let median = |times: &Histogram| times.quantiles([0.5], Duration::ZERO)[0].round();
        assert!(median(&produce.total) > median(&produce.remote));
        assert!(median(&produce.remote) > median(&produce.local));
    }

    #[test]
    fn what_a_topic_counts_all_topics_count() {
        let meters = Meters::new(Instant::now());
        let (first, second) = (meters.topic("a"), meters.topic("b"));
        first.add(|counts| &counts.bytes_in, 10);
        second.add(|counts| &counts.bytes_in, 5);
        meters.topic("a").add(|counts| &counts.bytes_in, 1);
        meters.topic_gone("b");
        let own = meters.topics();
        let own = own
            .iter()
            .map(|(name, meter)| (&**name, meter.own().bytes_in.get()));
        assert_eq!(own.collect::<Vec<_>>(), [("a", 11)]);
        assert_eq!(meters.all_topics().bytes_in.get(), 16);
        // A new topic of the same name starts from zero.
        assert_eq!(meters.topic("b").own().bytes_in.get(), 0);
    }

    #[test]
    fn a_connection_is_open_until_it_is_dropped() {
        let meters = Meters::new(Instant::now());
        let listener = meters.listener(&"PLAINTEXT".into());
        let (first, second) = (listener.connection(), listener.connection());
        drop(first);
        let (name, again) = meters.listeners().remove(0);
        assert_eq!(&*name, "PLAINTEXT");
        assert_eq!((again.opened.get(), again.closed.get()), (2, 1));
        drop(second);
        assert_eq!(again.closed.get(), 2);
    }
}
