//! A source whose bytes are listened to on their way: read where they lie, each heard once.

use std::io::{self, BufRead, Read};

/// Who hears what comes.
pub(super) trait Listener {
    /// The next bytes, in their order; none at all is the end. An error stands for the source's.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<()>;
}

pub(super) struct Overheard<S, L> {
    source: S,
    listener: L,
    /// Of the source's buffer: what was heard and not yet taken.
    ahead_bytes: usize,
    has_failed: bool,
}

impl<S: BufRead, L: Listener> Overheard<S, L> {
    pub(super) fn new(source: S, listener: L) -> Self {
        Self { source, listener, ahead_bytes: 0, has_failed: false }
    }

    /// Lets go of the source.
    pub(super) fn into_listener(self) -> L {
        self.listener
    }

    /// The source or the listener failed, rather than what was made of the bytes.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    fn read_on(&mut self) -> io::Result<()> {
        let bytes = self.source.fill_buf()?;
        self.listener.hear(bytes)?;
        self.ahead_bytes = bytes.len();
        Ok(())
    }
}

impl<S: BufRead, L: Listener> BufRead for Overheard<S, L> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.ahead_bytes == 0
            && let Err(error) = self.read_on()
        {
            self.has_failed = true;
            return Err(error);
        }
        match self.ahead_bytes {
            0 => Ok(&[]),
            ahead => Ok(&self.source.fill_buf()?[..ahead]),
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.ahead_bytes -= bytes;
        self.source.consume(bytes);
    }
}

impl<S: BufRead, L: Listener> Read for Overheard<S, L> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}
