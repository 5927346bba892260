//! One 512-byte tar header and the PAX records before it (POSIX.1-2017 pax, GNU tar manual "Basic Tar Format").
//!
//! Pure: bytes in, fields out. Everything here was written by a stranger, so each number is checked.

use std::io;

pub(crate) const BLOCK_BYTES: usize = 512;
pub(crate) type Block = [u8; BLOCK_BYTES];

/// What a header block says by itself.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u64,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) size_bytes: u64,
    pub(crate) mtime_seconds: i64,
    pub(crate) device: (u64, u64),
    pub(crate) gnu_sparse: Option<GnuSparse>,
}

/// The map of an old GNU sparse file (type `S`), as far as one block holds it.
#[derive(Debug)]
pub(crate) struct GnuSparse {
    pub(crate) real_bytes: u64,
    pub(crate) pieces: Vec<(u64, u64)>,
    /// The map goes on in the next block.
    pub(crate) goes_on: bool,
}

pub(crate) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("damaged tar archive: {what}"))
}

/// Parses a header block; `None` for a block of zeroes, which ends an archive.
pub(crate) fn parse(block: &Block) -> io::Result<Option<Header>> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if octal(&block[148..156])? != checksum(block) {
        return Err(damaged("a header's checksum is wrong (the file is cut, altered or no tar archive)"));
    }
    let is_gnu = &block[257..265] == b"ustar  \0";
    let is_ustar = &block[257..263] == b"ustar\0";
    let mut path = text(&block[..100]).to_vec();
    if is_ustar && block[345] != 0 {
        path = [text(&block[345..500]), b"/", &path].concat();
    }
    Ok(Some(Header {
        kind: block[156],
        path,
        link: text(&block[157..257]).to_vec(),
        mode: number(&block[100..108])?,
        uid: number(&block[108..116])?,
        gid: number(&block[116..124])?,
        size_bytes: number(&block[124..136])?,
        // A time that makes no sense (negative in base 256, blanks) is not worth refusing a file for.
        mtime_seconds: number(&block[136..148]).ok().and_then(|seconds| seconds.try_into().ok()).unwrap_or(0),
        device: if is_gnu || is_ustar {
            (number(&block[329..337])?, number(&block[337..345])?)
        } else {
            (0, 0)
        },
        gnu_sparse: if is_gnu && block[156] == b'S' {
            let pieces = sparse_pieces(&block[386..482])?;
            Some(GnuSparse { real_bytes: number(&block[483..495])?, pieces, goes_on: block[482] != 0 })
        } else {
            None
        },
    }))
}

/// The sum of all bytes, those of the sum itself taken for blanks.
fn checksum(block: &Block) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    u64::from(sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]))
}

/// A continuation block of a GNU sparse map: 21 pieces, and whether yet another block follows.
pub(crate) fn sparse_continuation(block: &Block) -> io::Result<(Vec<(u64, u64)>, bool)> {
    Ok((sparse_pieces(&block[..504])?, block[504] != 0))
}

fn sparse_pieces(field: &[u8]) -> io::Result<Vec<(u64, u64)>> {
    let used = field.chunks_exact(24).take_while(|piece| piece[0] != 0);
    used.map(|piece| Ok((number(&piece[..12])?, number(&piece[12..])?))).collect()
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal text, or GNU's base 256 when the first bit is set.
pub(crate) fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 == 0 {
        return octal(field);
    }
    if field[0] & 0x40 != 0 {
        return Err(damaged("a negative number"));
    }
    field.iter().enumerate().try_fold(0u64, |value, (index, byte)| {
        let byte = if index == 0 { byte & 0x3f } else { *byte };
        value
            .checked_mul(256)
            .map(|value| value | u64::from(byte))
            .ok_or_else(|| damaged("a number of more than 64 bits"))
    })
}

fn octal(field: &[u8]) -> io::Result<u64> {
    let text = text(field).trim_ascii();
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'7' => value
            .checked_mul(8)
            .map(|value| value + u64::from(byte - b'0'))
            .ok_or_else(|| damaged("a number of more than 64 bits")),
        _ => Err(damaged("a number that is not octal")),
    })
}

/// The records of a PAX extended header: `LENGTH KEY=VALUE\n`. The length rules, since values may hold newlines
/// (security.capability is binary).
pub(crate) fn pax_records(mut data: &[u8]) -> io::Result<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    // Some writers pad the last record with zeroes.
    while !data.is_empty() && data[0] != 0 {
        let bad = || damaged("a PAX record whose length is wrong");
        let space = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = decimal(&data[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err(bad());
        }
        let record = &data[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[length..];
    }
    Ok(records)
}

pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A PAX time: seconds with an optional fraction, possibly negative.
pub(crate) fn pax_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    // -1.5 is one and a half second before the epoch: -2 seconds and half a second on.
    match (whole.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_and_bounded() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b" 644 \0\0\0").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0").unwrap(), 0);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]).unwrap(), 256);
        assert!(number(b"0000648\0").is_err());
        assert!(number(&[0xff; 8]).is_err());
        assert!(number(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn pax_values_may_hold_newlines_and_lengths_are_checked() {
        let records = pax_records(b"12 a=b\nc=d\n\n9 x=yyyy\n").unwrap();
        assert_eq!(records, [(&b"a"[..], &b"b\nc=d\n"[..]), (b"x", b"yyyy")]);
        for bad in [
            &b"99 a=b\n"[..],
            b"0 a=b\n",
            b"3 a\n",
            b"x a=b\n",
            b"6 a=bc",
            b"5 ab\n",
            b"18446744073709551617 a=b\n",
        ] {
            assert!(pax_records(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn pax_times_keep_their_fraction() {
        assert_eq!(pax_time(b"1700000000.5"), Some((1_700_000_000, 500_000_000)));
        assert_eq!(pax_time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(pax_time(b"7"), Some((7, 0)));
        assert_eq!(pax_time(b"soon"), None);
    }
}
