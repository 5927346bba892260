//! What a pull is measured against: all layers downloaded from a plain HTTP registry and inflated into one file each, on all
//! cores, with nothing checked and nothing made of them. `floor gunzip|zlib HOST:PORT/REPOSITORY DIRECTORY DIGEST...` prints
//! milliseconds. `gunzip` inflates as who has nothing but Debian does, a process for each layer; `zlib` as podling does, so
//! that only what podling does beside it is left.
//!
//! `cargo xtask bench --images` runs it, in a release build, beside the pulls that it measures.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const BUFFER_BYTES: usize = 256 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, repository, directory, digests @ ..] = arguments.as_slice() else {
        eprintln!("usage: floor gunzip|zlib HOST:PORT/REPOSITORY DIRECTORY DIGEST...");
        return ExitCode::from(2);
    };
    let inflate = match kind.as_str() {
        "gunzip" => by_gunzip,
        _ => by_zlib,
    };
    let (address, name) = repository.split_once('/').expect("a repository");
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = File::create(Path::new(directory).join(digest.replace(':', "-")));
                    let fetched = open(address, name, digest).and_then(|layer| inflate(layer, file?));
                    fetched.expect("the layer is fetched");
                }
            });
        }
    });
    println!("{:.3}", begun.elapsed().as_secs_f64() * 1e3);
    ExitCode::SUCCESS
}

type Layer = io::Take<BufReader<TcpStream>>;

/// Asks for a layer.
fn open(address: &str, name: &str, digest: &str) -> io::Result<Layer> {
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
            None => return Ok(reader.take(length)),
        }
    }
}

fn by_zlib(layer: Layer, mut file: File) -> io::Result<()> {
    let mut inflated = flate2::bufread::GzDecoder::new(layer);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match inflated.read(&mut buffer)? {
            0 => return Ok(()),
            read => file.write_all(&buffer[..read])?,
        }
    }
}

fn by_gunzip(mut layer: Layer, file: File) -> io::Result<()> {
    let mut gunzip = Command::new("gunzip").arg("--stdout").stdin(Stdio::piped()).stdout(file).spawn()?;
    if let Some(mut input) = gunzip.stdin.take() {
        io::copy(&mut layer, &mut input)?;
    }
    let status = gunzip.wait()?;
    status.success().then_some(()).ok_or_else(|| io::Error::other(format!("gunzip: {status}")))
}
