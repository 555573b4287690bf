//! Owns the checksum of metadata: Bob Jenkins' lookup3, as `H5_checksum_lookup3` computes it.

use crate::{Error, Result};

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    for (x, y, z, shift) in
        [(0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4)]
    {
        let mut v = [*a, *b, *c];
        v[x] = v[x].wrapping_sub(v[y]) ^ v[y].rotate_left(shift);
        v[y] = v[y].wrapping_add(v[z]);
        [*a, *b, *c] = v;
    }
}

pub(crate) fn lookup3(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u32, |n, &byte| n << 8 | u32::from(byte));
    while rest.len() > 12 {
        a = a.wrapping_add(word(&rest[..4]));
        b = b.wrapping_add(word(&rest[4..8]));
        c = c.wrapping_add(word(&rest[8..12]));
        mix(&mut a, &mut b, &mut c);
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(word(&rest[..rest.len().min(4)]));
    b = b.wrapping_add(word(rest.get(4..rest.len().min(8)).unwrap_or_default()));
    c = c.wrapping_add(word(rest.get(8..).unwrap_or_default()));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The bytes before the checksum that ends a structure at `at`.
pub(crate) fn verified<'a>(bytes: &'a [u8], at: u64, what: &str) -> Result<&'a [u8]> {
    let Some((data, stored)) = bytes.split_last_chunk::<4>() else {
        return Err(Error::damaged(at, format!("there is no room for {what}")));
    };
    if u32::from_le_bytes(*stored) != lookup3(data) && cfg!(not(feature = "fuzzing")) {
        return Err(Error::damaged(at, format!("the checksum of {what} does not match")));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_lookup3() {
        // From the comments of lookup3.c, whose driver hashes this text with seed 0.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
