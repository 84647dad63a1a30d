//! What requests cost their clients, by the client quotas, and connections from which nothing is read meanwhile. Kafka's
//! `RequestHandlerHelper` and `ThrottledChannel`.
//!
//! As in Kafka (KIP-219), a client that is over its quota is answered at once, with the time that it should wait, and its
//! connection is not read from for that time.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::context::RequestContext;
use crate::quota::limits::{Kind, Who};
use crate::wire::message::Request as _;
use crate::wire::message::produce::ProduceRequest;
use crate::wire::message::write_txn_markers::WriteTxnMarkersRequest;

/// Upper bound on the time in an answer, in milliseconds.
const THROTTLE_MS_MAX: i64 = i32::MAX as i64;
/// Percents of a second in a nanosecond.
const PERCENT_PER_NANOSECOND: f64 = 100.0 / 1e9;

/// Time until which a connection is not read from.
#[derive(Debug)]
pub struct Mute {
    base: Instant,
    /// Milliseconds after `base`; 0 if the connection was never muted.
    until_ms: AtomicU64,
}

impl Mute {
    pub fn new() -> Self {
        Self {
            base: Instant::now(),
            until_ms: AtomicU64::new(0),
        }
    }

    /// Mutes the connection from now on; a longer time stays.
    fn mute(&self, throttle_ms: i64) {
        let until = self.base.elapsed() + Duration::from_millis(throttle_ms.unsigned_abs());
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.until_ms.fetch_max(until, Ordering::Relaxed);
    }

    /// The end of the mute; `None` if the connection may be read from.
    pub fn until(&self) -> Option<Instant> {
        let until = match self.until_ms.load(Ordering::Relaxed) {
            0 => return None,
            until => self.base + Duration::from_millis(until),
        };
        (until > Instant::now()).then_some(until)
    }
}

impl Default for Mute {
    fn default() -> Self {
        Self::new()
    }
}

/// What one request costs. There is a bill only while quotas are set.
#[derive(Debug, Default)]
pub struct Bill {
    /// Bytes of the request behind its header.
    request_bytes: usize,
    /// Whether the time of threads is charged.
    charges_time: bool,
    is_exempt: AtomicBool,
    nanoseconds: AtomicU64,
}

impl Bill {
    /// The bill of a request that begins now; `None` if there are no quotas.
    pub(super) fn of(context: &RequestContext, request_bytes: usize) -> Option<Arc<Self>> {
        let quotas = &context.services.quotas;
        quotas.are_set().then(|| {
            Arc::new(Self {
                request_bytes,
                charges_time: quotas.has(Kind::Request),
                ..Self::default()
            })
        })
    }

    /// The request is one of another broker, and costs it nothing.
    pub fn exempt(&self) {
        self.is_exempt.store(true, Ordering::Relaxed);
    }

    /// Measures the time that something takes on its thread.
    pub(super) fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        if !self.charges_time {
            return work();
        }
        let began = Instant::now();
        let done = work();
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        done
    }
}

/// Awaits a reply, and counts the time for which it computes.
pub(super) async fn timed<T>(bill: Option<Arc<Bill>>, work: impl Future<Output = T>) -> T {
    let Some(bill) = bill.filter(|bill| bill.charges_time) else {
        return work.await;
    };
    let mut work = pin!(work);
    poll_fn(|cx| bill.timed(|| work.as_mut().poll(cx))).await
}

impl RequestContext {
    /// The client, as quotas know it.
    pub fn who(&self) -> Who<'_> {
        Who {
            user: &self.connection.principal.name,
            client: self.client_id.as_deref().unwrap_or_default(),
        }
    }

    /// Charges a request that is about to be answered. `throttle_ms` is the time that its handler has found that the client
    /// must wait. Gives the time for the answer, in milliseconds, and mutes the connection.
    pub(super) fn settle(&self, bill: &Bill, throttle_ms: i32) -> i32 {
        let mut throttle_ms = self.charge_bytes(bill).max(i64::from(throttle_ms));
        let is_exempt = bill.is_exempt.load(Ordering::Relaxed);
        // The time of requests between brokers is not charged.
        if bill.charges_time && !is_exempt && self.api_key != WriteTxnMarkersRequest::KEY {
            let spent = bill.nanoseconds.load(Ordering::Relaxed) as f64 * PERCENT_PER_NANOSECOND;
            let quotas = &self.services.quotas;
            throttle_ms = throttle_ms.max(quotas.charge(Kind::Request, self.who(), spent));
        }
        self.throttle(throttle_ms)
    }

    /// Charges a request that has no answer. As in Kafka, its time costs nothing.
    pub(super) fn settle_unanswered(&self, bill: &Bill) {
        self.throttle(self.charge_bytes(bill));
    }

    fn charge_bytes(&self, bill: &Bill) -> i64 {
        if self.api_key != ProduceRequest::KEY {
            return 0;
        }
        let quotas = &self.services.quotas;
        quotas.charge(Kind::Produce, self.who(), bill.request_bytes as f64)
    }

    fn throttle(&self, throttle_ms: i64) -> i32 {
        let throttle_ms = throttle_ms.clamp(0, THROTTLE_MS_MAX);
        if throttle_ms > 0 {
            self.connection.mute.mute(throttle_ms);
        }
        throttle_ms as i32
    }

    /// Charges the bytes of an answer with records. Gives the time that the client must wait instead of getting the records,
    /// in milliseconds; the bytes are not counted then.
    pub(super) fn charge_records(&self, bytes: usize) -> Option<i32> {
        self.bill.as_ref()?;
        let (quotas, who) = (&self.services.quotas, self.who());
        let throttle_ms = quotas.charge(Kind::Fetch, who, bytes as f64);
        if throttle_ms == 0 {
            return None;
        }
        quotas.refund(Kind::Fetch, who, bytes as f64);
        Some(throttle_ms.clamp(1, THROTTLE_MS_MAX) as i32)
    }

    /// The most bytes of records that one answer may have; `None` without a quota.
    pub(super) fn records_max(&self) -> Option<usize> {
        self.bill.as_ref()?;
        self.services.quotas.fetch_bytes_max(self.who())
    }
}

/// Partitions that one request creates or deletes, by the quota of its client.
#[derive(Debug)]
pub(super) struct Mutations {
    context: RequestContext,
    /// Whether the client's version of the request knows THROTTLING_QUOTA_EXCEEDED. Requests of older versions are done, and
    /// slow their client down.
    is_strict: bool,
    throttle_ms: i64,
    /// Partitions that were taken, by topic.
    taken: HashMap<String, usize>,
}

impl Mutations {
    /// Mutations of a request whose versions know the error from `strict_since` on; `None` without quotas.
    pub(super) fn of(context: &RequestContext, strict_since: i16) -> Option<Self> {
        let is_set = context.bill.is_some() && context.services.quotas.has(Kind::Mutation);
        is_set.then(|| Self {
            context: context.clone(),
            is_strict: context.api_version >= strict_since,
            throttle_ms: 0,
            taken: HashMap::new(),
        })
    }

    /// Takes this many partitions of a topic from the quota. Returns whether they may be created or deleted. No partitions may
    /// always be.
    pub(super) fn take(&mut self, topic: &str, partitions: usize) -> bool {
        if partitions == 0 {
            return true;
        }
        let quotas = &self.context.services.quotas;
        let throttle_ms =
            quotas.take_partitions(self.context.who(), partitions as f64, self.is_strict);
        self.throttle_ms = self.throttle_ms.max(throttle_ms);
        let is_taken = !self.is_strict || throttle_ms == 0;
        if is_taken {
            *self.taken.entry(topic.to_owned()).or_default() += partitions;
        }
        is_taken
    }

    /// Gives back the partitions of topics that were not changed after all.
    pub(super) fn give_back<'a>(&self, topics: impl Iterator<Item = &'a str>) {
        let partitions = topics.filter_map(|topic| self.taken.get(topic));
        let partitions: usize = partitions.sum();
        if partitions > 0 {
            let quotas = &self.context.services.quotas;
            quotas.give_back_partitions(self.context.who(), partitions as f64);
        }
    }

    /// Gives back the partitions of topics that were refused. Returns the time for the answer, in milliseconds.
    pub(super) fn settle<'a>(&self, refused: impl Iterator<Item = &'a str>) -> i32 {
        self.give_back(refused);
        self.throttle_ms.clamp(0, THROTTLE_MS_MAX) as i32
    }
}
