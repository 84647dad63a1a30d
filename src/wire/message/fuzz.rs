//! Test-only: bytes from outside do no harm. Random frames and damaged good ones, for every API and version: decoding
//! ends, never panics, and takes no more memory than a small multiple of the frame.
//!
//! `MONEDULA_FUZZ_SECONDS` makes it run longer, `MONEDULA_FUZZ_SEED` repeats a run.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Message;
use super::arbitrary::{Arbitrary, Dice};
use crate::every_api;
use crate::wire::codec::{Layout, Reader, Writer};

/// What a frame may cost, beside a fixed sum: a null string is one byte on the wire, its place in a growing array up to
/// three times its size in memory.
const MEMORY_PER_BYTE_MAX: usize = 128;
const MEMORY_MIN: usize = 64 * 1024;
/// A frame of some kilobytes takes microseconds; this allows for a busy machine.
const TIME_MAX: Duration = Duration::from_secs(2);

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches two numbers of this thread only, which
// need no memory of their own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        count(memory.size());
        // SAFETY: the caller's promise is the one that is needed.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, place: *mut u8, memory: Memory) {
        let _ = TAKEN.try_with(|taken| taken.set(taken.get().saturating_sub(memory.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(place, memory) }
    }
}

fn count(size: usize) {
    let _ = TAKEN.try_with(|taken| {
        let now = taken.get().saturating_add(size);
        taken.set(now);
        let _ = MOST.try_with(|most| most.set(most.get().max(now)));
    });
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does `work`; says how much memory this thread had in use for it at once, at most.
pub fn most_memory<T>(work: impl FnOnce() -> T) -> (T, usize) {
    TAKEN.set(0);
    MOST.set(0);
    let result = work();
    (result, MOST.get())
}

/// Decodes, and says what it cost.
fn harmless<M: Message>(version: i16, frame: &Bytes, seed: u64) {
    TAKEN.set(0);
    MOST.set(0);
    let started = Instant::now();
    let read = M::read(&mut Reader::new(frame.clone()), version);
    let (took, most) = (started.elapsed(), MOST.get());
    let place = || format!("{} v{version} seed {seed}: {frame:02x?}", M::NAME);
    assert!(took < TIME_MAX, "{took:?} {}", place());
    let limit = MEMORY_MIN + frame.len() * MEMORY_PER_BYTE_MAX;
    assert!(
        most <= limit,
        "{most} bytes of memory for {}, {}",
        frame.len(),
        place()
    );
    // What was read may be written: an answer that repeats a client's words must not fail either.
    if let Ok(message) = read {
        message
            .write(&mut Writer::default(), version)
            .unwrap_or_else(|error| panic!("{error} {}", place()));
    }
}

/// A good frame with up to three spots changed, cut or added.
pub fn damaged(dice: &mut Dice, frame: &[u8]) -> Bytes {
    let mut frame = frame.to_vec();
    for _ in 0..=dice.below(3) {
        let len = frame.len() as u64;
        if len == 0 {
            break;
        }
        let at = dice.below(len) as usize;
        match dice.below(5) {
            0 => frame[at] = dice.roll() as u8,
            1 => frame[at] = [0, 0x7f, 0x80, 0xff][dice.below(4) as usize],
            2 => frame.truncate(at),
            3 => frame.insert(at, dice.roll() as u8),
            _ => {
                let end = frame.len().min(at + 4);
                frame[at..end].fill([0x7f, 0xff][dice.below(2) as usize]);
            }
        }
    }
    frame.into()
}

/// A good beginning, then an array that is as long as it says, of elements as cheap as they get.
fn swollen(dice: &mut Dice, frame: &[u8], filling: u8) -> Bytes {
    const COUNT: usize = 8_000;
    let mut swollen = frame[..dice.below(frame.len() as u64 + 1) as usize].to_vec();
    match dice.below(2) {
        0 => swollen.extend((COUNT as u32).to_be_bytes()),
        _ => swollen.extend([COUNT as u8 | 0x80, (COUNT >> 7) as u8]),
    }
    swollen.resize(swollen.len() + COUNT, filling);
    swollen.into()
}

fn fuzz<M: Message + Arbitrary>(seed: u64) {
    for version in M::VERSIONS {
        let mut dice = Dice::new(seed ^ (version as u64) << 48);
        let layout = Layout::new(version, M::is_flexible(version));
        let mut writer = Writer::default();
        M::arbitrary(&mut dice, layout)
            .write(&mut writer, version)
            .unwrap();
        let good = writer.into_bytes();
        for _ in 0..8 {
            let frame = damaged(&mut dice, &good);
            harmless::<M>(version, &frame, seed);
        }
        let len = dice.below(300);
        let random: Bytes = (0..len).map(|_| dice.roll() as u8).collect();
        harmless::<M>(version, &random, seed);
        for filling in [0, 1, 2, 0xff] {
            harmless::<M>(version, &swollen(&mut dice, &good, filling), seed);
        }
    }
}

/// A number that whoever runs the test gave.
pub fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds that whoever runs the test gave: `600` is as many from 0 on, `600..1200` those; otherwise the `usual` number.
pub fn seeds_from_environment(name: &str, usual: u64) -> Range<u64> {
    let Ok(given) = std::env::var(name) else {
        return 0..usual;
    };
    let (from, to) = given.split_once("..").unwrap_or(("0", &given));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) => from..to,
        _ => panic!("{name}={given} is neither a number of seeds nor two of them with .. between"),
    }
}

macro_rules! fuzz_every_api {
    ($($key:literal $module:ident $name:ident;)*) => { pastey::paste! {
        fn fuzz_all(seed: u64) {
            use crate::wire::message::*;
            $(
                fuzz::<$module::[<$name Request>]>(seed);
                fuzz::<$module::[<$name Response>]>(seed);
            )*
        }
    } };
}

every_api!(fuzz_every_api);

#[test]
fn no_frame_does_harm() {
    let limit = Duration::from_secs(from_environment("MONEDULA_FUZZ_SECONDS").unwrap_or(3));
    let chance = || getrandom::u64().unwrap();
    let mut seed = from_environment("MONEDULA_FUZZ_SEED").unwrap_or_else(chance);
    let started = Instant::now();
    while started.elapsed() < limit {
        println!("MONEDULA_FUZZ_SEED={seed}");
        fuzz_all(seed);
        seed = seed.wrapping_add(1);
    }
}
