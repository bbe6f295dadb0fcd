//! Sixteen bytes compared at once, and memory asked for ahead, by a few instructions where the
//! processor has them.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _MM_HINT_T0, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
    _mm_prefetch, _mm_set1_epi8,
};

/// Bytes that the processor moves together.
pub const LINE_BYTES: usize = 64;

/// Has the processor load the line of an address, which need not be one, while it goes on.
#[inline]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 has SSE; the instruction changes no state and never faults.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// The same for all lines of something, which is not looked at.
#[inline]
pub fn prefetch_all<T>(what: *const T) {
    (0..size_of::<T>()).step_by(LINE_BYTES).for_each(|at| prefetch(what.addr() + at));
}

/// Bit i is set when byte i is one of the two.
#[inline]
pub fn either(bytes: &[u8; 16], one: u8, other: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86_64 has SSE2; the load reads the 16 bytes of the array, wherever they are.
    unsafe {
        let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
        let ones = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(one as i8));
        let others = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(other as i8));
        _mm_movemask_epi8(_mm_or_si128(ones, others)) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    one_by_one(bytes, |byte| byte == one || byte == other)
}

/// Bit i is set when byte i is no printable character of ASCII.
#[inline]
pub fn unprintable(bytes: &[u8; 16]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `either`.
    unsafe {
        let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
        // Signed: what is not ASCII is less than zero.
        let controls = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20));
        let deletes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7F));
        _mm_movemask_epi8(_mm_or_si128(controls, deletes)) as u32
    }
    #[cfg(not(target_arch = "x86_64"))]
    one_by_one(bytes, |byte| !matches!(byte, 0x20..=0x7E))
}

/// The bytes as text when all are ASCII.
#[inline]
pub fn ascii(bytes: &[u8]) -> Option<&str> {
    let (chunks, tail) = bytes.as_chunks();
    // The last sixteen once more: a short rest is looked at byte by byte.
    let is = match bytes.last_chunk() {
        Some(last) => chunks.iter().chain([last]).all(is_ascii),
        None => tail.is_ascii(),
    };
    // SAFETY: ASCII is UTF-8.
    is.then(|| unsafe { std::str::from_utf8_unchecked(bytes) })
}

/// The same for bytes of one's own, which come back if they are not.
#[inline]
pub fn into_ascii(bytes: Vec<u8>) -> Result<String, Vec<u8>> {
    match ascii(&bytes) {
        // SAFETY: as in `ascii`.
        Some(_) => Ok(unsafe { String::from_utf8_unchecked(bytes) }),
        None => Err(bytes),
    }
}

#[inline]
fn is_ascii(bytes: &[u8; 16]) -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `either`.
    unsafe {
        _mm_movemask_epi8(_mm_loadu_si128(bytes.as_ptr().cast())) == 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    bytes.is_ascii()
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn one_by_one(bytes: &[u8; 16], is: impl Fn(u8) -> bool) -> u32 {
    let bit = |(at, &byte): (usize, &u8)| u32::from(is(byte)) << at;
    bytes.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same() {
        for first in 0..=255_u8 {
            for step in [0_u8, 1, 3, 17, 128] {
                let bytes =
                    std::array::from_fn(|at| first.wrapping_add(step.wrapping_mul(at as u8)));
                for (one, other) in [(0, 1), (3, 3), (0x80, 2), (b'"', b'\\'), (0x81, 0xFF)] {
                    let found = one_by_one(&bytes, |byte| byte == one || byte == other);
                    assert_eq!(either(&bytes, one, other), found);
                }
                let found = one_by_one(&bytes, |byte| !matches!(byte, 0x20..=0x7E));
                assert_eq!(unprintable(&bytes), found);
            }
        }
    }

    #[test]
    fn ascii_is_text_and_nothing_else_is() {
        for len in 0..70 {
            let mut bytes: Vec<u8> = (0..len).map(|at| at as u8 * 3 % 128).collect();
            assert_eq!(ascii(&bytes).map(str::as_bytes), Some(&bytes[..]));
            assert_eq!(into_ascii(bytes.clone()).map(String::into_bytes), Ok(bytes.clone()));
            for at in 0..len {
                let was = std::mem::replace(&mut bytes[at], 0x80);
                assert_eq!(ascii(&bytes), None, "{at} of {len}");
                assert_eq!(into_ascii(bytes.clone()), Err(bytes.clone()));
                bytes[at] = was;
            }
        }
    }
}
