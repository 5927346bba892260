//! The built-in image: podling's own toolbox, so that examples and tests run without any registry.
//!
//! It goes the way of every other image (an archive in memory, digests, a layer) and is made once per store and toolbox.
//! Afterwards a fingerprint tells in microseconds that it is there.

use std::io::{self, Cursor};
use std::sync::atomic::AtomicBool;

use oci_spec::image::{Arch, Os};
use serde_json::json;

use crate::commit::{Config, NewImage, NewName};
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::{self, Expected, Work};
use crate::progress::Silent;
use crate::record::Image;
use crate::reference::Reference;
use crate::staging::Session;
use crate::store::Images;

/// What manifests call the built-in image.
pub const BUILTIN_NAME: &str = "podling/toolbox";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";
const DIRECTORIES: [(&str, u32); 7] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
];

impl Images {
    /// Whether `reference` is the built-in image, which is never pulled.
    pub fn is_builtin(reference: &Reference) -> bool {
        reference.registry() == "docker.io"
            && reference.repository() == BUILTIN_NAME
            && reference.tag() == Some("latest")
            && reference.digest().is_none()
    }

    /// The built-in image, if it is in the store already: the usual case, for callers that must not wait.
    pub fn find_builtin(&self, program: &[u8], applets: &[&str]) -> Result<Option<Image>, Error> {
        let built_from = format!("{:016x}", fingerprint(program, applets));
        self.builtin_made_from(&Reference::parse(BUILTIN_NAME)?, &built_from)
    }

    /// Makes sure that the built-in image is in the store: `program` as `/bin/toolbox`, and links to it called `applets`.
    pub fn ensure_builtin(&self, program: &[u8], applets: &[&str]) -> Result<Image, Error> {
        let reference = Reference::parse(BUILTIN_NAME)?;
        let built_from = format!("{:016x}", fingerprint(program, applets));
        if let Some(image) = self.builtin_made_from(&reference, &built_from)? {
            return Ok(image);
        }
        let session = Session::begin(self)?;
        let archive = archive(program, applets).map_err(Error::io("build the archive of", BUILTIN_NAME))?;
        let diff_id = Digest::of(&archive);
        let config = json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": Arch::default().to_string(),
            "os": Os::Linux.to_string(),
            "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/toolbox"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [diff_id.as_str()]},
        });
        let config = Config::parse(BUILTIN_NAME, config.to_string().into_bytes(), None)?;
        let stop = AtomicBool::new(false);
        let work = Work { session: &session, progress: &Silent, stop: &stop };
        let expected = Expected { diff_id, blob: None, blob_bytes: Some(archive.len() as u64) };
        let (_pin, record) = layer::ensure(&work, &expected, || Ok(Cursor::new(archive)))?;
        let name = NewName { built_from: Some(built_from.clone()), ..NewName::plain(reference.clone()) };
        let former = self.read_ref(&reference.key())?.map(|named| named.image);
        let new = NewImage { config: &config, layers: &[record], manifest: None, names: vec![name] };
        let _hold = self.commit_image(&session, new)?;
        if let Some(former) = former.filter(|former| *former != config.id) {
            // An older toolbox that still runs somewhere stays until its last user is gone and a later one removes it.
            let removed = self.remove_if_unneeded(&session, &former)?;
            tracing::debug!(%former, removed, "the built-in image is replaced");
        }
        let made = self.builtin_made_from(&reference, &built_from)?;
        made.ok_or_else(|| Error::NotFound { name: BUILTIN_NAME.to_owned(), store: self.root().to_owned() })
    }

    fn builtin_made_from(&self, reference: &Reference, built_from: &str) -> Result<Option<Image>, Error> {
        match self.read_ref(&reference.key())? {
            Some(named) if named.built_from.as_deref() == Some(built_from) => {
                Ok(self.read_image(&named.image)?.map(|record| self.image(record, Some(&named))))
            }
            _ => Ok(None),
        }
    }
}

/// Not cryptographic: it compares our own bytes with our own bytes, within the start-up budget of `podling run`.
fn fingerprint(program: &[u8], applets: &[&str]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| (state.rotate_left(23) ^ word).wrapping_mul(PRIME);
    // Four lanes, so that the multiplications overlap.
    let mut lanes = [1u64, 2, 3, 4];
    let mut blocks = program.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = mix(*lane, u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
    }
    let rest = blocks
        .remainder()
        .iter()
        .chain(applets.iter().flat_map(|applet| applet.as_bytes().iter().chain(b"\n")));
    let tail = rest.fold(program.len() as u64, |state, byte| mix(state, u64::from(*byte)));
    lanes.into_iter().fold(tail, mix)
}

fn archive(program: &[u8], applets: &[&str]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::with_capacity(program.len() + 64 * 1024));
    let header = |kind, mode, size: usize| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header
    };
    for (name, mode) in DIRECTORIES {
        tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), name, io::empty())?;
    }
    let files = [
        ("bin/toolbox", 0o755, program),
        ("etc/passwd", 0o644, PASSWD.as_bytes()),
        ("etc/group", 0o644, GROUP.as_bytes()),
    ];
    for (name, mode, contents) in files {
        tar.append_data(&mut header(tar::EntryType::Regular, mode, contents.len()), name, contents)?;
    }
    for applet in applets.iter().filter(|applet| **applet != "toolbox") {
        tar.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), format!("bin/{applet}"), "toolbox")?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_and_applet_counts() {
        let program: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let base = fingerprint(&program, &["sleep"]);
        for index in 0..program.len() {
            let mut other = program.clone();
            other[index] ^= 1;
            assert_ne!(fingerprint(&other, &["sleep"]), base, "byte {index}");
        }
        assert_ne!(fingerprint(&program, &["sleep", "env"]), base);
        assert_ne!(fingerprint(&program[..999], &["sleep"]), base);
    }

    #[test]
    fn only_the_plain_name_is_built_in() {
        let is = |text: &str| Images::is_builtin(&Reference::parse(text).unwrap());
        assert!(is("podling/toolbox") && is("docker.io/podling/toolbox:latest"));
        assert!(!is("podling/toolbox:1") && !is("quay.io/podling/toolbox") && !is("toolbox"));
    }
}
