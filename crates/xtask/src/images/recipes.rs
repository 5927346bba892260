//! The images, as data: which packages, which files beside them, which configuration. Names, commands, users and
//! paths follow the well-known images of the same name, so that manifests written for those work with these.
//!
//! Length: a table.

use crate::images::tree::Tree;

/// One image.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The repository; the tag is `latest`.
    pub(crate) name: &'static str,
    /// Debian packages; the libraries they need come with them.
    pub(crate) packages: &'static [&'static str],
    /// Dependencies to take along that are not libraries.
    pub(crate) also: &'static [&'static str],
    /// Libraries to leave out, because only an optional part needs them.
    pub(crate) without: &'static [&'static str],
    /// Directories: path, mode, owner.
    pub(crate) directories: &'static [(&'static str, u32, u64)],
    /// Files: path, mode, text.
    pub(crate) files: &'static [(&'static str, u32, &'static str)],
    /// Symbolic links: path, target.
    pub(crate) links: &'static [(&'static str, &'static str)],
    /// Whether the layers are compressed.
    pub(crate) gzip: bool,
    pub(crate) entrypoint: &'static [&'static str],
    pub(crate) cmd: &'static [&'static str],
    pub(crate) env: &'static [&'static str],
    pub(crate) exposed_ports: &'static [&'static str],
    pub(crate) user: Option<&'static str>,
    pub(crate) working_dir: Option<&'static str>,
    pub(crate) stop_signal: Option<&'static str>,
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The users of the servers; numbers as the well-known images have them.
const REDIS: u64 = 999;
const HAPROXY: u64 = 99;
const POSTGRES: u64 = 70;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
postgres:x:70:70:PostgreSQL:/var/lib/postgresql:/bin/sh
haproxy:x:99:99:haproxy:/var/lib/haproxy:/usr/sbin/nologin
redis:x:999:999:redis:/data:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";

const GROUP: &str = "\
root:x:0:
www-data:x:33:
postgres:x:70:
haproxy:x:99:
redis:x:999:
nogroup:x:65534:
";

/// What a recipe has when it says nothing.
const NOTHING: Recipe = Recipe {
    name: "",
    packages: &[],
    also: &[],
    without: &[],
    directories: &[],
    files: &[],
    links: &[],
    gzip: false,
    entrypoint: &[],
    cmd: &[],
    env: &[PATH],
    exposed_ports: &[],
    user: None,
    working_dir: None,
    stop_signal: None,
};

/// The lowest layer of every image.
pub(crate) const BASE: Recipe = Recipe {
    name: "base",
    packages: &["busybox-static"],
    directories: &[
        ("/dev", 0o755, 0),
        ("/home", 0o755, 0),
        ("/mnt", 0o755, 0),
        ("/proc", 0o555, 0),
        ("/root", 0o700, 0),
        ("/run", 0o755, 0),
        ("/sys", 0o555, 0),
        ("/tmp", 0o1777, 0),
        ("/usr/lib", 0o755, 0),
        ("/usr/lib64", 0o755, 0),
        ("/usr/local/bin", 0o755, 0),
        ("/usr/sbin", 0o755, 0),
        ("/var/log", 0o755, 0),
        ("/var/tmp", 0o1777, 0),
    ],
    files: &[
        ("/etc/passwd", 0o644, PASSWD),
        ("/etc/group", 0o644, GROUP),
        ("/etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\n"),
        (
            "/etc/os-release",
            0o644,
            "ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian packages for podling's tests\"\n",
        ),
    ],
    links: &[
        ("/bin", "usr/bin"),
        ("/lib", "usr/lib"),
        ("/lib64", "usr/lib64"),
        ("/sbin", "usr/sbin"),
        ("/var/run", "/run"),
    ],
    ..NOTHING
};

/// Every image that the task makes.
pub(crate) const ALL: &[Recipe] = &[
    Recipe { name: "busybox", cmd: &["sh"], ..NOTHING },
    Recipe {
        name: "nginx",
        packages: &["nginx"],
        directories: &[("/var/cache/nginx", 0o755, 0), ("/etc/nginx/conf.d", 0o755, 0)],
        files: &[
            ("/etc/nginx/nginx.conf", 0o644, include_str!("files/nginx.conf")),
            ("/etc/nginx/conf.d/default.conf", 0o644, include_str!("files/nginx-default.conf")),
        ],
        // One image with compressed layers, so that both kinds are tested.
        gzip: true,
        cmd: &["nginx", "-g", "daemon off;"],
        exposed_ports: &["80/tcp"],
        stop_signal: Some("SIGQUIT"),
        ..NOTHING
    },
    Recipe {
        name: "redis",
        packages: &["redis-server"],
        also: &["redis-tools"],
        directories: &[("/data", 0o755, REDIS)],
        cmd: &["redis-server", "--protected-mode", "no"],
        exposed_ports: &["6379/tcp"],
        user: Some("redis"),
        working_dir: Some("/data"),
        ..NOTHING
    },
    Recipe {
        name: "haproxy",
        packages: &["haproxy"],
        directories: &[("/var/lib/haproxy", 0o755, HAPROXY), ("/usr/local/etc/haproxy", 0o755, 0)],
        cmd: &["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
        user: Some("haproxy"),
        stop_signal: Some("SIGUSR1"),
        ..NOTHING
    },
    Recipe {
        name: "postgres",
        packages: &["postgresql-15"],
        also: &["postgresql-client-15", "tzdata"],
        // Needed by its just-in-time compiler alone, which works without being there.
        without: &["libllvm14", "libz3-4"],
        directories: &[
            ("/var/lib/postgresql", 0o755, POSTGRES),
            ("/var/lib/postgresql/data", 0o700, POSTGRES),
            ("/run/postgresql", 0o2775, POSTGRES),
        ],
        files: &[(
            "/usr/local/bin/docker-entrypoint.sh",
            0o755,
            include_str!("files/postgres-entrypoint.sh"),
        )],
        entrypoint: &["docker-entrypoint.sh"],
        cmd: &["postgres"],
        env: &[
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
            "LANG=C.UTF-8",
            "PGDATA=/var/lib/postgresql/data",
        ],
        exposed_ports: &["5432/tcp"],
        stop_signal: Some("SIGINT"),
        ..NOTHING
    },
];

impl Recipe {
    /// The name in archives: `nginx:latest`.
    pub(crate) fn reference(&self) -> String {
        format!("{}:latest", self.name)
    }

    /// Whether a resolved package belongs into the image: those named, and shared libraries.
    pub(crate) fn wants(&self, package: &str) -> bool {
        let library = (package.starts_with("lib") || package == "zlib1g")
            && !package.ends_with("-perl")
            && !package.starts_with("libperl");
        let named = self.packages.contains(&package) || self.also.contains(&package);
        let data = package.ends_with("-common") && self.packages.iter().any(|name| package.starts_with(name));
        (named || library || data) && !self.without.contains(&package)
    }

    /// Adds the recipe's own directories, files and links.
    pub(crate) fn add_files(&self, tree: &mut Tree) {
        for (path, mode, owner) in self.directories {
            tree.add_directory(path, *mode, *owner);
        }
        for (path, mode, text) in self.files {
            tree.add_file(path, *mode, text);
        }
        for (path, target) in self.links {
            tree.add_link(path, target);
        }
    }
}
