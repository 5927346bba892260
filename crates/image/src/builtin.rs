//! The built-in image: podling's own toolbox, so that examples and tests run without any registry.
//!
//! It goes the way of every other image (an archive in memory, digests, a layer) and is made once per store and toolbox.
//! Afterwards the toolbox's version tells in microseconds that it is there.

use std::io::{self, Cursor};
use std::sync::atomic::AtomicBool;

use oci_spec::image::{Arch, Os};
use serde_json::json;

use crate::commit::{Config, NewImage, NewName};
use crate::digest::Digest;
use crate::error::Error;
use crate::form::LayerForm;
use crate::layer::{self, Expected, Work};
use crate::progress::Silent;
use crate::record::Image;
use crate::reference::Reference;
use crate::staging::Session;
use crate::store::Images;

/// What the built-in image is made of.
#[derive(Debug, Clone, Copy)]
pub struct Toolbox<'a> {
    /// Differs between two that differ.
    pub version: &'a str,
    /// `/bin/toolbox`.
    pub program: &'a [u8],
    /// The names of the links to it.
    pub applets: &'a [&'a str],
}

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
    pub fn find_builtin(&self, toolbox: &Toolbox<'_>) -> Result<Option<Image>, Error> {
        self.builtin_made_from(&Reference::parse(BUILTIN_NAME)?, toolbox.version)
    }

    /// Makes sure that the built-in image is in the store.
    pub fn ensure_builtin(&self, toolbox: &Toolbox<'_>) -> Result<Image, Error> {
        let reference = Reference::parse(BUILTIN_NAME)?;
        if let Some(image) = self.builtin_made_from(&reference, toolbox.version)? {
            return Ok(image);
        }
        // A few files for the quickest start: nothing to mount, and all containers share their pages.
        let session = Session::begin(&self.clone().with_layers(LayerForm::Directory))?;
        let archive = archive(toolbox.program, toolbox.applets)
            .map_err(Error::io("build the archive of", BUILTIN_NAME))?;
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
        let name =
            NewName { built_from: Some(toolbox.version.to_owned()), ..NewName::plain(reference.clone()) };
        let former = self.read_ref(&reference.key())?.map(|named| named.image);
        let new = NewImage { config: &config, layers: &[record], manifest: None, names: vec![name] };
        let _hold = self.commit_image(&session, new)?;
        if let Some(former) = former.filter(|former| *former != config.id) {
            // An older toolbox that still runs somewhere stays until its last user is gone and a later one removes it.
            let removed = self.remove_if_unneeded(&session, &former)?;
            tracing::debug!(%former, removed, "the built-in image is replaced");
        }
        let made = self.builtin_made_from(&reference, toolbox.version)?;
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
    fn only_the_plain_name_is_built_in() {
        let is = |text: &str| Images::is_builtin(&Reference::parse(text).unwrap());
        assert!(is("podling/toolbox") && is("docker.io/podling/toolbox:latest"));
        assert!(!is("podling/toolbox:1") && !is("quay.io/podling/toolbox") && !is("toolbox"));
    }
}
