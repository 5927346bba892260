//! Headers of SPDY frames: names and values behind their lengths, deflated with one dictionary and one history for the
//! whole connection. So a block that cannot be read ends the connection: none after it could be.
//!
//! What inflates beyond the limit is refused while it inflates, not afterwards.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;

/// Header fields of one frame, in their order, names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of a field, whatever its letters' case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Headers {
    fn from(fields: [(&str, &str); N]) -> Self {
        Self(fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }
}

/// Why a block of headers cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// It is not deflated, or not with this dictionary.
    #[error("the header block cannot be inflated")]
    Inflate,
    /// It grows beyond what is allowed.
    #[error("the header block inflates to more than {limit_bytes} bytes")]
    TooLarge {
        /// What is allowed.
        limit_bytes: usize,
    },
    /// Its lengths do not fit together.
    #[error("the header block is cut short")]
    Cut,
    /// A name or value is no text.
    #[error("a header is not UTF-8")]
    NotText,
}

/// Deflates the headers that one end sends.
pub struct Deflater(Compress);

impl Default for Deflater {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        // Only a stream that has begun refuses a dictionary. Were it refused, the other end would say so at the first block.
        let _ = compress.set_dictionary(DICTIONARY);
        Self(compress)
    }
}

impl Deflater {
    /// Appends the block of these headers to `frame`.
    pub fn deflate(&mut self, headers: &Headers, frame: &mut Vec<u8>) {
        let plain = plain(headers);
        let mut taken = 0;
        loop {
            frame.reserve(plain.len() + 64);
            let before = self.0.total_in();
            let status = self.0.compress_vec(&plain[taken..], frame, FlushCompress::Sync);
            taken += (self.0.total_in() - before) as usize;
            // Room left over means that the flush has come to its end.
            if status.is_err() || (taken == plain.len() && frame.len() < frame.capacity()) {
                return;
            }
        }
    }
}

/// Inflates the headers that the other end sends.
pub struct Inflater(Decompress);

impl Default for Inflater {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Inflater {
    /// The headers of one block.
    pub fn inflate(&mut self, block: &[u8], limit_bytes: usize) -> Result<Headers, HeadersError> {
        parse(&self.inflate_bytes(block, limit_bytes)?)
    }

    fn inflate_bytes(&mut self, block: &[u8], limit_bytes: usize) -> Result<Vec<u8>, HeadersError> {
        let mut plain = Vec::with_capacity(512);
        let mut taken = 0;
        loop {
            if plain.len() > limit_bytes {
                return Err(HeadersError::TooLarge { limit_bytes });
            }
            if plain.len() == plain.capacity() {
                plain.reserve(plain.len().max(512));
            }
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let status = self.0.decompress_vec(&block[taken..], &mut plain, FlushDecompress::Sync);
            taken += (self.0.total_in() - read) as usize;
            match status {
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(DICTIONARY).map_err(|_| HeadersError::Inflate)?;
                }
                Err(_) => return Err(HeadersError::Inflate),
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(_) => {
                    let idle = self.0.total_in() == read && self.0.total_out() == written;
                    if plain.len() < plain.capacity() && (taken == block.len() || idle) {
                        return Ok(plain);
                    }
                }
            }
        }
    }
}

fn plain(headers: &Headers) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut push = |bytes: &[u8]| {
        plain.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        plain.extend_from_slice(bytes);
    };
    for (name, value) in &headers.0 {
        push(name.to_ascii_lowercase().as_bytes());
        push(value.as_bytes());
    }
    let mut block = (headers.0.len() as u32).to_be_bytes().to_vec();
    block.append(&mut plain);
    block
}

fn parse(mut plain: &[u8]) -> Result<Headers, HeadersError> {
    let count = take_length(&mut plain)?;
    // No capacity is taken from the count: it is the sender's.
    let mut headers = Headers::default();
    for _ in 0..count {
        let name = take_text(&mut plain)?;
        let value = take_text(&mut plain)?;
        headers.0.push((name.to_ascii_lowercase(), value));
    }
    Ok(headers)
}

fn take_length(plain: &mut &[u8]) -> Result<usize, HeadersError> {
    let (length, rest) = plain.split_first_chunk::<4>().ok_or(HeadersError::Cut)?;
    *plain = rest;
    Ok(u32::from_be_bytes(*length) as usize)
}

fn take_text(plain: &mut &[u8]) -> Result<String, HeadersError> {
    let length = take_length(plain)?;
    let (text, rest) = plain.split_at_checked(length).ok_or(HeadersError::Cut)?;
    *plain = rest;
    String::from_utf8(text.to_vec()).map_err(|_| HeadersError::NotText)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_dictionary_is_that_of_the_draft() {
        let (mut low, mut high) = (1u32, 0u32);
        for byte in DICTIONARY {
            low = (low + u32::from(*byte)) % 65521;
            high = (high + low) % 65521;
        }
        // Every first block of every SPDY/3 client names this Adler-32 of the dictionary.
        assert_eq!((high << 16) | low, 0xe3c6_a7c2);
    }

    #[test]
    fn a_block_begins_as_rfc_1950_wants_it_with_a_dictionary() {
        let mut block = Vec::new();
        Deflater::default().deflate(&Headers::from([("streamtype", "error")]), &mut block);
        assert_eq!(block[1] & 0x20, 0x20, "FDICT is set");
        assert_eq!(block[2..6], 0xe3c6_a7c2_u32.to_be_bytes());
        assert!(block.ends_with(&[0, 0, 0xff, 0xff]), "it ends in an empty stored block: a sync flush");
    }

    #[test]
    fn a_bomb_is_refused_while_it_inflates() {
        let mut block = Vec::new();
        Deflater::default().deflate(&Headers::from([("a", "x".repeat(10_000_000).as_str())]), &mut block);
        assert!(block.len() < 100_000, "{} bytes", block.len());
        let refused = Inflater::default().inflate(&block, 65536);
        assert_eq!(refused, Err(HeadersError::TooLarge { limit_bytes: 65536 }));
    }

    #[test]
    fn a_count_that_lies_takes_no_memory() {
        assert_eq!(parse(&[0xff, 0xff, 0xff, 0xff]), Err(HeadersError::Cut));
        assert_eq!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 1]), Err(HeadersError::Cut));
    }

    proptest! {
        #[test]
        fn what_is_deflated_inflates_block_after_block(
            blocks in prop::collection::vec(prop::collection::vec(("[a-z-]{1,12}", ".{0,300}"), 0..8), 1..8)
        ) {
            let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
            for fields in blocks {
                let headers = Headers(fields);
                let mut block = Vec::new();
                deflater.deflate(&headers, &mut block);
                prop_assert_eq!(inflater.inflate(&block, 1 << 20), Ok(headers));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(block in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Inflater::default().inflate(&block, 1000);
            let _ = parse(&block);
        }
    }
}
