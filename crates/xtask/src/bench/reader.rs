//! Reads regular files below a directory, up to a number of bytes, twice; prints how many bytes there were and what each time
//! took. Compiled by `read` into a static program that runs in a container of any image, so it knows only the standard
//! library.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let most: u64 = arguments[1].parse().expect("a number of bytes");
    let (bytes, first_ms) = read(&arguments[0], most);
    let (_, again_ms) = read(&arguments[0], most);
    println!("read {bytes} {first_ms:.3} {again_ms:.3}");
}

fn read(directory: &str, most: u64) -> (u64, f64) {
    let begun = Instant::now();
    let mut waiting = vec![PathBuf::from(directory)];
    let mut buffer = vec![0; 128 * 1024];
    let mut bytes = 0;
    while let Some(directory) = waiting.pop() {
        let mut entries: Vec<_> = fs::read_dir(&directory).expect("a directory").flatten().collect();
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                bytes += read_file(&entry.path(), &mut buffer);
            }
            if bytes >= most {
                return (bytes, begun.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    (bytes, begun.elapsed().as_secs_f64() * 1e3)
}

fn read_file(path: &Path, buffer: &mut [u8]) -> u64 {
    let mut file = File::open(path).expect("a file");
    let mut bytes = 0;
    loop {
        match file.read(buffer).expect("contents") {
            0 => return bytes,
            read => bytes += read as u64,
        }
    }
}
