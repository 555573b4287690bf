//! Owns finding delimiters, line ends and quotes among 64 bytes at once, with the widest registers the machine has.

/// Bit *i* stands for byte *i*.
#[derive(Clone, Copy)]
pub(super) struct Marks {
    pub(super) delimiters: u64,
    pub(super) newlines: u64,
    pub(super) quotes: u64,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) delimiter: u8,
    /// The delimiter again where there are no quotes; see [`Wanted::has_quotes`].
    pub(super) quote: u8,
    pub(super) has_quotes: bool,
}

/// Bytes looked at together.
pub(super) const LANES: usize = 64;

/// Without any special instructions: eight bytes in a word.
#[inline(always)]
pub(super) fn plain(bytes: &[u8; LANES], wanted: Wanted) -> Marks {
    let find = |byte: u8| {
        let mut mask = 0;
        for (index, word) in bytes.chunks_exact(8).enumerate() {
            let word = word.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b));
            let differing = word ^ (0x0101_0101_0101_0101 * u64::from(byte));
            // The high bit of each byte that is 0, without borrowing from its neighbours.
            let low = 0x7f7f_7f7f_7f7f_7f7f;
            let zero = !(((differing & low) + low) | differing | low);
            // Gathers the eight high bits.
            mask |= (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56 << (8 * index);
        }
        mask
    };
    let quotes = if wanted.has_quotes { find(wanted.quote) } else { 0 };
    Marks { delimiters: find(wanted.delimiter), newlines: find(b'\n'), quotes }
}

/// With 32 bytes in a register.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn avx2(bytes: &[u8; LANES], wanted: Wanted) -> Marks {
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
    };
    // SAFETY: both reads lie within the 64 bytes, and need no alignment.
    let (low, high) = unsafe {
        let start = bytes.as_ptr().cast::<__m256i>();
        (_mm256_loadu_si256(start), _mm256_loadu_si256(start.add(1)))
    };
    let find = |byte: u8| {
        let byte = _mm256_set1_epi8(byte.cast_signed());
        let (low, high) = (_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte));
        let (low, high) = (_mm256_movemask_epi8(low), _mm256_movemask_epi8(high));
        u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
    };
    let quotes = if wanted.has_quotes { find(wanted.quote) } else { 0 };
    Marks { delimiters: find(wanted.delimiter), newlines: find(b'\n'), quotes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same() {
        let wanted = Wanted { delimiter: b',', quote: b'"', has_quotes: true };
        let mut state = 1_u64;
        for _ in 0..1000 {
            let bytes: [u8; LANES] = std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Neighbours of what is looked for are what tricks with carries would confuse.
                b",-+\"#!\n\x0b\t\x00\xac\x8a"[(state >> 33) as usize % 12]
            });
            let expected =
                |byte: u8| bytes.iter().enumerate().fold(0, |mask, (i, &b)| mask | u64::from(b == byte) << i);
            let check = |marks: Marks| {
                assert_eq!(marks.delimiters, expected(b','));
                assert_eq!(marks.newlines, expected(b'\n'));
                assert_eq!(marks.quotes, expected(b'"'));
            };
            check(plain(&bytes, wanted));
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: the machine has it.
                check(unsafe { avx2(&bytes, wanted) });
            }
        }
    }
}
