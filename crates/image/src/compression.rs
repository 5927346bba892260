//! Compressed streams, known by their first bytes.
//!
//! Media types and file names lie or are missing (docker-save archives have neither), the magic numbers do not. What is
//! recognised but not supported is refused by name, rather than failing later as a damaged archive.

use std::io::{self, BufRead, Cursor, Read};

use serde::{Deserialize, Serialize};

/// How a blob's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952, one or many members.
    Gzip,
    /// RFC 8878, one or many frames.
    Zstd,
}

/// The longest magic number's.
const MAGIC_BYTES: u64 = 6;

/// Looks at the first bytes of `reader` and unpacks accordingly.
pub(crate) fn decompress<'a>(
    mut reader: impl BufRead + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    // Read before anything else, so that a whole magic number is seen even when the source hands out single bytes.
    let mut start = Vec::new();
    reader.by_ref().take(MAGIC_BYTES).read_to_end(&mut start)?;
    let compression = sniff(&start)?;
    let whole = Cursor::new(start).chain(reader);
    Ok((
        compression,
        match compression {
            Compression::Plain => Box::new(whole),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
            Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        },
    ))
}

fn sniff(start: &[u8]) -> io::Result<Compression> {
    // zstd allows skippable frames (0x184D2A50 to 5F) before the first frame.
    let skippable = matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    let unsupported = match start {
        [0x1f, 0x8b, ..] => return Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Ok(Compression::Zstd),
        _ if skippable => return Ok(Compression::Zstd),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => "bzip2",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [b'P', b'K', 3, 4, ..] => "zip",
        _ => return Ok(Compression::Plain),
    };
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("it is packed with {unsupported}; podling reads plain, gzip and zstd: unpack it first"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn unpacked(bytes: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (kind, mut reader) = decompress(bytes)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok((kind, out))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn plain_gzip_and_zstd_are_told_apart_by_their_magic() {
        let text = b"a layer".repeat(1000);
        assert_eq!(unpacked(&text).unwrap(), (Compression::Plain, text.clone()));
        let two_members = [gzip(&text), gzip(&text)].concat();
        assert_eq!(unpacked(&two_members).unwrap(), (Compression::Gzip, text.repeat(2)));
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(unpacked(&packed).unwrap(), (Compression::Zstd, text.clone()));
        let chunked = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &packed].concat();
        assert_eq!(unpacked(&chunked).unwrap(), (Compression::Zstd, text));
        assert_eq!(unpacked(b"").unwrap(), (Compression::Plain, Vec::new()));
    }

    #[test]
    fn other_packers_are_refused_by_name_and_cut_streams_fail() {
        let error = unpacked(&[0xfd, b'7', b'z', b'X', b'Z', 0, 1, 2]).unwrap_err();
        assert!(error.to_string().contains("xz"), "{error}");
        let whole = gzip(&b"x".repeat(5000));
        assert!(unpacked(&whole[..whole.len() - 4]).is_err());
        let whole = zstd::encode_all(&b"x".repeat(5000)[..], 1).unwrap();
        assert!(unpacked(&whole[..whole.len() - 4]).is_err());
    }
}
