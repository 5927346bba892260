//! hostPath: a path of the node, checked against its `type` and made where the type says so.
//!
//! Symbolic links are followed, as in Kubernetes: the path is the administrator's, not a container's.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Component, Path};

use model::pod::HostPathType;

/// Why a hostPath cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostPathError {
    /// Not an absolute path, or one with `..`.
    #[error("a hostPath must be absolute and without `..`")]
    Malformed,
    /// Nothing is there.
    #[error("it does not exist; the volume's type `{}` does not create it", type_name(*.0))]
    Missing(HostPathType),
    /// Something else is there.
    #[error("it is not what the volume's type `{}` asks for", type_name(*.0))]
    WrongType(HostPathType),
    /// It cannot be looked at or made.
    #[error("it cannot be looked at or made")]
    Io(#[source] std::io::Error),
}

/// Checks the path and makes it where its type says so. Returns whether it is anything but a directory.
pub(crate) fn prepare(path: &Path, kind: HostPathType) -> Result<bool, HostPathError> {
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(HostPathError::Malformed);
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create(path, kind)?;
            fs::metadata(path).map_err(HostPathError::Io)?
        }
        Err(error) => return Err(HostPathError::Io(error)),
    };
    let found = metadata.file_type();
    let fits = match kind {
        HostPathType::Unset => true,
        HostPathType::Directory | HostPathType::DirectoryOrCreate => found.is_dir(),
        HostPathType::File | HostPathType::FileOrCreate => found.is_file(),
        HostPathType::Socket => found.is_socket(),
        HostPathType::CharDevice => found.is_char_device(),
        HostPathType::BlockDevice => found.is_block_device(),
    };
    if fits { Ok(!found.is_dir()) } else { Err(HostPathError::WrongType(kind)) }
}

/// Makes what is missing. Without a type Kubernetes checks nothing and its container runtimes make a
/// directory, so that is what happens here too. The parents of a file are never made.
fn create(path: &Path, kind: HostPathType) -> Result<(), HostPathError> {
    match kind {
        HostPathType::Unset | HostPathType::DirectoryOrCreate => {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(HostPathError::Io)
        }
        HostPathType::FileOrCreate => OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)
            .map(drop)
            .map_err(HostPathError::Io),
        _ => Err(HostPathError::Missing(kind)),
    }
}

/// The type as a manifest writes it.
fn type_name(kind: HostPathType) -> &'static str {
    match kind {
        HostPathType::Unset => "",
        HostPathType::DirectoryOrCreate => "DirectoryOrCreate",
        HostPathType::Directory => "Directory",
        HostPathType::FileOrCreate => "FileOrCreate",
        HostPathType::File => "File",
        HostPathType::Socket => "Socket",
        HostPathType::CharDevice => "CharDevice",
        HostPathType::BlockDevice => "BlockDevice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_accepts_its_own_and_refuses_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let null = Path::new("/dev/null");
        let cases = [
            (directory.path(), HostPathType::Directory, Some(false)),
            (directory.path(), HostPathType::File, None),
            (&file, HostPathType::File, Some(true)),
            (&file, HostPathType::DirectoryOrCreate, None),
            (&socket, HostPathType::Socket, Some(true)),
            (&socket, HostPathType::File, None),
            (null, HostPathType::CharDevice, Some(true)),
            (null, HostPathType::BlockDevice, None),
            (null, HostPathType::Unset, Some(true)),
        ];
        for (path, kind, expected) in cases {
            match (prepare(path, kind), expected) {
                (Ok(is_file), Some(expected)) => assert_eq!(is_file, expected, "{path:?} {kind:?}"),
                (Err(HostPathError::WrongType(_)), None) => {}
                (result, _) => panic!("{path:?} {kind:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn only_the_creating_types_create() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("a/b");
        for kind in [HostPathType::Directory, HostPathType::File, HostPathType::Socket] {
            assert!(matches!(prepare(&missing, kind), Err(HostPathError::Missing(_))));
        }
        assert!(prepare(&missing, HostPathType::FileOrCreate).is_err(), "parents of a file are not made");
        assert!(!prepare(&missing, HostPathType::DirectoryOrCreate).unwrap());
        assert!(prepare(&directory.path().join("c"), HostPathType::FileOrCreate).unwrap());
    }

    #[test]
    fn relative_and_backward_paths_are_refused() {
        for path in ["etc", "/etc/../root"] {
            assert!(matches!(prepare(Path::new(path), HostPathType::Unset), Err(HostPathError::Malformed)));
        }
    }
}
