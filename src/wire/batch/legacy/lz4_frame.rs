//! pure: the checksum byte in the header of an LZ4 frame, which is wrong in format v0.
//!
//! Kafka's first LZ4 writer included the frame's magic number in the hash, and readers of format v0 expect that (KIP-57).

use twox_hash::XxHash32;

const MAGIC_SIZE: usize = 4;
const CONTENT_SIZE: u8 = 0x08;
const DICTIONARY_ID: u8 = 0x01;

/// Position of the checksum byte; `None` if `frame` is too short for a header.
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

/// The frame with the checksum of the LZ4 specification, whatever its checksum was.
pub fn mend_checksum(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(at) = checksum_at(&frame) {
        frame[at] = second_byte(&frame[MAGIC_SIZE..at]);
    }
    frame
}

/// The frame with the checksum that readers of format v0 expect.
pub fn break_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(at) = checksum_at(&frame) {
        frame[at] = second_byte(&frame[..at]);
    }
    frame
}

fn second_byte(hashed: &[u8]) -> u8 {
    (XxHash32::oneshot(0, hashed) >> 8) as u8
}
