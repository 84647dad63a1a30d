//! Random numbers, for unique ids and for secrets.

/// Source of random numbers. Cheap to clone. The default is the system's source.
#[derive(Clone, Debug, Default)]
pub struct Chance(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    #[cfg(test)]
    Seeded(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers: {0}")]
pub struct NoChance(getrandom::Error);

impl Chance {
    /// Random bytes.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], NoChance> {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System => getrandom::fill(&mut bytes).map_err(NoChance)?,
            #[cfg(test)]
            Source::Seeded(state) => {
                for chunk in bytes.chunks_mut(size_of::<u64>()) {
                    chunk.copy_from_slice(&next(state).to_ne_bytes()[..chunk.len()]);
                }
            }
        }
        Ok(bytes)
    }

    /// A random byte for jitter; always the same one if the system has no random numbers, so that all nodes wait equally long.
    pub fn jitter(&self) -> u8 {
        let [byte] = self.bytes().unwrap_or([u8::MAX / 2]);
        byte
    }

    /// Test-only: a source in which equal seeds give equal bytes, in the order of the calls.
    #[cfg(test)]
    pub fn seeded(seed: u64) -> Self {
        let state = std::sync::atomic::AtomicU64::new(seed);
        Self(Source::Seeded(std::sync::Arc::new(state)))
    }
}

/// Next number of splitmix64.
#[cfg(test)]
fn next(state: &std::sync::atomic::AtomicU64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let before = state.fetch_add(STEP, std::sync::atomic::Ordering::SeqCst);
    let mut mixed = before.wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_bytes() {
        let draw = |seed| {
            let chance = Chance::seeded(seed);
            let (first, second) = (chance.bytes::<16>().unwrap(), chance.bytes::<5>().unwrap());
            assert_ne!(first[..5], second);
            // A clone continues the sequence of the original.
            assert_ne!(chance.clone().bytes::<16>().unwrap(), first);
            (first, second)
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn the_system_gives_other_bytes_each_time() {
        let chance = Chance::default();
        assert_ne!(chance.bytes::<16>().unwrap(), chance.bytes::<16>().unwrap());
    }
}
