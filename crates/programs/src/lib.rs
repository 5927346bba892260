//! The static programs embedded in podling: shim, pause, toolbox.
//!
//! They are ELF files, built by this crate's build script, to be executed from a sealed memfd or written into an
//! image. This crate must not know what they do.

/// The per-Pod parent of all containers (crate `shim`).
pub static SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shim"));

/// PID 1 of a Pod's namespaces (crate `pause`).
pub static PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// The multi-call program of the built-in image (crate `toolbox`).
pub static TOOLBOX: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/toolbox"));

/// Differs between two toolboxes that differ, so that an image made of one is known again in microseconds.
pub const TOOLBOX_VERSION: &str = env!("TOOLBOX_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    /// `e_type` of an executable with fixed addresses (elf(5)): a PIE would dirty pages by relocation.
    const ET_EXEC: u8 = 2;
    /// `p_type` of the program header that names a dynamic loader.
    const PT_INTERP: u32 = 3;

    #[test]
    fn programs_are_static_and_not_position_independent() {
        for (name, program) in [("shim", SHIM), ("pause", PAUSE), ("toolbox", TOOLBOX)] {
            assert_eq!(&program[..4], b"\x7fELF", "{name}");
            assert_eq!(program[16], ET_EXEC, "{name} is position-independent");
            let (offset, count) = (program[32] as usize, program[56] as usize);
            for header in program[offset..].chunks(56).take(count) {
                let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
                assert_ne!(kind, PT_INTERP, "{name} needs a dynamic loader");
            }
        }
    }

    /// Runs the embedded toolbox under a name.
    fn toolbox_as(name: &str) -> Option<i32> {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;
        let path =
            std::env::temp_dir().join(format!("toolbox-{}-{}", std::process::id(), name.replace('/', "-")));
        std::fs::write(&path, TOOLBOX).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = std::process::Command::new(&path).arg0(name).arg("nothing").output().unwrap();
        std::fs::remove_file(&path).unwrap();
        output.status.code()
    }

    #[test]
    fn the_embedded_toolbox_answers_true_before_anything_else_and_only_that() {
        for (name, code) in [("true", 0), ("/bin/true", 0), ("/bin/false", 1), ("untrue", 2), ("rue", 2)] {
            assert_eq!(toolbox_as(name), Some(code), "{name:?}");
        }
    }

    #[test]
    fn pause_is_tiny() {
        assert!(PAUSE.len() < 8 << 10, "{} bytes", PAUSE.len());
    }
}
