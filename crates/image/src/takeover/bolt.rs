//! Reads a bbolt database, as containerd keeps its names in (go.etcd.io/bbolt, `page.go`, `bucket.go`, `db.go`).
//!
//! A tree of pages from one of two heads, whichever is newer and whole. Everything is little-endian here, where both run.
//! The file may be written meanwhile: pages that the head leads to are never changed in place while they are in use, and
//! nonsense is an error, never a panic or an endless walk.

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const HEADER_BYTES: usize = 16;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const BUCKET: u32 = 1;

/// A database, all of it.
pub(super) struct Bolt<'a> {
    bytes: &'a [u8],
    page_bytes: usize,
    root: u64,
}

/// What a key leads to.
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Bucket(Bucket<'a>),
}

/// A page of its own, or one within its parent's value.
#[derive(Clone, Copy)]
pub(super) enum Bucket<'a> {
    Page(u64),
    Inline(&'a [u8]),
}

impl<'a> Bolt<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let first = head(bytes.get(HEADER_BYTES..)?);
        // The second head is one page on, whose size a broken first head does not tell.
        let sizes =
            first.map_or_else(|| (12..17).map(|bits| 1 << bits).collect(), |head| vec![head.page_bytes]);
        let second = sizes.into_iter().find_map(|size: usize| head(bytes.get(size + HEADER_BYTES..)?));
        let newest = [first, second].into_iter().flatten().max_by_key(|head| head.transaction)?;
        Some(Self { bytes, page_bytes: newest.page_bytes, root: newest.root })
    }

    /// The bucket below the root that this path of names leads to.
    pub(super) fn bucket(&self, path: &[&str]) -> Option<Bucket<'a>> {
        let mut bucket = Bucket::Page(self.root);
        for name in path {
            let entries = self.entries(bucket)?;
            let found = entries.into_iter().find(|(key, _)| *key == name.as_bytes());
            let Some((_, Value::Bucket(next))) = found else { return None };
            bucket = next;
        }
        Some(bucket)
    }

    /// All keys of a bucket, in order. `None`: the file is damaged.
    pub(super) fn entries(&self, bucket: Bucket<'a>) -> Option<Vec<(&'a [u8], Value<'a>)>> {
        let mut found = Vec::new();
        // In a tree no page is met twice.
        let mut pages = self.bytes.len() / self.page_bytes + 1;
        match bucket {
            Bucket::Page(id) => self.walk(self.page(id)?, &mut found, &mut pages)?,
            Bucket::Inline(page) => self.walk(page, &mut found, &mut pages)?,
        }
        Some(found)
    }

    fn page(&self, id: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(id).ok()?.checked_mul(self.page_bytes)?;
        let overflow = usize::try_from(u32_at(self.bytes, start.checked_add(12)?)?).ok()?;
        let length = overflow.checked_add(1)?.checked_mul(self.page_bytes)?;
        self.bytes.get(start..start.checked_add(length)?)
    }

    fn walk(&self, page: &'a [u8], found: &mut Vec<(&'a [u8], Value<'a>)>, pages: &mut usize) -> Option<()> {
        let flags = u16::from_le_bytes(page.get(8..10)?.try_into().ok()?);
        let count = usize::from(u16::from_le_bytes(page.get(10..12)?.try_into().ok()?));
        *pages = pages.checked_sub(1)?;
        for index in 0..count {
            let element = HEADER_BYTES + index * 16;
            match flags {
                BRANCH => self.walk(self.page(u64_at(page, element + 8)?)?, found, pages)?,
                LEAF => found.push(leaf(page, element)?),
                _ => return None,
            }
        }
        Some(())
    }
}

fn leaf(page: &[u8], element: usize) -> Option<(&[u8], Value<'_>)> {
    let number = |at: usize| Some(u32_at(page, element + at)? as usize);
    let key_at = element.checked_add(number(4)?)?;
    let value_at = key_at.checked_add(number(8)?)?;
    let key = page.get(key_at..value_at)?;
    let value = page.get(value_at..value_at.checked_add(number(12)?)?)?;
    if u32_at(page, element)? & BUCKET == 0 {
        return Some((key, Value::Bytes(value)));
    }
    let bucket = match u64_at(value, 0)? {
        0 => Bucket::Inline(value.get(16..)?),
        id => Bucket::Page(id),
    };
    Some((key, Value::Bucket(bucket)))
}

#[derive(Clone, Copy)]
struct Head {
    page_bytes: usize,
    root: u64,
    transaction: u64,
}

/// A head whose checksum is right.
fn head(bytes: &[u8]) -> Option<Head> {
    let is_whole = u64_at(bytes, 56)? == fnv1a(bytes.get(..56)?);
    if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != VERSION || !is_whole {
        return None;
    }
    let page_bytes =
        usize::try_from(u32_at(bytes, 8)?).ok().filter(|bytes| (4096..=1 << 16).contains(bytes))?;
    Some(Head { page_bytes, root: u64_at(bytes, 16)?, transaction: u64_at(bytes, 48)? })
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
