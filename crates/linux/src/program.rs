//! The running program's own memory.

use std::io;

unsafe extern "C" {
    /// Where the program's first segment begins; made by the linker.
    static __executable_start: u8;
    /// Where its code ends; made by the linker.
    static etext: u8;
}

/// Lets go of free heap, and of the program's code and constants until they are used again.
///
/// A page fault maps sixteen pages of a file at once, so a program that once did much keeps nearly all of itself
/// mapped, and waits with it. The pages stay in the page cache: coming back costs a few minor faults.
pub fn release_memory() -> io::Result<()> {
    // SAFETY: malloc_trim returns only memory that is free.
    unsafe { libc::malloc_trim(0) };
    const PAGE_BYTES: usize = 4096;
    let start = &raw const __executable_start as usize & !(PAGE_BYTES - 1);
    let end = &raw const etext as usize & !(PAGE_BYTES - 1);
    // SAFETY: from the first segment to the end of the code everything is a private, read-only mapping of the
    // program's file; what is dropped is read from there again.
    let failed = unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_goes_on() {
        super::release_memory().unwrap();
        assert_eq!("still here".len(), 10);
    }
}
