//! `kafka-producer-perf-test` and `kafka-consumer-perf-test`: measure the throughput of producing and consuming.

mod consumer;
mod producer;

pub use consumer::ConsumerPerfTest;
pub use producer::ProducerPerfTest;

const MB: f64 = 1024.0 * 1024.0;

/// Rate per second.
fn per_second(amount: f64, ms: f64) -> f64 {
    amount * 1000.0 / ms.max(1.0)
}
