//! What is known of this machine and of the images on it. Reads only: no image is pulled, no store is made.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use ::check::{Facts, Found, ImageFacts, Looked, Machine};
use ::image::{Image, Images, Reference};
use model::pod::Pod;

use crate::failure::chain;

/// The facts for these Pods.
pub(super) fn gather(pods: &[&Pod], image_dir: &Path) -> Facts {
    let store = Store::open(image_dir);
    let names = pods.iter().flat_map(|pod| pod.spec.all_containers()).map(|container| &container.image);
    let mut images = BTreeMap::new();
    for name in names {
        if !images.contains_key(name) {
            images.insert(name.clone(), store.look(name));
        }
    }
    Facts { machine: machine(), images }
}

fn machine() -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let info = rustix::system::sysinfo();
    Machine { cpu_millis: cores * 1000, memory_bytes: info.totalram as u64 * u64::from(info.mem_unit) }
}

/// The images of this machine, as far as they can be read.
enum Store {
    Open(Images),
    /// There is none yet.
    Empty,
    /// Why it cannot be read.
    Closed(String),
}

impl Store {
    fn open(image_dir: &Path) -> Store {
        let mut entries = match std::fs::read_dir(image_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Store::Empty,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Store::Closed("only root can read the images of this machine".to_owned());
            }
            Err(error) => return Store::Closed(format!("cannot read {}: {error}", image_dir.display())),
        };
        // Opening it would make a store of it.
        if entries.next().is_none() {
            return Store::Empty;
        }
        match Images::open(image_dir) {
            Ok(images) => Store::Open(images),
            Err(error) => Store::Closed(chain(&error)),
        }
    }

    fn look(&self, name: &str) -> Looked {
        let reference = match Reference::parse(name) {
            Ok(reference) => reference,
            Err(error) => return Looked::Unusable(format!("image {name:?}: {}", chain(&error))),
        };
        if Images::is_builtin(&reference) {
            return Looked::Here(Box::new(builtin()));
        }
        match self {
            Store::Empty => Looked::NotHere,
            Store::Closed(why) => Looked::NotLookedAt(why.clone()),
            Store::Open(images) => match images.find(&reference) {
                Ok(Some(image)) => Looked::Here(Box::new(facts_of(image))),
                Ok(None) => Looked::NotHere,
                Err(error) => Looked::Unusable(chain(&error)),
            },
        }
    }
}

/// The built-in image, which is made at its first use and may not be here yet: `/bin/toolbox` and its names.
fn builtin() -> ImageFacts {
    let is_program = |path: &str| {
        path.strip_prefix("/bin/").is_some_and(|name| name == "toolbox" || toolbox::APPLETS.contains(&name))
    };
    let find = move |path: &str| if is_program(path) { Found::File } else { Found::Nothing };
    ImageFacts {
        user: String::new(),
        unknown_user: None,
        entrypoint: vec!["/bin/toolbox".to_owned()],
        cmd: Vec::new(),
        env: vec!["PATH=/bin".to_owned()],
        working_dir: "/".to_owned(),
        exposed_ports: Vec::new(),
        find: Box::new(find),
    }
}

fn facts_of(image: Image) -> ImageFacts {
    let config = image.config.config().clone().unwrap_or_default();
    let user = config.user().clone().unwrap_or_default();
    let unknown_user = ::image::user::resolve(&image.layers, &user).err().map(|error| chain(&error));
    let find = move |path: &str| match image.has_file(path) {
        Ok(true) => Found::File,
        Ok(false) => Found::Nothing,
        Err(_) => Found::Unknown,
    };
    ImageFacts {
        user,
        unknown_user,
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        env: config.env().clone().unwrap_or_default(),
        working_dir: config
            .working_dir()
            .clone()
            .filter(|dir| !dir.is_empty())
            .unwrap_or_else(|| "/".to_owned()),
        exposed_ports: config.exposed_ports().clone().unwrap_or_default(),
        find: Box::new(find),
    }
}
