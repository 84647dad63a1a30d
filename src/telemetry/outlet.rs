//! Output of log lines: a bounded queue, and a thread that writes it to a stream. Logging never blocks. Lines that find no
//! room, because the stream has no reader or there are too many lines, are counted, and the count is logged.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::host::clock::Clock;
use crate::host::threads::Threads;

/// Limit on bytes that wait to be written. A pipe without a reader holds 64 KiB more.
const QUEUE_BYTES: usize = 1 << 20;
/// Long-term limit on the growth of the log, in bytes per second. This is at most 80 GB a day, on a disk that others need, too.
const BYTES_PER_SECOND: usize = 1 << 20;
/// Limit on a burst of bytes. It is enough for the start of a node with 10,000 partitions that were not stopped cleanly.
const BURST_BYTES: usize = 8 << 20;
/// Pause before the next attempt to write to a non-blocking stream that is full.
const RETRY: Duration = Duration::from_millis(10);
const STACK_SIZE: usize = 128 << 10;

/// Output of the log. Cheap to clone. See the module.
#[derive(Clone, Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when everything is written.
    drained: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<u8>,
    /// Number of lines dropped since the last report.
    lost: u64,
    is_writing: bool,
    /// Whether the stream has no reader any more.
    is_closed: bool,
    allowance: Allowance,
}

/// Token bucket for the growth of the log, in bytes.
#[derive(Debug)]
struct Allowance {
    left: usize,
    since: Instant,
}

impl Allowance {
    fn take(&mut self, bytes: usize, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let earned = (passed.as_micros() as usize).saturating_mul(BYTES_PER_SECOND) / 1_000_000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST_BYTES);
            self.since = now;
        }
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        }
        fits
    }
}

impl Outlet {
    /// Starts a thread that writes to `stream`. `lost` makes a line from a number of dropped lines. `idle` is called at least
    /// once in each `every` without output, to log lines that no event causes.
    ///
    /// Errors: the thread cannot be started.
    pub fn new(
        stream: impl Write + Send + 'static,
        clock: &Clock,
        lost: fn(u64) -> String,
        every: Duration,
        idle: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let outlet = Self {
            shared: Arc::new(Shared {
                clock: clock.clone(),
                state: Mutex::new(State {
                    waiting: Vec::new(),
                    lost: 0,
                    is_writing: false,
                    is_closed: false,
                    allowance: Allowance {
                        left: BURST_BYTES,
                        since: clock.steady(),
                    },
                }),
                filled: Condvar::new(),
                drained: Condvar::new(),
            }),
        };
        let shared = Arc::clone(&outlet.shared);
        Threads::default().start("log", STACK_SIZE, move || {
            shared.write(stream, lost, every, idle)
        })?;
        Ok(outlet)
    }

    /// Adds a line, or counts it as dropped if there is no room. `is_bounded` tells whether the limit on the log's growth
    /// applies.
    pub fn push(&self, line: &str, is_bounded: bool) {
        let mut state = self.shared.state.lock();
        if state.is_closed {
            return;
        }
        let fits = state.waiting.len() + line.len() <= QUEUE_BYTES;
        if fits && (!is_bounded || state.allowance.take(line.len(), self.shared.clock.steady())) {
            state.waiting.extend_from_slice(line.as_bytes());
            self.shared.filled.notify_one();
        } else {
            state.lost += 1;
        }
    }

    /// Waits until everything is written, at most for `within`, because the stream may have no reader.
    pub fn flush(&self, within: Duration) {
        let deadline = self.shared.clock.steady() + within;
        let mut state = self.shared.state.lock();
        while state.is_writing || !state.waiting.is_empty() || state.lost > 0 {
            self.shared.filled.notify_one();
            if self
                .shared
                .drained
                .wait_until(&mut state, deadline)
                .timed_out()
            {
                return;
            }
        }
    }
}

impl Shared {
    fn write(
        &self,
        mut stream: impl Write,
        lost: fn(u64) -> String,
        every: Duration,
        idle: impl Fn(),
    ) {
        let mut writing = Vec::new();
        loop {
            let mut state = self.state.lock();
            state.is_writing = false;
            while state.waiting.is_empty() && state.lost == 0 {
                self.drained.notify_all();
                if self.filled.wait_for(&mut state, every).timed_out() {
                    parking_lot::MutexGuard::unlocked(&mut state, &idle);
                }
            }
            std::mem::swap(&mut state.waiting, &mut writing);
            if state.lost > 0 {
                // The dropped lines are newer than the lines in the queue.
                writing.extend_from_slice(lost(std::mem::take(&mut state.lost)).as_bytes());
            }
            state.is_writing = true;
            drop(state);
            if let Err(error) = write_all(&mut stream, &writing, &self.clock) {
                // The pipe has no reader any more, so there is nothing to report to.
                let mut state = self.state.lock();
                state.is_closed = error.kind() == io::ErrorKind::BrokenPipe;
                if state.is_closed {
                    state.waiting = Vec::new();
                    state.lost = 0;
                }
            }
            writing.clear();
        }
    }
}

/// Writes all bytes, also to a non-blocking stream, such as a terminal that another program has set so.
fn write_all(stream: &mut impl Write, mut bytes: &[u8], clock: &Clock) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => clock.pause(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn lost(count: u64) -> String {
        format!("{count} lost\n")
    }

    /// A stream that reports each write and waits for permission to complete it.
    struct Gate {
        got: mpsc::Sender<Vec<u8>>,
        go: mpsc::Receiver<()>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.got.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.go
                .recv()
                .map(|()| bytes.len())
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Outlet, mpsc::Receiver<Vec<u8>>, mpsc::Sender<()>) {
        let ((got, seen), (open, go)) = (mpsc::channel(), mpsc::channel());
        let outlet = Outlet::new(Gate { got, go }, &Clock::default(), lost, LONG, || {}).unwrap();
        (outlet, seen, open)
    }

    #[test]
    fn a_stream_that_takes_nothing_holds_nobody_up_and_what_is_lost_is_counted() {
        let (outlet, seen, open) = gate();
        outlet.push("first\n", true);
        assert_eq!(seen.recv_timeout(LONG).unwrap(), b"first\n");
        let line = "x".repeat(1023) + "\n";
        for _ in 0..1_030 {
            outlet.push(&line, false);
        }
        outlet.flush(Duration::ZERO);
        open.send(()).unwrap();
        let rest = seen.recv_timeout(LONG).unwrap();
        assert_eq!(rest.len(), (1 << 20) + 7);
        assert!(rest.ends_with(b"x\n6 lost\n"));
        open.send(()).unwrap();
        outlet.flush(LONG);
        assert!(outlet.shared.state.lock().waiting.is_empty());
    }

    #[test]
    fn a_reader_that_is_gone_is_no_fault() {
        let (outlet, seen, open) = gate();
        outlet.push("first\n", true);
        assert_eq!(seen.recv_timeout(LONG).unwrap(), b"first\n");
        outlet.push("second\n", true);
        drop(open);
        outlet.flush(LONG);
        outlet.push("third\n", true);
        let state = outlet.shared.state.lock();
        assert!(state.is_closed && state.waiting.is_empty() && state.lost == 0);
    }

    #[test]
    fn a_real_pipe_gets_every_line_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer, &Clock::default(), lost, LONG, || {}).unwrap();
        let reading = thread::spawn(move || {
            let mut bytes = vec![0; 38_890];
            reader.read_exact(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        });
        let mut expected = String::new();
        for number in 0..10_000 {
            let line = format!("{number}\n");
            outlet.push(&line, true);
            expected += &line;
        }
        outlet.flush(LONG);
        expected.truncate(38_890);
        assert_eq!(reading.join().unwrap(), expected);
    }

    #[test]
    fn a_log_grows_by_no_more_than_its_allowance() {
        let start = Instant::now();
        let mut allowance = Allowance {
            left: BURST_BYTES,
            since: start,
        };
        let at = |ms| start + Duration::from_millis(ms);
        assert!(allowance.take(BURST_BYTES, start));
        assert!(!allowance.take(1, start));
        assert!(allowance.take(BYTES_PER_SECOND / 2, at(500)));
        assert!(!allowance.take(2, at(500)));
        assert!(allowance.take(BURST_BYTES, at(3_600_000)));
        assert!(!allowance.take(BURST_BYTES, at(3_600_000)));
        // A clock that stands still or goes back adds nothing.
        assert!(!allowance.take(BURST_BYTES, start));
    }
}
