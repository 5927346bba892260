//! Layers that are EROFS images: each is mounted once, for all containers of the Pod, and ends with the shim's mount
//! namespace. While somebody else has it mounted too, both share what was read of it ([`mounted`]).
//!
//! This is the one mount that the shim makes itself once the Pod runs, so that containers share it and its pages. It waits
//! for the disk that the images are on, as writing the logs waits for theirs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::Shim;
use crate::execute::{Attempt, attach_on_host, bind, ensure_directory_on_host, map_owners};
use crate::mounted::{self, Holder, Stranded};
use crate::plan::Operation;
use crate::protocol::{StartError, Step};

/// The kernel knows no such filesystem.
const ENODEV: i32 = 19;

impl Shim {
    /// Mounts the layers of a root filesystem that are images, and puts the mounts in their places.
    pub(super) fn mount_layers(&mut self, operations: &mut [Operation]) -> Result<(), StartError> {
        for operation in operations {
            let Operation::Rootfs(overlay) = operation else { continue };
            for layer in &mut overlay.lower {
                if !layer.is_dir() {
                    *layer = self.mount_layer(layer)?;
                }
                if self.id_range().is_some() {
                    *layer = self.map_layer(layer)?;
                }
            }
        }
        Ok(())
    }

    fn mount_layer(&mut self, image: &Path) -> Result<PathBuf, StartError> {
        let known = self.layers.iter().position(|known| known == image);
        let target = self.pod_dir.join("layers").join(known.unwrap_or(self.layers.len()).to_string());
        if known.is_some() {
            return Ok(target);
        }
        let mounted = match mounted::copy(image, self.single.into()) {
            Ok(Some(copy)) => attach(&copy, &target),
            Ok(None) => mount(image, &target),
            Err(Stranded) => std::process::abort(),
        };
        mounted.attempt(Step::Rootfs, || format!("mount the layer {}", image.display()))?;
        self.layers.push(image.to_owned());
        // Without the hint the next Pod mounts the image itself, and reads it anew.
        let _ = mounted::note(image, &target, Holder::Shim);
        Ok(target)
    }

    /// The layer at `directory` with its owners mapped for a Pod that has users of its own: who is root in the image is root
    /// of the Pod.
    fn map_layer(&mut self, directory: &Path) -> Result<PathBuf, StartError> {
        let known = self.mapped_layers.iter().position(|known| known == directory);
        let target =
            self.pod_dir.join("layers/mapped").join(known.unwrap_or(self.mapped_layers.len()).to_string());
        let users = self.sandbox.as_ref().and_then(|sandbox| sandbox.users.as_ref());
        let (None, Some(users)) = (known, users) else { return Ok(target) };
        let map = || -> io::Result<()> {
            let tree = bind(directory, false)?;
            map_owners(&tree, users.namespace.as_fd())?;
            attach(&tree, &target)
        };
        map().attempt(Step::Rootfs, || format!("map the owners of the layer {}", directory.display()))?;
        self.mapped_layers.push(directory.to_owned());
        Ok(target)
    }
}

fn mount(image: &Path, target: &Path) -> io::Result<()> {
    let (mount, _) = linux::erofs::mount(image).map_err(|error| match error.raw_os_error() {
        Some(ENODEV) => {
            io::Error::other("this kernel has no EROFS; remove the image and bring it again here")
        }
        _ => error,
    })?;
    attach(&mount, target)
}

fn attach(mount: &OwnedFd, target: &Path) -> io::Result<()> {
    ensure_directory_on_host(target)?;
    Ok(attach_on_host(mount, target)?)
}
