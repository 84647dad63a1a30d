//! Test-only: decoding of input from outside is harmless. For every API and version, random frames and damaged valid frames are
//! decoded: decoding ends, never panics, and takes no more memory than a small multiple of the frame's size.
//!
//! `MONEDULA_FUZZ_SECONDS` sets the duration of the test, `MONEDULA_FUZZ_SEED` repeats a run.

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

/// Memory that decoding may take per byte of a frame, beside `MEMORY_MIN`. A null string is one byte on the wire, and its
/// element in a growing vector takes up to three times the element's size.
const MEMORY_PER_BYTE_MAX: usize = 128;
const MEMORY_MIN: usize = 64 * 1024;
/// Maximum duration of decoding one frame. A frame of some kilobytes takes microseconds; the rest allows for a busy machine.
const TIME_MAX: Duration = Duration::from_secs(2);

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged. Counting touches only two thread-local numbers, which allocate
// no memory of their own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        count(memory.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`, which is the contract of this call.
        unsafe { System.alloc(memory) }
    }

    unsafe fn dealloc(&self, place: *mut u8, memory: Memory) {
        let _ = TAKEN.try_with(|taken| taken.set(taken.get().saturating_sub(memory.size())));
        // SAFETY: as in `alloc`, for `GlobalAlloc::dealloc`.
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

/// Runs `work`; returns its result and the peak of the memory that this thread allocated meanwhile, in bytes.
pub fn most_memory<T>(work: impl FnOnce() -> T) -> (T, usize) {
    TAKEN.set(0);
    MOST.set(0);
    let result = work();
    (result, MOST.get())
}

/// Runs `work` and returns how many more bytes of memory are in use afterwards. Counts this thread only.
pub fn kept_memory<T>(work: impl FnOnce() -> T) -> (T, usize) {
    TAKEN.set(0);
    let result = work();
    (result, TAKEN.get())
}

/// Decodes `frame` and checks the time and memory that decoding took.
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
    // A decoded message must be encodable: responses repeat values of requests, and that must not fail either.
    if let Ok(message) = read {
        message
            .write(&mut Writer::default(), version)
            .unwrap_or_else(|error| panic!("{error} {}", place()));
    }
}

/// `frame` with up to three changes: bytes overwritten, inserted or cut off.
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

/// The beginning of a valid frame, followed by an array of 8,000 elements of one byte each, the cheapest ones to send.
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

/// Number in the environment variable `name`.
pub fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seeds in the environment variable `name`: `600` means 0 to 599, `600..1200` means 600 to 1199. Without the variable: the
/// first `usual` seeds.
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
