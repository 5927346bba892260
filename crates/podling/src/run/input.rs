//! The manifest: files and standard input become Pods and the objects they need, or every reason why not.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use model::manifest::{self, Manifest};
use model::pod::{KeyedObject, Pod};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::failure::Failure;

/// No manifest is larger: it would be a mistake, or an attack on memory. etcd's limit of an object is 1.5 MiB.
const LARGEST_BYTES: u64 = 64 << 20;

/// What a run is made of.
#[derive(Debug)]
pub(super) struct Input {
    /// The Pods, with UIDs.
    pub(super) pods: Vec<Pod>,
    /// ConfigMaps and Secrets.
    pub(super) objects: Vec<KeyedObject>,
    /// What is accepted and yet worth a word.
    pub(super) warnings: Vec<String>,
}

/// Reads all files; - is standard input. All problems of all files are told at once.
pub(super) fn read(files: &[impl AsRef<Path>]) -> Result<Input, Failure> {
    let mut input = Input { pods: Vec::new(), objects: Vec::new(), warnings: Vec::new() };
    let mut problems = Vec::new();
    let mut count = 0;
    for file in files {
        let (name, bytes) = read_one(file.as_ref())?;
        match manifest::parse(&name, &bytes) {
            Ok(Manifest { pods, objects, warnings, .. }) => {
                input.pods.extend(pods);
                input.objects.extend(objects);
                input.warnings.extend(warnings.iter().map(ToString::to_string));
            }
            Err(found) => {
                count += found.count();
                problems.extend(found.iter().cloned());
            }
        }
    }
    if count > 0 {
        return Err(Failure::Manifest { problems, count });
    }
    if input.pods.is_empty() {
        let names: Vec<_> = files.iter().map(|file| display_name(file.as_ref())).collect();
        return Err(Failure::NoPod { files: names.join(", ") });
    }
    refuse_duplicates(&input)?;
    for pod in &mut input.pods {
        pod.meta.uid = new_uid()?;
    }
    Ok(input)
}

fn display_name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// The name that messages use, and the bytes.
pub(crate) fn read_one(file: &Path) -> Result<(String, Vec<u8>), Failure> {
    let name = display_name(file);
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        std::io::stdin().lock().take(LARGEST_BYTES).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(LARGEST_BYTES).read_to_end(&mut bytes))
    };
    match result {
        Ok(_) => Ok((name, bytes)),
        Err(source) => Err(Failure::Read { path: name, source }),
    }
}

/// One file cannot have an object twice (the manifest refuses it); two files may.
fn refuse_duplicates(input: &Input) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    let pods = input.pods.iter().map(|pod| ("Pod".to_owned(), &pod.meta));
    let objects = input.objects.iter().map(|object| (object.kind.to_string(), &object.meta));
    for (kind, meta) in pods.chain(objects) {
        let what = format!("{kind} {}/{}", meta.namespace, meta.name);
        if !seen.insert(what.clone()) {
            return Err(Failure::Duplicate { what });
        }
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4), as Kubernetes gives to every object.
fn new_uid() -> Result<String, Failure> {
    let mut bytes = random::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Failure::io("draw a random number from", "/dev/urandom")(errno.into()))?;
    Ok(bytes)
}

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = new_uid().unwrap();
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(matches!(uid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(uid, new_uid().unwrap());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(&["/nonexistent/pod.yaml"]).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /nonexistent/pod.yaml");
    }
}
