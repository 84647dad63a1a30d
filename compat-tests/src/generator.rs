//! Hostile requests for every API and version, from a seed: long arrays of equal or of smallest elements, unknown tagged
//! fields, long strings, batches that decompress to much more, damaged bytes. Names are those of topics and groups that may
//! exist, so that requests get past the checks of names.
//!
//! Requests that legitimately change how the broker serves other clients are left out: changes of broker settings, waits of
//! many seconds.

use monedula::wire::batch::builder::BatchBuilder;
use monedula::wire::batch::compression::{Compression, Levels};
use monedula::wire::message::schema::{Form, Kind, Place, requests};

use crate::chance::Chance;

/// Topics that a request may name. They exist only if the test creates them.
pub const TOPICS: [&str; 2] = ["t", "u"];
const GROUPS: [&str; 3] = ["g", "h", ""];
const WORDS: [&str; 10] = [
    "",
    "a",
    "consumer",
    "range",
    "retention.ms",
    "compression.type",
    "gzip",
    "../x",
    "ä水",
    "1",
];
const PRODUCE: i16 = 0;
const CREATE_TOPICS: i16 = 19;
const DELETE_TOPICS: i16 = 20;
/// APIs that change settings (AlterConfigs and IncrementalAlterConfigs).
const ALTER_SETTINGS: [i16; 2] = [33, 44];
/// Tag of an unknown tagged field.
const UNKNOWN_TAG: u32 = 100;
/// Size of a topic's id.
pub const ID_BYTES: usize = 16;
/// Maximum number of elements of an array that is not the long one.
const FEW: usize = 3;

/// A generated request with its description.
#[derive(Clone, Debug)]
pub struct Made {
    /// API, version and kind of harm.
    pub what: String,
    /// Frame with its length prefix.
    pub frame: Vec<u8>,
}

/// The way in which a request is hostile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// The request is valid and small.
    None,
    /// Arrays have many equal elements.
    Repeated,
    /// Arrays have many elements of minimal size.
    Tiny,
    /// All arrays are long.
    Nested,
    /// The request has unknown tagged fields.
    Padded,
    /// The request has long strings and byte fields.
    Long,
    /// Some bytes are changed.
    Damaged,
}

const HARMS: [Harm; 8] = [
    Harm::None,
    Harm::Repeated,
    Harm::Repeated,
    Harm::Tiny,
    Harm::Nested,
    Harm::Padded,
    Harm::Long,
    Harm::Damaged,
];

/// Generator of hostile requests.
#[derive(Debug)]
pub struct Generator {
    chance: Chance,
    forms: Vec<Form>,
    bytes_max: usize,
    batches: Vec<Vec<u8>>,
    ids: Vec<[u8; ID_BYTES]>,
}

impl Generator {
    /// `ids` are those of topics that exist. `is_served` tells the APIs and versions of the broker. No frame is much longer than
    /// `bytes_max`.
    pub fn new(
        seed: u64,
        bytes_max: usize,
        ids: &[[u8; ID_BYTES]],
        is_served: impl Fn(i16, i16) -> bool,
    ) -> Self {
        let mut forms = requests();
        forms.retain_mut(|form| {
            let mut versions = form
                .versions
                .clone()
                .filter(|one| is_served(form.key, *one));
            let Some(first) = versions.next() else {
                return false;
            };
            form.versions = first..=versions.last().unwrap_or(first);
            true
        });
        Self {
            chance: Chance::new(seed),
            forms,
            bytes_max,
            batches: batches(),
            ids: ids.to_vec(),
        }
    }

    /// The next request.
    pub fn request(&mut self) -> Made {
        let form = self.forms[self.chance.below(self.forms.len())].clone();
        let versions: Vec<i16> = form.versions.clone().collect();
        let version = self.chance.one_of(&versions);
        let harm = self.chance.one_of(&HARMS);
        let flexible = (form.is_flexible)(version);
        // Most requests are small, so that many of them are sent.
        let budget = self.bytes_max >> (2 * self.chance.below(6));
        let mut writing = Writing {
            chance: &mut self.chance,
            batches: &self.batches,
            ids: &self.ids,
            key: form.key,
            flexible,
            harm,
            left: budget,
            swollen: false,
            out: Vec::new(),
        };
        writing.header(version);
        writing.value(&(form.shape)(version), "", false);
        let mut body = writing.out;
        if harm == Harm::Damaged {
            damage(&mut self.chance, &mut body);
        }
        let mut frame = (body.len() as u32).to_be_bytes().to_vec();
        frame.extend(body);
        Made {
            what: format!("{} v{version}, {harm:?}, {} bytes", form.name, frame.len()),
            frame,
        }
    }
}

/// Some valid batches, and some that decompress to a mebibyte or more.
fn batches() -> Vec<Vec<u8>> {
    const NOW: i64 = 1_700_000_000_000;
    let zeros = vec![0; 1 << 20];
    let mut batches = vec![Vec::new()];
    for compression in [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Zstd,
    ] {
        let mut many = BatchBuilder::new(compression);
        for _ in 0..100 {
            many.push(NOW, Some(b"k"), Some(b"v"));
        }
        batches.push(many.build().to_vec());
        if compression != Compression::None {
            let mut large = BatchBuilder::new(compression);
            large.push(NOW, None, Some(&zeros));
            batches.push(large.build().to_vec());
        }
    }
    let mut of_a_producer = BatchBuilder::default().producer(7, 0, 0);
    of_a_producer.push(NOW, None, Some(b"v"));
    batches.push(of_a_producer.build().to_vec());
    batches.push(
        Compression::Gzip
            .compress(&zeros, Levels::default())
            .unwrap_or_default(),
    );
    batches
}

fn damage(chance: &mut Chance, body: &mut Vec<u8>) {
    for _ in 0..=chance.below(3) {
        // The first 8 bytes are the API key, version and correlation id. Most damage should be in the rest.
        let at = 8 + chance.below(body.len() - 8);
        match chance.below(4) {
            0 => body[at] = chance.below(256) as u8,
            1 => body[at] = chance.one_of(&[0, 0x7f, 0x80, 0xff]),
            2 => body.truncate(at.max(9)),
            _ => body.insert(at, chance.below(256) as u8),
        }
    }
}

/// A request that is being encoded.
struct Writing<'a> {
    chance: &'a mut Chance,
    batches: &'a [Vec<u8>],
    ids: &'a [[u8; ID_BYTES]],
    key: i16,
    flexible: bool,
    harm: Harm,
    /// Number of bytes that may still be used for harm.
    left: usize,
    /// Whether one of the arrays has been made long.
    swollen: bool,
    out: Vec<u8>,
}

impl Writing<'_> {
    fn header(&mut self, version: i16) {
        self.out.extend(self.key.to_be_bytes());
        self.out.extend(version.to_be_bytes());
        self.out.extend(7_i32.to_be_bytes());
        self.out.extend(5_i16.to_be_bytes());
        self.out.extend(b"crowd");
        if self.flexible {
            self.tagged(Vec::new());
        }
    }

    fn value(&mut self, kind: &Kind, name: &str, nullable: bool) {
        if nullable && self.chance.below(8) == 0 {
            return self.null(kind);
        }
        match kind {
            Kind::Number(bytes) => self.number(*bytes, name),
            Kind::Text => self.text(name),
            Kind::Bytes => self.bytes(),
            Kind::Records => self.records(),
            Kind::Array(element) => self.array(element, name),
            Kind::Struct(places) => {
                if nullable {
                    self.out.push(1);
                }
                self.fields(places);
            }
        }
    }

    fn null(&mut self, kind: &Kind) {
        match kind {
            Kind::Struct(_) => self.out.push(0xff),
            Kind::Number(_) => {}
            _ if self.flexible => self.out.push(0),
            Kind::Text => self.out.extend([0xff; 2]),
            _ => self.out.extend([0xff; 4]),
        }
    }

    fn fields(&mut self, places: &[Place]) {
        let mut tagged = Vec::new();
        for place in places {
            match place.tag {
                None => self.value(&place.kind, place.name, place.nullable),
                Some(tag) => {
                    if self.flexible && self.chance.below(3) == 0 {
                        let before = std::mem::take(&mut self.out);
                        self.value(&place.kind, place.name, place.nullable);
                        tagged.push((tag, std::mem::replace(&mut self.out, before)));
                    }
                }
            }
        }
        if self.flexible {
            self.tagged(tagged);
        }
    }

    fn tagged(&mut self, mut fields: Vec<(u32, Vec<u8>)>) {
        if self.harm == Harm::Padded && self.chance.below(2) == 0 {
            let size = self.share();
            fields.push((UNKNOWN_TAG, vec![7; size]));
        }
        fields.sort_by_key(|(tag, _)| *tag);
        self.varint(fields.len() as u64);
        for (tag, bytes) in fields {
            self.varint(tag.into());
            self.varint(bytes.len() as u64);
            self.out.extend(bytes);
        }
    }

    /// Takes a random share of the bytes that are left for harm.
    fn share(&mut self) -> usize {
        let share = self.chance.below(self.left + 1);
        self.left -= share;
        share
    }

    fn number(&mut self, bytes: usize, name: &str) {
        // APIs that name topics by their ids would otherwise refuse each request.
        if bytes == ID_BYTES && !self.ids.is_empty() && self.chance.below(4) > 0 {
            let id = self.chance.one_of(self.ids);
            self.out.extend(id);
            return;
        }
        let is_time = ["timeout", "wait", "interval"]
            .iter()
            .any(|word| name.contains(word));
        let value: i64 = match name {
            _ if self.harm == Harm::Tiny => 0,
            _ if is_time => self.chance.one_of(&[0, 5, 50, 6_000, -1]),
            "num_partitions" | "count" => self.chance.one_of(&[1, 2, -1, 0, i64::from(i32::MAX)]),
            "acks" => self.chance.one_of(&[-1, 1, 1, 0, 7]),
            _ if name.contains("partition") || name.contains("index") => {
                self.chance.one_of(&[0, 0, 0, 1, 2, 9_999, -1])
            }
            _ => match self.chance.below(6) {
                0 => -1,
                1 => i64::MAX >> (64 - 8 * bytes.min(8)),
                2 => i64::MIN >> (64 - 8 * bytes.min(8)),
                3 => self.chance.below(1_000) as i64,
                4 => 1,
                _ => 0,
            },
        };
        let wide = [[0; 8], value.to_be_bytes()].concat();
        self.out.extend_from_slice(&wide[16 - bytes..]);
    }

    fn text(&mut self, name: &str) {
        let long = self.harm == Harm::Long && self.chance.below(3) == 0;
        let alters_a_broker = ALTER_SETTINGS.contains(&self.key) && name == "resource_name";
        if self.harm == Harm::Tiny && !alters_a_broker {
            self.length(0, 2);
            return;
        }
        let word = if name.contains("group") {
            self.chance.one_of(&GROUPS)
        } else if alters_a_broker
            || self.key == DELETE_TOPICS
            || self.key == CREATE_TOPICS && name == "name"
            || name.contains("topic")
            || name == "name" && self.chance.below(3) > 0
        {
            self.chance.one_of(&TOPICS)
        } else {
            self.chance.one_of(&WORDS)
        };
        if long {
            let size = self.share().min(32_000);
            self.length(size, 2);
            self.out.resize(self.out.len() + size, b'x');
        } else {
            self.length(word.len(), 2);
            self.out.extend_from_slice(word.as_bytes());
        }
    }

    fn bytes(&mut self) {
        let size = match self.harm {
            Harm::Long => self.share(),
            Harm::Tiny => 0,
            _ => self.chance.below(50),
        };
        self.length(size, 4);
        self.out.resize(self.out.len() + size, 0);
    }

    fn records(&mut self) {
        let mut batch = self.batches[self.chance.below(self.batches.len())].clone();
        if self.harm == Harm::Long || self.key != PRODUCE {
            batch.truncate(self.left);
        }
        if self.harm == Harm::Damaged {
            batch.resize(batch.len().max(20), 0);
            damage(self.chance, &mut batch);
        }
        self.left = self.left.saturating_sub(batch.len());
        self.length(batch.len(), 4);
        self.out.extend(batch);
    }

    fn array(&mut self, element: &Kind, name: &str) {
        let swells = match self.harm {
            Harm::Repeated | Harm::Tiny => !self.swollen && self.chance.below(2) == 0,
            Harm::Nested => true,
            _ => false,
        };
        if !swells {
            let count = match self.harm {
                // An array inside this one may become the long one.
                Harm::Repeated | Harm::Tiny | Harm::Nested => 1 + self.chance.below(FEW),
                _ => self.chance.below(FEW + 1),
            };
            self.length(count, 4);
            for _ in 0..count {
                self.value(element, name, false);
            }
            return;
        }
        self.swollen = true;
        let budget = match self.harm {
            Harm::Nested => self.share(),
            _ => std::mem::take(&mut self.left),
        };
        // One element is generated and then copied.
        let before = std::mem::take(&mut self.out);
        self.value(element, name, false);
        let one = std::mem::replace(&mut self.out, before);
        let count = 1 + budget / one.len().max(1);
        self.length(count, 4);
        self.out.reserve_exact(one.len() * count);
        for _ in 0..count {
            self.out.extend_from_slice(&one);
        }
    }

    /// Writes a non-null length. `bytes` is the size of the length field in versions without compact lengths.
    fn length(&mut self, length: usize, bytes: usize) {
        if self.flexible {
            self.varint(length as u64 + 1);
        } else {
            let wide = (length as u64).to_be_bytes();
            self.out.extend_from_slice(&wide[8 - bytes..]);
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_served(seed: u64) -> Generator {
        Generator::new(seed, 64 << 10, &[[7; ID_BYTES]], |_, _| true)
    }

    #[test]
    fn a_seed_gives_the_same_requests_again() {
        let frames = |seed| {
            let mut generator = all_served(seed);
            (0..50).map(move |_| generator.request().frame)
        };
        assert!(frames(1).eq(frames(1)));
        assert!(frames(1).ne(frames(2)));
    }

    #[test]
    fn frames_say_how_long_they_are_and_stay_near_their_bound() {
        let mut generator = all_served(3);
        for _ in 0..2_000 {
            let made = generator.request();
            let (length, body) = made.frame.split_at(4);
            assert_eq!(length, (body.len() as u32).to_be_bytes(), "{}", made.what);
            assert!(body.len() < 256 << 10, "{}", made.what);
        }
    }
}
