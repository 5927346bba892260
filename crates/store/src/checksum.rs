//! The checksum of a row: FNV-1a, 64 bits. SQLite checks the frames of its log but not the pages of its file, and a
//! flipped bit inside a value is still a valid page. Every change of a single byte changes this sum; it defends against
//! broken media, not against people.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The sum over everything a row says. The length of the key is part of it, so that bytes cannot move from one to the other.
pub(crate) fn of_row(key: &str, value: &[u8], created: u64, revision: u64) -> u64 {
    let mut sum = OFFSET;
    for part in [&(key.len() as u64).to_le_bytes(), key.as_bytes(), value] {
        sum = add(sum, part);
    }
    add(add(sum, &created.to_le_bytes()), &revision.to_le_bytes())
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_fnv_1a() {
        // The vectors of draft-eastlake-fnv.
        assert_eq!(add(OFFSET, b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(add(OFFSET, b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(add(OFFSET, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_part_counts() {
        let sum = of_row("ab", b"c", 1, 2);
        for other in [
            of_row("a", b"bc", 1, 2),
            of_row("ab", b"d", 1, 2),
            of_row("ab", b"c", 2, 2),
            of_row("ab", b"c", 1, 3),
            of_row("ab", b"c", 2, 1),
        ] {
            assert_ne!(sum, other);
        }
    }
}
