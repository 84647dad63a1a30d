//! pure: random messages from a seed, for tests of the schemas. Compiled for tests only.

use bytes::Bytes;
use bytestring::ByteString;

use crate::base::ids::Uuid;
use crate::wire::codec::{Layout, Records};

/// A small seeded generator of random numbers (SplitMix64): the same seed gives the same message on every machine.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
    depth: usize,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            depth: 0,
        }
    }

    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }
}

/// Random values that are valid in the layout's version.
pub trait Arbitrary: Sized {
    fn arbitrary(dice: &mut Dice, layout: Layout) -> Self;
}

macro_rules! number {
    ($($ty:ty),*) => {$(
        impl Arbitrary for $ty {
            fn arbitrary(dice: &mut Dice, _: Layout) -> Self {
                match dice.below(8) {
                    0 => <$ty>::MIN,
                    1 => <$ty>::MAX,
                    2 => 0 as $ty,
                    3 => (0 as $ty) - (<$ty>::MIN != 0 as $ty) as u8 as $ty,
                    _ => dice.roll() as $ty,
                }
            }
        }
    )*};
}

number!(i8, i16, i32, i64, u16, u32, f64);

impl Arbitrary for bool {
    fn arbitrary(dice: &mut Dice, _: Layout) -> Self {
        dice.below(2) == 1
    }
}

impl Arbitrary for Uuid {
    fn arbitrary(dice: &mut Dice, _: Layout) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&dice.roll().to_be_bytes());
        bytes[8..].copy_from_slice(&dice.roll().to_be_bytes());
        Self(bytes)
    }
}

impl Arbitrary for ByteString {
    fn arbitrary(dice: &mut Dice, _: Layout) -> Self {
        const LETTERS: [char; 8] = ['a', 'Z', '0', '-', '.', 'ä', '水', '🐦'];
        let length = [0, 1, 3, 20, 200][dice.below(5) as usize];
        (0..length)
            .map(|_| LETTERS[dice.below(8) as usize])
            .collect::<String>()
            .into()
    }
}

impl Arbitrary for Bytes {
    fn arbitrary(dice: &mut Dice, _: Layout) -> Self {
        let length = [0, 1, 3, 20, 700][dice.below(5) as usize];
        (0..length).map(|_| dice.roll() as u8).collect()
    }
}

impl Arbitrary for Records {
    fn arbitrary(dice: &mut Dice, layout: Layout) -> Self {
        Self::Bytes(Bytes::arbitrary(dice, layout))
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(dice: &mut Dice, layout: Layout) -> Self {
        let null = layout.nullable && dice.below(4) == 0;
        (!null).then(|| T::arbitrary(dice, layout.nullable(false)))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(dice: &mut Dice, layout: Layout) -> Self {
        if dice.depth > 4 {
            return Self::new();
        }
        dice.depth += 1;
        let elements = (0..dice.below(4))
            .map(|_| T::arbitrary(dice, layout.nullable(false)))
            .collect();
        dice.depth -= 1;
        elements
    }
}
