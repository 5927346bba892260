//! A streaming reader of hostile tar archives: ustar, GNU (long names, sparse files, base 256) and PAX.
//!
//! Own code rather than the `tar` crate, which reads a long name or PAX header of any size into memory (one gigabyte of
//! zeroes gzips to one megabyte) and splits PAX records at newlines, which breaks binary attributes such as
//! security.capability. That crate still writes our archives and serves as the oracle in tests.
//!
//! The reader interprets; it never touches a file system and knows no layers.

use std::io::{self, BufRead, Read};

use crate::tar_header::{self, BLOCK_BYTES, Block, GnuSparse, Header, damaged, decimal};

/// Names, attributes and sparse maps of one entry together.
const METADATA_MAX_BYTES: u64 = 4 << 20;

/// Where a tar stream comes from. Files skip by seeking, streams by reading.
pub(crate) trait Source: Read {
    fn skip(&mut self, mut bytes: u64) -> io::Result<()> {
        let mut buffer = [0; 32 * 1024];
        while bytes > 0 {
            let wanted = bytes.min(buffer.len() as u64) as usize;
            match self.read(&mut buffer[..wanted])? {
                0 => return Err(cut_off()),
                read => bytes -= read as u64,
            }
        }
        Ok(())
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Regular,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    Unknown(u8),
}

/// One entry, all extensions applied. Paths are as written: checking them is the reader's user's duty.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) device: (u64, u64),
    /// The file's length, holes included.
    pub(crate) size_bytes: u64,
    /// The pieces of a sparse file that the archive holds, as (offset, length).
    pub(crate) sparse: Option<Vec<(u64, u64)>>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A sparse file's length, and the pieces of it that the archive holds.
type SparseMap = (u64, Vec<(u64, u64)>);

pub(crate) struct TarReader<S> {
    source: S,
    /// Bytes consumed so far: the offset in the archive.
    position: u64,
    /// Payload of the current entry not yet read, and the padding after it.
    payload_left: u64,
    padding: u64,
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the tar archive is cut off")
}

/// What extension headers say about the entry that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Vec<u8>,
}

impl<S: Source> TarReader<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, position: 0, payload_left: 0, padding: 0 }
    }

    /// The offset of the next unread byte.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn into_source(self) -> S {
        self.source
    }

    /// The next entry, or `None` at the end. Payload that was not read is skipped.
    pub(crate) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        let mut metadata_left = METADATA_MAX_BYTES;
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else { return Ok(None) };
            let store = match header.kind {
                b'L' => extensions.path.get_or_insert_default(),
                b'K' => extensions.link.get_or_insert_default(),
                b'x' | b'X' => &mut extensions.pax,
                // Global PAX headers carry comments (git) and defaults that no image writer uses.
                b'g' => {
                    self.begin_payload(header.size_bytes)?;
                    continue;
                }
                _ => return self.finish_entry(header, &extensions).map(Some),
            };
            if !store.is_empty() {
                return Err(damaged("two extension headers for one entry"));
            }
            metadata_left = metadata_left
                .checked_sub(header.size_bytes)
                .ok_or_else(|| damaged("extension headers of more than 4 MiB"))?;
            self.begin_payload(header.size_bytes)?;
            store.resize(header.size_bytes as usize, 0);
            self.read_exact_payload(store)?;
            if header.kind != b'x' && header.kind != b'X' {
                let end = store.iter().position(|byte| *byte == 0).unwrap_or(store.len());
                store.truncate(end);
            }
        }
    }

    /// Reads stored payload of the current entry; 0 at its end. A cut-off archive is an error.
    pub(crate) fn read_payload(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let wanted = self.payload_left.min(out.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut out[..wanted])?;
        if read == 0 {
            return Err(cut_off());
        }
        self.position += read as u64;
        self.payload_left -= read as u64;
        Ok(read)
    }

    /// Stored payload of the current entry as it lies in the source's buffer, at most `most_bytes` of it and at least
    /// one, to be followed by `consume_payload`. Empty at the payload's end. A cut-off archive is an error.
    pub(crate) fn payload(&mut self, most_bytes: u64) -> io::Result<&[u8]>
    where
        S: BufRead,
    {
        let most_bytes = self.payload_left.min(most_bytes);
        if most_bytes == 0 {
            return Ok(&[]);
        }
        let bytes = self.source.fill_buf()?;
        if bytes.is_empty() {
            return Err(cut_off());
        }
        Ok(&bytes[..usize::try_from(most_bytes).map_or(bytes.len(), |most| most.min(bytes.len()))])
    }

    /// So many bytes of what `payload` gave are done with.
    pub(crate) fn consume_payload(&mut self, bytes: usize)
    where
        S: BufRead,
    {
        self.source.consume(bytes);
        self.position += bytes as u64;
        self.payload_left -= bytes as u64;
    }

    fn read_exact_payload(&mut self, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            match self.read_payload(out)? {
                0 => return Err(damaged("an entry is shorter than what it describes")),
                read => out = &mut out[read..],
            }
        }
        Ok(())
    }

    fn begin_payload(&mut self, size_bytes: u64) -> io::Result<()> {
        if size_bytes > i64::MAX as u64 {
            return Err(damaged("an entry larger than any file system"));
        }
        self.payload_left = size_bytes;
        self.padding = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
        Ok(())
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let rest = self.payload_left + self.padding;
        self.source.skip(rest)?;
        self.position += rest;
        (self.payload_left, self.padding) = (0, 0);
        Ok(())
    }

    fn read_block(&mut self) -> io::Result<Option<Block>> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.source.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(cut_off()),
                read => filled += read,
            }
        }
        self.position += BLOCK_BYTES as u64;
        Ok(Some(block))
    }

    fn read_header(&mut self) -> io::Result<Option<Header>> {
        match self.read_block()? {
            Some(block) => tar_header::parse(&block),
            // Most writers end with two blocks of zeroes, some do not; contents are checked by digest anyway.
            None => Ok(None),
        }
    }

    fn finish_entry(&mut self, header: Header, extensions: &Extensions) -> io::Result<Entry> {
        let kind = kind(header.kind, &header.path);
        let mut entry = Entry {
            kind,
            path: extensions.path.clone().unwrap_or(header.path),
            link: extensions.link.clone().unwrap_or(header.link),
            mode: (header.mode & 0o7777) as u32,
            uid: header.uid,
            gid: header.gid,
            mtime: (header.mtime_seconds, 0),
            device: header.device,
            size_bytes: header.size_bytes,
            sparse: None,
            xattrs: Vec::new(),
        };
        let mut pax_sparse = PaxSparse::default();
        for (key, value) in tar_header::pax_records(&extensions.pax)? {
            apply_pax(&mut entry, &mut pax_sparse, key, value)?;
        }
        // Only files have contents; a size on a link or a directory is a relic that some writers leave, as Go's reader has it.
        if !matches!(kind, Kind::Regular | Kind::Unknown(_)) {
            entry.size_bytes = 0;
        }
        let gnu_sparse = header.gnu_sparse.map(|sparse| self.read_gnu_map(sparse)).transpose()?;
        self.begin_payload(entry.size_bytes)?;
        let sparse = match gnu_sparse {
            Some(map) => Some(map),
            None => self.read_pax_map(pax_sparse, &mut entry)?,
        };
        if let Some((real_bytes, pieces)) = sparse {
            check_sparse(&pieces, real_bytes, self.payload_left)?;
            (entry.size_bytes, entry.sparse) = (real_bytes, Some(pieces));
        }
        Ok(entry)
    }

    fn read_gnu_map(&mut self, sparse: GnuSparse) -> io::Result<SparseMap> {
        let GnuSparse { real_bytes, mut pieces, mut goes_on } = sparse;
        while goes_on {
            let block = self.read_block()?.ok_or_else(cut_off)?;
            let (more, again) = tar_header::sparse_continuation(&block)?;
            pieces.extend(more);
            goes_on = again;
            if pieces.len() as u64 * 24 > METADATA_MAX_BYTES {
                return Err(damaged("a sparse map of more than 4 MiB"));
            }
        }
        Ok((real_bytes, pieces))
    }

    /// GNU's PAX sparse formats: 0.0 and 0.1 keep the map in the records, 1.0 as decimal lines before the payload.
    fn read_pax_map(&mut self, sparse: PaxSparse, entry: &mut Entry) -> io::Result<Option<SparseMap>> {
        let Some(real_bytes) = sparse.real_bytes else { return Ok(None) };
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        if !sparse.map_in_payload {
            return Ok(Some((real_bytes, pairs(&sparse.map)?)));
        }
        let stored_bytes = self.payload_left;
        let mut numbers = Vec::new();
        let mut line = Vec::new();
        let mut wanted = 1;
        let mut block = [0; BLOCK_BYTES];
        while numbers.len() < wanted {
            if stored_bytes - self.payload_left > METADATA_MAX_BYTES {
                return Err(damaged("a sparse map of more than 4 MiB"));
            }
            self.read_exact_payload(&mut block)?;
            for byte in block {
                match byte {
                    b'\n' if numbers.len() < wanted => {
                        let number =
                            decimal(&line).ok_or_else(|| damaged("a sparse map that is not decimal"))?;
                        numbers.push(number);
                        line.clear();
                        if numbers.len() == 1 {
                            wanted = number.min(METADATA_MAX_BYTES) as usize * 2 + 1;
                        }
                    }
                    _ if numbers.len() < wanted => line.push(byte),
                    _ => {}
                }
            }
        }
        Ok(Some((real_bytes, pairs(&numbers[1..])?)))
    }
}

/// The GNU.sparse.* records of one entry.
#[derive(Default)]
struct PaxSparse {
    name: Option<Vec<u8>>,
    real_bytes: Option<u64>,
    map: Vec<u64>,
    map_in_payload: bool,
}

fn apply_pax(entry: &mut Entry, sparse: &mut PaxSparse, key: &[u8], value: &[u8]) -> io::Result<()> {
    let decimal = || decimal(value).ok_or_else(|| damaged("a PAX number that is not decimal"));
    match key {
        b"path" => entry.path = value.to_vec(),
        b"linkpath" => entry.link = value.to_vec(),
        b"uid" => entry.uid = decimal()?,
        b"gid" => entry.gid = decimal()?,
        b"size" => entry.size_bytes = decimal()?,
        b"mtime" => entry.mtime = tar_header::pax_time(value).unwrap_or(entry.mtime),
        b"GNU.sparse.major" => sparse.map_in_payload = value == b"1",
        b"GNU.sparse.name" => sparse.name = Some(value.to_vec()),
        b"GNU.sparse.realsize" | b"GNU.sparse.size" => sparse.real_bytes = Some(decimal()?),
        b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => sparse.map.push(decimal()?),
        b"GNU.sparse.map" => {
            for number in value.split(|byte| *byte == b',') {
                let number = tar_header::decimal(number);
                sparse.map.push(number.ok_or_else(|| damaged("a sparse map that is not decimal"))?);
            }
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                entry.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(())
}

fn pairs(numbers: &[u64]) -> io::Result<Vec<(u64, u64)>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(damaged("a sparse map with an offset but no length"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// The pieces must follow each other within the file and make up the payload exactly.
fn check_sparse(pieces: &[(u64, u64)], real_bytes: u64, stored_bytes: u64) -> io::Result<()> {
    let mut end = 0u64;
    let mut total = 0u64;
    for (offset, length) in pieces {
        let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= real_bytes);
        end = next.ok_or_else(|| damaged("a sparse file whose pieces overlap or lie outside"))?;
        total += length;
    }
    if total != stored_bytes || real_bytes > i64::MAX as u64 {
        return Err(damaged("a sparse file whose map and size disagree"));
    }
    Ok(())
}

fn kind(flag: u8, path: &[u8]) -> Kind {
    match flag {
        // Before ustar a directory was a file whose name ends with a slash.
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::Regular,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => Kind::Unknown(other),
    }
}

#[cfg(test)]
mod tests;
