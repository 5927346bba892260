//! Applets about files: `cat`, `ls`, `stat`, `write`, `touch`, `mkdir`, `rm`, `shm-write`, `shm-read`.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::text;

/// `cat [FILE...]`
pub fn cat(arguments: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if arguments.is_empty() {
        io::copy(&mut io::stdin().lock(), &mut out)
            .map_err(|error| Failure::io("copying standard input", error))?;
    }
    for path in arguments {
        File::open(path)
            .and_then(|mut file| io::copy(&mut file, &mut out))
            .map_err(|error| Failure::io(path, error))?;
    }
    out.flush().map_err(|error| Failure::io("writing to standard output", error))
}

/// `ls [-l] [PATH...]`
pub fn ls(arguments: &[String]) -> Result<(), Failure> {
    let long = arguments.iter().any(|argument| argument == "-l");
    let mut paths: Vec<&str> = arguments.iter().map(String::as_str).filter(|path| *path != "-l").collect();
    if paths.is_empty() {
        paths.push(".");
    }
    for path in paths {
        text::print_lines(entries(Path::new(path), long).map_err(|error| Failure::io(path, error))?)?;
    }
    Ok(())
}

fn entries(path: &Path, long: bool) -> io::Result<Vec<String>> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![entry(&path.to_string_lossy(), &metadata, long)]);
    }
    let mut lines = Vec::new();
    for found in fs::read_dir(path)? {
        let found = found?;
        lines.push((found.file_name(), found.metadata()?));
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(lines.iter().map(|(name, metadata)| entry(&name.to_string_lossy(), metadata, long)).collect())
}

fn entry(name: &str, metadata: &Metadata, long: bool) -> String {
    if long { format!("{} {name}", describe(metadata)) } else { name.to_string() }
}

/// `drwxr-xr-x 0 0 4096`: type and mode, owner, group, size.
fn describe(metadata: &Metadata) -> String {
    let kind = metadata.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () => '-',
    };
    let mode = mode_text(metadata.mode());
    format!("{letter}{mode} {} {} {}", metadata.uid(), metadata.gid(), metadata.len())
}

fn mode_text(mode: u32) -> String {
    let mut text: Vec<char> =
        (0..9).map(|bit| if mode & (0o400 >> bit) != 0 { ['r', 'w', 'x'][bit % 3] } else { '-' }).collect();
    for (bit, at, letter) in [(0o4000, 2, 's'), (0o2000, 5, 's'), (0o1000, 8, 't')] {
        if mode & bit != 0 {
            text[at] = if text[at] == 'x' { letter } else { letter.to_ascii_uppercase() };
        }
    }
    text.into_iter().collect()
}

/// `stat PATH...`
pub fn stat(arguments: &[String]) -> Result<(), Failure> {
    for path in some(arguments, "path")? {
        let metadata = fs::symlink_metadata(path).map_err(|error| Failure::io(path, error))?;
        text::print_lines([format!("{} {:04o} {path}", describe(&metadata), metadata.mode() & 0o7777)])?;
    }
    Ok(())
}

/// `write [--append] FILE TEXT`
pub fn write(arguments: &[String]) -> Result<(), Failure> {
    let (append, arguments) = match arguments.split_first() {
        Some((flag, rest)) if flag == "--append" => (true, rest),
        _ => (false, arguments),
    };
    let [path, line] = arguments else { return Err(Failure::usage("needs a file and a text")) };
    write_line(Path::new(path), line, append)
}

fn write_line(path: &Path, line: &str, append: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(append).truncate(!append);
    let mut file = options.open(path).map_err(|error| Failure::io(path.display(), error))?;
    // One write, so that appended lines of several writers do not mix.
    file.write_all(format!("{line}\n").as_bytes()).map_err(|error| Failure::io(path.display(), error))
}

/// `touch FILE...`
pub fn touch(arguments: &[String]) -> Result<(), Failure> {
    for path in some(arguments, "file")? {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|file| file.set_modified(std::time::SystemTime::now()))
            .map_err(|error| Failure::io(path, error))?;
    }
    Ok(())
}

/// `mkdir PATH...`
pub fn mkdir(arguments: &[String]) -> Result<(), Failure> {
    for path in some(arguments, "path")? {
        fs::create_dir_all(path).map_err(|error| Failure::io(path, error))?;
    }
    Ok(())
}

/// `rm PATH...`
pub fn rm(arguments: &[String]) -> Result<(), Failure> {
    for path in some(arguments, "path")? {
        let directory = fs::symlink_metadata(path).map(|metadata| metadata.is_dir());
        directory
            .and_then(|directory| if directory { fs::remove_dir_all(path) } else { fs::remove_file(path) })
            .map_err(|error| Failure::io(path, error))?;
    }
    Ok(())
}

fn some<'a>(arguments: &'a [String], what: &str) -> Result<&'a [String], Failure> {
    if arguments.is_empty() { Err(Failure::usage(format!("needs a {what}"))) } else { Ok(arguments) }
}

/// `shm-write NAME TEXT`: shm_open(3) is a file in /dev/shm.
pub fn shm_write(arguments: &[String]) -> Result<(), Failure> {
    let [name, line] = arguments else { return Err(Failure::usage("needs a name and a text")) };
    write_line(&shm_path(name)?, line, false)
}

/// `shm-read NAME`
pub fn shm_read(arguments: &[String]) -> Result<(), Failure> {
    let [name] = arguments else { return Err(Failure::usage("needs a name")) };
    cat(&[shm_path(name)?.to_string_lossy().into_owned()])
}

fn shm_path(name: &str) -> Result<PathBuf, Failure> {
    let name = name.strip_prefix('/').unwrap_or(name);
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(Failure::usage(format!("{name:?} is not the name of a shared memory object")));
    }
    Ok(Path::new("/dev/shm").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(mode_text(0o755), "rwxr-xr-x");
        assert_eq!(mode_text(0o1777), "rwxrwxrwt");
        assert_eq!(mode_text(0o4644), "rwSr--r--");
        assert_eq!(mode_text(0o2755), "rwxr-sr-x");
    }

    #[test]
    fn shared_memory_names_stay_in_their_directory() {
        assert_eq!(shm_path("/queue").unwrap(), Path::new("/dev/shm/queue"));
        for wrong in ["", "/", "..", "a/b", "/../x"] {
            assert!(shm_path(wrong).is_err(), "{wrong}");
        }
    }
}
