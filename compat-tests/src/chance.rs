//! Random choices from a seed, so that a run can be repeated.

use monedula::host::clock::Clock;

/// A small random generator (xorshift): equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        // Consecutive seeds must not give similar sequences, and a state of zero would stay zero.
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        chance.below(2);
        chance
    }

    /// A number in `0..end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % end as u64) as usize
    }

    pub fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Number in the environment variable `variable`.
pub fn from_environment(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Seed in the environment variable, otherwise the current time as a new one.
pub fn seed(variable: &str) -> u64 {
    from_environment(variable).unwrap_or_else(|| Clock::default().now().unsigned_abs())
}
