//! pure: the checksum byte of an LZ4 frame's header, which format v0 gets wrong.
//!
//! Kafka's first LZ4 writer hashed the frame's magic number too, and readers of format v0 had to live with it (KIP-57).

use twox_hash::XxHash32;

const MAGIC_SIZE: usize = 4;
const CONTENT_SIZE: u8 = 0x08;
const DICTIONARY_ID: u8 = 0x01;

/// Where the checksum byte stands; `None` in what is too short for a frame.
fn checksum_at(frame: &[u8]) -> Option<usize> {
    let flags = frame.get(MAGIC_SIZE)?;
    let mut at = MAGIC_SIZE + 2;
    if flags & CONTENT_SIZE != 0 {
        at += 8;
    }
    if flags & DICTIONARY_ID != 0 {
        at += 4;
    }
    (at < frame.len()).then_some(at)
}

/// The frame with the checksum that the standard asks for, whatever was there.
pub fn mend_checksum(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(at) = checksum_at(&frame) {
        frame[at] = second_byte(&frame[MAGIC_SIZE..at]);
    }
    frame
}

/// The frame with the checksum that a reader of format v0 computes.
pub fn break_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(at) = checksum_at(&frame) {
        frame[at] = second_byte(&frame[..at]);
    }
    frame
}

fn second_byte(hashed: &[u8]) -> u8 {
    (XxHash32::oneshot(0, hashed) >> 8) as u8
}
