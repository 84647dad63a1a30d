//! The log on standard output, in the lines that Kafka's own log4j layout prints, because scripts and wait strategies
//! read them.
//!
//! `MONEDULA_LOG` filters as `RUST_LOG` does elsewhere: `debug`, or `info,monedula::server=trace`.
//!
//! Nobody who logs waits for whoever reads the log, and no client can fill it: [`Repeats`] counts what was just said, and
//! [`Outlet`] drops what does not fit, with a line that says how much that was.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::metadata::Metadata;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, registry};

use super::line::{Words, household};
use super::outlet::Outlet;
use super::repeats::{Repeats, Summary};
use crate::host::clock::Clock;

/// Where the filter is read from.
const FILTER_VARIABLE: &str = "MONEDULA_LOG";
/// How often somebody looks whether something was repeated.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the end of a process waits for whoever reads its log.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

static LOG: OnceLock<Log> = OnceLock::new();

/// Begins to log. Only the first call of a process has an effect, so brokers that share one may all call it.
pub fn start() {
    if LOG.get().is_some() {
        return;
    }
    let Ok(stream) = io::stdout().as_fd().try_clone_to_owned() else {
        return;
    };
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    let repeated = || {
        if let Some(log) = LOG.get() {
            log.say_repeated();
        }
    };
    let clock = Clock::default();
    let Ok(outlet) = Outlet::new(File::from(stream), &clock, lost, LOOK_EVERY, repeated) else {
        return;
    };
    let log = Log {
        outlet,
        repeats: Arc::default(),
        started: clock.steady(),
        clock,
    };
    let subscriber = registry().with(filter).with(log.clone());
    // Whoever embeds the broker and logs already keeps its own log.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        drop(LOG.set(log));
    }
}

/// Writes what waits, before the process ends: for a bounded time, as nobody may read it.
pub fn finish() {
    if let Some(log) = LOG.get() {
        let now = log.now();
        let summaries = log.repeats.lock().take_all(now);
        log.say(summaries);
        log.outlet.flush(FLUSH_WITHIN);
    }
}

/// A line on standard error, for whoever started the process. A pipe that nobody reads any more is no reason to fail.
pub fn complain(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "monedula: {line}");
}

fn lost(lines: u64) -> String {
    let (time, level) = (Clock::default().now(), Level::WARN);
    let words = format!(
        "{lines} lines of the log are missing here: there were too many, or nobody read them"
    );
    Words::plain(words).line(time, level, module_path!())
}

#[derive(Clone)]
struct Log {
    outlet: Outlet,
    repeats: Arc<Mutex<Repeats<Line>>>,
    /// The machine's: the log belongs to the process, whatever nodes are in it.
    clock: Clock,
    started: Instant,
}

/// What is needed to say a line again.
#[derive(Clone)]
struct Line {
    words: Words,
    metadata: &'static Metadata<'static>,
}

impl Log {
    fn now(&self) -> i64 {
        self.clock.since(self.started).as_millis() as i64
    }

    fn say_repeated(&self) {
        let now = self.now();
        let summaries = self.repeats.lock().take(now);
        self.say(summaries);
    }

    fn say(&self, summaries: Vec<Summary<Line>>) {
        for summary in summaries {
            let Line { words, metadata } = summary.line;
            let after = Summary::words(summary.times, summary.within_ms, summary.is_mixed);
            let line = words.summary(
                self.clock.now(),
                *metadata.level(),
                metadata.target(),
                &after,
            );
            self.outlet.push(&line, true);
        }
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let (words, level) = (Words::of(event), *metadata.level());
        // Who asked for details gets all of them.
        let is_counted = level <= Level::INFO;
        let client = words.address();
        if is_counted && (client.is_some() || level <= Level::WARN) {
            let place = std::ptr::from_ref(metadata).addr();
            let line = || Line {
                words: words.clone(),
                metadata,
            };
            let client = client.map(household);
            let mut repeats = self.repeats.lock();
            let summaries = repeats.take(self.now());
            let is_news = repeats.is_news(self.now(), place, client, &words.sense(), line);
            drop(repeats);
            self.say(summaries);
            if !is_news {
                return;
            }
        }
        let line = words.line(self.clock.now(), level, metadata.target());
        self.outlet.push(&line, is_counted);
    }
}
