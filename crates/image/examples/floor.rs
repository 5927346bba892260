//! What a pull cannot be faster than: all layers downloaded from a plain HTTP registry and inflated into one file each, on all
//! cores, with nothing checked and nothing made of them. `floor HOST:PORT/REPOSITORY DIRECTORY DIGEST...` prints milliseconds.
//!
//! `cargo xtask bench --images` runs it, in a release build, beside the pulls that it measures.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const BUFFER_BYTES: usize = 256 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repository, directory, digests @ ..] = arguments.as_slice() else {
        eprintln!("usage: floor HOST:PORT/REPOSITORY DIRECTORY DIGEST...");
        return ExitCode::from(2);
    };
    let (address, name) = repository.split_once('/').expect("a repository");
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    fetch(address, name, digest, Path::new(directory)).expect("the layer is fetched");
                }
            });
        }
    });
    println!("{:.3}", begun.elapsed().as_secs_f64() * 1e3);
    ExitCode::SUCCESS
}

fn fetch(address: &str, name: &str, digest: &str, directory: &Path) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /v2/{name}/blobs/{digest} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    assert!(status.contains(" 200 "), "{status}");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().expect("a length");
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut inflated = flate2::bufread::GzDecoder::new(reader.take(length));
    let mut file = File::create(directory.join(digest.replace(':', "-")))?;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match inflated.read(&mut buffer)? {
            0 => return Ok(()),
            read => file.write_all(&buffer[..read])?,
        }
    }
}
