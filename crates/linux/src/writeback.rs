//! Beginning to write a file to the disk while more of it is still to come (sync_file_range(2)).
//!
//! It promises nothing: only fsync(2) says that contents are on the disk. But then most of them are, and the disk was busy
//! while the processors were.

use std::os::fd::{AsFd, AsRawFd};

/// Has the kernel begin to write `bytes` from `offset_bytes` on, without waiting for it. Where that is not to be had (not on
/// every file system) nothing is lost, so nothing is told.
pub fn begin(file: impl AsFd, offset_bytes: u64, bytes: u64) {
    let (Ok(offset), Ok(bytes)) = (i64::try_from(offset_bytes), i64::try_from(bytes)) else { return };
    // SAFETY: the descriptor is borrowed for the call's duration; the other arguments are plain numbers.
    let _ = unsafe {
        libc::sync_file_range(file.as_fd().as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay_what_they_are_and_what_cannot_be_asked_is_passed_over() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"contents").unwrap();
        begin(&file, 0, 8);
        begin(&file, u64::MAX, 1);
        begin(std::io::stdin(), 0, 1);
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(std::io::read_to_string(file).unwrap(), "contents");
    }
}
