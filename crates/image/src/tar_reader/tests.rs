//! The `tar` crate and tar(1) write, our reader must read the same; and what a vandal writes must fail.

use super::*;
use std::process::Command;

impl Source for &[u8] {}

fn entries(bytes: &[u8]) -> io::Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = TarReader::new(bytes);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut payload = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match reader.read_payload(&mut buffer)? {
                0 => break,
                read => payload.extend_from_slice(&buffer[..read]),
            }
        }
        all.push((entry, payload));
    }
    Ok(all)
}

fn written(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    builder.into_inner().unwrap()
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o4755);
    header.set_uid(1000);
    header.set_gid(3_000_000_000);
    header.set_mtime(1_700_000_000);
    header
}

#[test]
fn long_names_links_and_numbers_are_read_as_the_tar_crate_wrote_them() {
    let long = "d/".repeat(150) + "name";
    let bytes = written(|builder| {
        builder.append_data(&mut header(tar::EntryType::Regular, 700), &long, &[7u8; 700][..]).unwrap();
        builder.append_link(&mut header(tar::EntryType::Symlink, 0), "s", "t/".repeat(80)).unwrap();
    });
    let read = entries(&bytes).unwrap();
    assert_eq!(read.len(), 2);
    let (file, payload) = &read[0];
    assert_eq!((file.path.as_slice(), file.kind), (long.as_bytes(), Kind::Regular));
    assert_eq!(
        (file.mode, file.uid, file.gid, file.mtime),
        (0o4755, 1000, 3_000_000_000, (1_700_000_000, 0))
    );
    assert_eq!(payload, &[7; 700]);
    assert_eq!(read[1].0.link, "t/".repeat(80).into_bytes());
}

#[test]
fn pax_attributes_with_newlines_survive() {
    let bytes = written(|builder| {
        builder
            .append_pax_extensions([
                ("SCHILY.xattr.security.capability", &b"\x01\n=\n"[..]),
                ("mtime", b"5.25"),
            ])
            .unwrap();
        builder.append_data(&mut header(tar::EntryType::Regular, 0), "ping", io::empty()).unwrap();
    });
    let read = entries(&bytes).unwrap();
    assert_eq!(read[0].0.xattrs, [(b"security.capability".to_vec(), b"\x01\n=\n".to_vec())]);
    assert_eq!(read[0].0.mtime, (5, 250_000_000));
}

#[test]
fn sparse_files_of_every_gnu_format_are_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holes");
    {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(3 << 20).unwrap();
        for piece in 0..30u64 {
            file.write_all_at(&[piece as u8 + 1; 4096], piece * 65536).unwrap();
        }
    }
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let output = Command::new("tar")
            .arg("-C")
            .arg(folder.path())
            .args(format)
            .args(["-S", "-cf", "-", "holes"])
            .output()
            .unwrap();
        assert!(output.status.success());
        let read = entries(&output.stdout).unwrap();
        let (entry, payload) = &read[0];
        assert_eq!((entry.path.as_slice(), entry.size_bytes), (&b"holes"[..], 3 << 20), "{format:?}");
        let pieces: Vec<_> = entry.sparse.clone().unwrap().into_iter().filter(|piece| piece.1 > 0).collect();
        assert_eq!(pieces, (0..30).map(|piece| (piece * 65536, 4096)).collect::<Vec<_>>(), "{format:?}");
        assert_eq!(payload.len(), 30 * 4096);
        assert_eq!(payload[4096], 2);
    }
}

#[test]
fn every_cut_and_many_flips_fail_or_read_on_but_never_panic() {
    let bytes = written(|builder| {
        builder.append_pax_extensions([("path", &b"somewhere/else"[..])]).unwrap();
        builder
            .append_data(&mut header(tar::EntryType::Regular, 600), "x".repeat(120), &[1u8; 600][..])
            .unwrap();
        builder.append_link(&mut header(tar::EntryType::Link, 0), "b", "a").unwrap();
    });
    let whole = entries(&bytes).unwrap().len();
    for cut in 1..bytes.len() {
        if let Ok(read) = entries(&bytes[..cut]) {
            assert!(read.len() < whole || cut >= bytes.len() - 1024, "cut at {cut}");
        }
    }
    // A third of the bits, each byte hit: enough to wander into every check.
    for bit in (0..bytes.len() * 8).step_by(7) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = entries(&flipped);
    }
}

#[test]
fn endless_names_and_lying_sizes_are_refused_without_memory() {
    let mut block = *header(tar::EntryType::GNULongName, 5 << 20).as_bytes();
    block[..4].copy_from_slice(b"././");
    let mut long = tar::Header::from_byte_slice(&block).clone();
    long.set_cksum();
    let error = entries(&[&long.as_bytes()[..], &vec![b'a'; 6 << 20]].concat()).unwrap_err();
    assert!(error.to_string().contains("4 MiB"), "{error}");

    let mut huge = header(tar::EntryType::Regular, u64::MAX);
    huge.set_cksum();
    assert!(entries(huge.as_bytes()).is_err());
}
