//! pure: zig-zag encoded numbers of variable length, as records contain them.

/// Reads a varint from the front of `bytes`; `None` if it is incomplete or longer than 5 bytes.
pub fn read_i32(bytes: &mut &[u8]) -> Option<i32> {
    // Most lengths and deltas are one byte.
    if let [byte, rest @ ..] = *bytes
        && byte & 0x80 == 0
    {
        *bytes = rest;
        let raw = u32::from(*byte);
        return Some(((raw >> 1) as i32) ^ -((raw & 1) as i32));
    }
    let raw = read_unsigned(bytes, 5)? as u32;
    Some(((raw >> 1) as i32) ^ -((raw & 1) as i32))
}

/// Reads a varlong from the front of `bytes`; `None` if it is incomplete or longer than 10 bytes.
pub fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = read_unsigned(bytes, 10)?;
    Some(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}

fn read_unsigned(bytes: &mut &[u8], len_max: usize) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(len_max).enumerate() {
        value |= u64::from(byte & 0x7f).wrapping_shl(7 * index as u32);
        if byte & 0x80 == 0 {
            *bytes = bytes.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_unsigned(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for value in [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            300,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::MAX,
            i64::MIN,
        ] {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(read_i64(&mut out.as_slice()), Some(value));
            if let Ok(narrow) = i32::try_from(value) {
                let mut out = Vec::new();
                write_i32(&mut out, narrow);
                assert_eq!(read_i32(&mut out.as_slice()), Some(narrow));
            }
        }
    }

    #[test]
    fn cut_and_endless_numbers_are_refused() {
        assert_eq!(read_i32(&mut [0x80].as_slice()), None);
        assert_eq!(read_i32(&mut [0xff; 6].as_slice()), None);
        assert_eq!(read_i64(&mut [0xff; 11].as_slice()), None);
        assert_eq!(read_i32(&mut [].as_slice()), None);
    }
}
