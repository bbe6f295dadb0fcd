//! Where in a bloom filter's bits a consumer group's filter on a topic stands, as RocketMQ has it
//! in `consumerFilter.json`: MurmurHash3 (x64, 128 bits) of `group#topic`, hashed twice over. A bit
//! map has the bits of all filters that a message passes: bit n is bit n % 8, counted from the
//! lowest, of byte n / 8.

use std::f64::consts::LOG2_E;

/// The shape of a bloom filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bloom {
    /// Bits set for one member.
    hashes: i32,
    /// Bits in all, a multiple of 8.
    pub bits: i32,
}

impl Bloom {
    /// For `members` with `errors` wrong hits in a hundred. What is out of range is taken to be the
    /// nearest that is in range.
    pub fn new(errors: i32, members: i32) -> Bloom {
        let errors = f64::from(errors.clamp(1, 99));
        let members = f64::from(members.clamp(1, 1 << 20));
        let hashes = (errors / 100.0).log(0.5).ceil() as i32;
        let bits = (members * (100.0 / errors).log2() * LOG2_E).ceil() as i32;
        Bloom { hashes, bits: (bits + 7) / 8 * 8 }
    }

    /// Bytes of a bit map.
    pub fn bytes(self) -> usize {
        self.bits as usize / 8
    }

    /// Whether a bit map of this shape may hold a member with these positions.
    pub fn holds(self, bit_map: &[u8], positions: &[i32]) -> bool {
        let is_set = |position: &i32| {
            let byte = bit_map.get(*position as usize / 8);
            byte.is_none_or(|byte| byte & 1 << (position % 8) != 0)
        };
        bit_map.len() != self.bytes() || positions.iter().all(is_set)
    }

    /// Whether positions are of this shape.
    pub fn is_valid(self, bits: i32, positions: &[i32]) -> bool {
        bits == self.bits && positions.len() == self.hashes as usize
    }

    /// The bits of a member.
    pub fn positions(self, member: &str) -> Vec<i32> {
        let hash = murmur3(member.as_bytes());
        let (low, high) = (hash as i32, (hash >> 32) as i32);
        let position = |i: i32| {
            let mixed = low.wrapping_add(i.wrapping_mul(high));
            (if mixed < 0 { !mixed } else { mixed }) % self.bits
        };
        (1..=self.hashes).map(position).collect()
    }
}

/// Sets the bits of a member in a bit map.
pub fn set(bit_map: &mut [u8], positions: &[i32]) {
    for position in positions {
        if let Some(byte) = bit_map.get_mut(*position as usize / 8) {
            *byte |= 1 << (position % 8);
        }
    }
}

/// A bit map as RocketMQ writes it: each byte from its highest bit, the last byte first.
pub fn text(bit_map: &[u8]) -> String {
    let mut out = String::new();
    for (index, byte) in bit_map.iter().enumerate().rev() {
        out.push_str(&format!("{byte:08b}"));
        if index % 8 == 0 {
            out.push('\n');
        }
    }
    out
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The first half of MurmurHash3 x64 128 with seed 0.
fn murmur3(bytes: &[u8]) -> u64 {
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let block = u128::from_le_bytes(*block);
        h1 = (h1 ^ mixed_1(block as u64)).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mixed_2((block >> 64) as u64)).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let last = u128::from_le_bytes(last);
    h1 ^= mixed_1(last as u64);
    h2 ^= mixed_2((last >> 64) as u64);
    h1 ^= bytes.len() as u64;
    h2 ^= bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finished(h1).wrapping_add(finished(h2))
}

fn mixed_1(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mixed_2(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finished(mut word: u64) -> u64 {
    word = (word ^ word >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    word = (word ^ word >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Java's `BloomFilter.createByFn(f, n).generate(text).getBitPos()`.
    #[test]
    fn positions_are_java_s() {
        let bloom = Bloom::new(20, 32);
        assert_eq!(bloom, Bloom { hashes: 3, bits: 112 });
        for (member, expected) in [
            ("CG1#TopicA", [23, 67, 32]),
            ("", [0, 0, 0]),
            ("a", [94, 99, 7]),
            ("x#yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", [9, 66, 11]),
            ("gé#T", [111, 80, 49]),
        ] {
            assert_eq!(bloom.positions(member), expected, "{member}");
        }
        let mut bit_map = vec![0; bloom.bytes()];
        set(&mut bit_map, &[23, 67, 32]);
        assert_eq!((bit_map.len(), bit_map[2], bit_map[4], bit_map[8]), (14, 128, 1, 8));
        assert!(bloom.holds(&bit_map, &[67, 23, 32]) && !bloom.holds(&bit_map, &[67, 24, 32]));
        assert!(bloom.holds(&bit_map[1..], &[1, 2, 3]), "of another shape");
        assert!(bloom.is_valid(112, &[1, 2, 3]) && !bloom.is_valid(112, &[1, 2]));
        let wide = Bloom::new(1, 1000);
        assert_eq!((wide.hashes, wide.bits), (7, 9592));
        assert_eq!(wide.positions("CG1#TopicA"), [6663, 4811, 2456, 5283, 3431, 3836, 3903]);
    }
}
