//! Disk of a test with a thread of its own. The steps of this thread can be observed; other threads, which play a part in a
//! test, are not observed.

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::host::descriptors::Descriptors;
use crate::host::disk::{Disk, Simulation, Step, Verdict};

/// Observer of the disk of one thread.
#[derive(Debug)]
struct Watched {
    thread: std::thread::ThreadId,
    by: Mutex<Option<Arc<dyn Simulation>>>,
}

thread_local! {
    static OWN: (Disk, Arc<Watched>) = {
        let watched = Arc::new(Watched {
            thread: std::thread::current().id(),
            by: Mutex::default(),
        });
        let disk = Disk::simulated(&Descriptors::default(), Arc::clone(&watched) as _);
        (disk, watched)
    };
}

/// The disk of this thread.
pub(in crate::log) fn own_disk() -> Disk {
    OWN.with(|(disk, _)| disk.clone())
}

/// Sets the simulation that decides about each step of this thread; with `None` every step is taken.
pub(in crate::log) fn watch(simulation: Option<Arc<dyn Simulation>>) {
    OWN.with(|(_, watched)| *watched.by.lock() = simulation);
}

/// Does some work once, before the first step of this thread that fits.
pub(in crate::log) fn meanwhile(fits: fn(&Step<'_>) -> bool, work: impl FnOnce() + Send + 'static) {
    let work = Mutex::new(Some(work));
    watch(Some(Arc::new(Meanwhile { fits, work })));
}

struct Meanwhile<F> {
    fits: fn(&Step<'_>) -> bool,
    work: Mutex<Option<F>>,
}

impl<F> fmt::Debug for Meanwhile<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl<F: FnOnce() + Send> Simulation for Meanwhile<F> {
    fn before(&self, step: &Step<'_>, _: &'static Location<'static>) -> io::Result<Verdict> {
        if (self.fits)(step) {
            let work = self.work.lock().take();
            work.into_iter().for_each(|work| work());
        }
        Ok(Verdict::Go)
    }
}

impl Simulation for Watched {
    fn before(&self, step: &Step<'_>, site: &'static Location<'static>) -> io::Result<Verdict> {
        if std::thread::current().id() != self.thread {
            return Ok(Verdict::Go);
        }
        // The lock is released first, because the simulation may use the disk itself.
        let by = self.by.lock().clone();
        by.map_or(Ok(Verdict::Go), |by| by.before(step, site))
    }
}
