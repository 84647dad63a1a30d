//! Log on standard output. Lines have the format of Kafka's log4j layout, because scripts and wait strategies parse them.
//!
//! The environment variable `MONEDULA_LOG` sets the filter in the syntax of `RUST_LOG`: `debug`, or
//! `info,monedula::server=trace`.
//!
//! Logging never blocks on the reader of the log, and clients cannot flood it: `Repeats` counts repeated lines, and
//! `Outlet` drops lines that do not fit and logs their number.

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

/// Environment variable with the filter.
const FILTER_VARIABLE: &str = "MONEDULA_LOG";
/// Interval at which summaries of repeated lines are written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time that the end of the process waits for the reader of the log.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log. Only the first call of a process has an effect, so several brokers in a process may call it.
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
    // A program that embeds the broker and has set a logger keeps it.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        drop(LOG.set(log));
    }
}

/// Writes pending lines before the process ends. The time is limited, because the log may have no reader.
pub fn finish() {
    if let Some(log) = LOG.get() {
        let now = log.now();
        let summaries = log.repeats.lock().take_all(now);
        log.say(summaries);
        log.outlet.flush(FLUSH_WITHIN);
    }
}

/// Writes a line to standard error, for the user who started the process. An error is ignored, because the reader of a pipe may
/// be gone.
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
    /// System clock. The log belongs to the process, not to a node.
    clock: Clock,
    started: Instant,
}

/// Content of a line, kept to log a summary of its repetitions.
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
        // Debug and trace lines are never suppressed.
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
