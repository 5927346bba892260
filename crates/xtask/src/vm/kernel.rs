//! Debian's cloud kernel: fetched and unpacked below the target directory, never installed. Its modules get
//! their dependency table from depmod(8), as its installation would do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::failure::{Attempt, Failure, Result};
use crate::images::packages::Packages;
use crate::workspace;

/// An unpacked kernel.
pub(crate) struct Kernel {
    /// The file to boot.
    pub(crate) image: PathBuf,
    /// The directory above `VERSION/kernel/...`.
    pub(crate) modules: PathBuf,
    version: String,
}

/// The newest kernel that apt offers, unpacked once.
pub(crate) fn ensure(directory: &Path) -> Result<Kernel> {
    let packages = Packages::new(workspace::target().join("images/debs"));
    let wanted = |package: &str| package.starts_with("linux-image-") && package.contains("-cloud-");
    let files = packages
        .fetch(&["linux-image-cloud-amd64"], |name| wanted(name) && !name.ends_with("image-cloud-amd64"))?;
    let [file] = files.as_slice() else {
        return Err(Failure::new(format!("apt offers not one cloud kernel but {}", files.len())));
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let version =
        name.split('_').next().and_then(|name| name.strip_prefix("linux-image-")).unwrap_or_default();
    let root = directory.join(version);
    let kernel = Kernel {
        image: root.join(format!("boot/vmlinuz-{version}")),
        modules: root.join("lib/modules"),
        version: version.to_string(),
    };
    if !root.exists() {
        // Renamed when complete: another machine may be looking for it.
        let partial = directory.join(format!("{version}.{}", std::process::id()));
        command::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(&partial))?;
        command::run(Command::new("depmod").arg("-b").arg(&partial).arg(version))?;
        if fs::rename(&partial, &root).is_err() {
            fs::remove_dir_all(&partial).attempt(format!("removing {}", partial.display()))?;
        }
    }
    Ok(kernel)
}

impl Kernel {
    fn directory(&self) -> PathBuf {
        self.modules.join(&self.version)
    }

    fn dependency_table(&self) -> PathBuf {
        self.directory().join("modules.dep")
    }

    /// The files of `names` and of all they need, in the order in which they can be loaded.
    pub(crate) fn load_order(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let path = self.dependency_table();
        let table = fs::read_to_string(&path).attempt(format!("reading {}", path.display()))?;
        let order = load_order(&table, names)?;
        Ok(order.into_iter().map(|module| self.directory().join(module)).collect())
    }
}

/// modules.dep(5): `FILE: NEEDED...`, of which the last must be loaded first.
fn load_order<'a>(table: &'a str, names: &[&str]) -> Result<Vec<&'a str>> {
    let mut order = Vec::new();
    for name in names {
        let line = table.lines().find_map(|line| {
            let (file, needed) = line.split_once(':')?;
            let stem = file.rsplit('/').next()?.split('.').next()?;
            (stem.replace('-', "_") == *name).then_some((file, needed))
        });
        let (file, needed) = line.ok_or_else(|| Failure::new(format!("the kernel has no module {name}")))?;
        for module in needed.split_whitespace().rev().chain([file]) {
            if !order.contains(&module) {
                order.push(module);
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let table = "k/fs/fuse/virtiofs.ko: k/fs/fuse.ko k/virtio.ko k/ring.ko\nk/virtio-pci.ko: k/virtio.ko k/ring.ko\nk/a.ko:\n";
        let order = load_order(table, &["virtio_pci", "virtiofs"]).unwrap();
        assert_eq!(
            order,
            ["k/ring.ko", "k/virtio.ko", "k/virtio-pci.ko", "k/fs/fuse.ko", "k/fs/fuse/virtiofs.ko"]
        );
        assert!(load_order(table, &["b"]).is_err());
    }
}
