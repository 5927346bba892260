//! `podling image`: one short function for each of its commands. What an image is, the image room knows.

mod details;
mod sweep;
mod table;

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::image::{
    BUILTIN_NAME, CollectionPolicy, Digest, Images, Loaded, Prune, Pruned, PullOptions, Reference, Scope,
};

use crate::console::{Bars, human, print};
use crate::exit::Code;
use crate::failure::{Failure, chain};
use crate::run::require_root;
use crate::typed::image::{Engine, ImageImport, ImageInspect, ImagePrune, Layers};
use crate::typed::{self, ListOutput};

/// Why an image command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageFailure {
    /// The store or an archive.
    #[error(transparent)]
    Store(#[from] ::image::Error),
    /// A name that is none.
    #[error(transparent)]
    Reference(#[from] ::image::ReferenceError),
    /// A registry.
    #[error(transparent)]
    Pull(#[from] ::image::PullError),
}

pub(crate) fn perform(asked: typed::Image) -> Result<Code, Failure> {
    require_root("image")?;
    match asked {
        typed::Image::Load(asked) => load(&asked),
        typed::Image::Pull(asked) => pull(&asked),
        typed::Image::List(asked) => list(&asked),
        typed::Image::Remove(asked) => remove(&asked),
        typed::Image::Save(asked) => save(&asked),
        typed::Image::Inspect(asked) => inspect(&asked),
        typed::Image::Prune(asked) => prune(&asked),
        typed::Image::ImportFrom(asked) => import(&asked),
        typed::Image::Sweep => sweep::sweep(),
    }
}

/// The store, with the built-in image in it.
fn open(image_dir: &Path) -> Result<Images, ImageFailure> {
    let images = Images::open(image_dir)?;
    images.ensure_builtin(&engine::TOOLBOX)?;
    Ok(images)
}

/// The store, for layers that come in the form asked for.
fn open_for(image_dir: &Path, layers: Layers) -> Result<Images, ImageFailure> {
    let images = open(image_dir)?;
    Ok(match layers.form() {
        Some(form) => images.with_layers(form),
        None => images,
    })
}

fn load(asked: &typed::ImageLoad) -> Result<Code, Failure> {
    let images = open_for(&asked.directories.image_dir, asked.layers)?;
    let bars = Bars::new();
    for path in &asked.paths {
        let loaded = images.load(path, &bars).map_err(ImageFailure::from)?;
        bars.clear();
        print_loaded(&loaded, "loaded")?;
    }
    Ok(Code::SUCCESS)
}

fn print_loaded(loaded: &[Loaded], how: &str) -> Result<(), Failure> {
    for image in loaded {
        let names: Vec<_> = image.references.iter().map(Reference::familiar).collect();
        let what = if names.is_empty() { image.id.to_string() } else { names.join(", ") };
        let how = if image.already_present { "was here already" } else { how };
        print(format_args!("{what}: {how}\n"))?;
    }
    Ok(())
}

/// Another engine's images, from its own files.
fn import(asked: &ImageImport) -> Result<Code, Failure> {
    let wanted = parse_all(&asked.references)?;
    let engine = match asked.engine {
        Engine::Docker => ::image::Engine::Docker,
        Engine::Containerd => ::image::Engine::Containerd,
        Engine::Podman => ::image::Engine::Podman,
    };
    let root = asked.root.as_deref().unwrap_or(engine.default_root());
    let images = open_for(&asked.directories.image_dir, asked.layers)?;
    let bars = Bars::new();
    let taken = images.take_over(engine, root, &wanted, &bars);
    bars.clear();
    print_loaded(&taken.map_err(ImageFailure::from)?, "imported")?;
    Ok(Code::SUCCESS)
}

fn inspect(asked: &ImageInspect) -> Result<Code, Failure> {
    let images = open(&asked.directories.image_dir)?;
    let mut inspected = Vec::new();
    for name in &asked.references {
        inspected.push(images.inspect(name).map_err(ImageFailure::from)?);
    }
    match asked.output {
        ListOutput::Table => print(details::text(&inspected))?,
        ListOutput::Json => print(format_args!("{:#}\n", details::json(&inspected)))?,
    }
    Ok(Code::SUCCESS)
}

/// The built-in image stays: it would only be made again.
fn prune(asked: &ImagePrune) -> Result<Code, Failure> {
    let images = open(&asked.directories.image_dir)?;
    let builtin = images.get(BUILTIN_NAME).map_err(ImageFailure::from)?.id;
    let pruned = match asked.disk {
        Some(shares) => collect(&images, shares, &builtin, asked.dry_run)?,
        None => {
            let which = match (asked.all, asked.unused_for, asked.until_free) {
                (true, ..) => Prune::Unused(Duration::ZERO),
                (_, Some(age), _) => Prune::Unused(age),
                (_, _, Some(bytes)) => Prune::UntilFree(bytes),
                _ => Prune::Nameless,
            };
            images.prune(which, Some(&builtin), asked.dry_run).map_err(ImageFailure::from)?
        }
    };
    let how = if asked.dry_run { "would be removed" } else { "removed" };
    for image in &pruned.images {
        let names = if image.tags.is_empty() { &image.repo_digests } else { &image.tags };
        let what = if names.is_empty() { image.id.to_string() } else { names.join(", ") };
        print(format_args!("{what}: {how}\n"))?;
    }
    print(format_args!("{} free\n", human::size(pruned.freed_bytes)))?;
    Ok(Code::SUCCESS)
}

/// By the state of the disk; what could not be reached is said.
fn collect(
    images: &Images,
    shares: (u8, u8),
    spared: &Digest,
    is_trial: bool,
) -> Result<Pruned, ImageFailure> {
    let (high_percent, low_percent) = shares;
    let policy = CollectionPolicy { high_percent, low_percent, ..CollectionPolicy::default() };
    let spared = || Some(HashSet::from([spared.clone()]));
    let scope = Scope { spared: &spared, aged_from: SystemTime::UNIX_EPOCH, is_trial };
    let collected = images.collect(&policy, &scope)?;
    let pruned = collected.pruned;
    if pruned.freed_bytes < collected.wanted_bytes {
        crate::console::print_warning(&format!(
            "the disk is {} % full, and unused images have only {} of the {} that should become free",
            collected.used_percent,
            human::size(pruned.freed_bytes),
            human::size(collected.wanted_bytes)
        ));
    }
    Ok(pruned)
}

/// Pulls one after the other: the layers of one image already come in parallel.
fn pull(asked: &typed::ImagePull) -> Result<Code, Failure> {
    let references = parse_all(&asked.references)?;
    let images = open_for(&asked.directories.image_dir, asked.layers)?;
    let bars = Bars::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::io("start threads of", "the process"))?;
    for reference in &references {
        let pulled =
            runtime.block_on(images.pull(reference, &PullOptions::of_this_machine(), Arc::new(bars.clone())));
        bars.clear();
        let image = pulled.map_err(ImageFailure::from)?;
        print(format_args!(
            "{}: {} ({})\n",
            reference.familiar(),
            image.image_id(),
            human::size(image.size_bytes)
        ))?;
    }
    Ok(Code::SUCCESS)
}

fn list(asked: &typed::ImageList) -> Result<Code, Failure> {
    let images = open(&asked.directories.image_dir)?;
    let list = images.list().map_err(ImageFailure::from)?;
    match asked.output {
        ListOutput::Table => print(table::text(&list))?,
        ListOutput::Json => print(format_args!("{:#}\n", table::json(&list)))?,
    }
    Ok(Code::SUCCESS)
}

/// Removes what can be removed; each refusal is told, and the first decides the exit code.
fn remove(asked: &typed::ImageRemove) -> Result<Code, Failure> {
    let images = Images::open(&asked.directories.image_dir).map_err(ImageFailure::from)?;
    let mut first_refusal = None;
    for name in &asked.references {
        match images.remove_to_trash(name) {
            Ok((removed, trash)) => {
                sweep::hand_over(trash, removed.freed_bytes);
                for name in &removed.untagged {
                    print(format_args!("{name}: removed\n"))?;
                }
                if let Some(id) = removed.deleted {
                    print(format_args!("{id}: deleted, {} given back\n", human::size(removed.freed_bytes)))?;
                }
            }
            Err(refusal) if first_refusal.is_none() => first_refusal = Some(refusal),
            Err(refusal) => crate::console::print_warning(&chain(&refusal)),
        }
    }
    match first_refusal {
        Some(refusal) => Err(Failure::Image(refusal.into())),
        None => Ok(Code::SUCCESS),
    }
}

/// Writes beside the file and renames, so that a failure leaves no half archive under its name.
fn save(asked: &typed::ImageSave) -> Result<Code, Failure> {
    let images = open(&asked.directories.image_dir)?;
    let bars = Bars::new();
    let mut fresh = asked.output.clone().into_os_string();
    fresh.push(".part");
    let fresh = Path::new(&fresh);
    let file = File::create(fresh).map_err(Failure::io("write", fresh))?;
    let saved = images.save(std::slice::from_ref(&asked.reference), std::io::BufWriter::new(file), &bars);
    bars.clear();
    if let Err(error) = saved {
        // The half archive is of no use; that it could not be removed either would only hide why.
        let _ = std::fs::remove_file(fresh);
        return Err(ImageFailure::from(error).into());
    }
    std::fs::rename(fresh, &asked.output).map_err(Failure::io("write", &asked.output))?;
    print(format_args!("{}: saved to {}\n", asked.reference, asked.output.display()))?;
    Ok(Code::SUCCESS)
}

fn parse_all(names: &[String]) -> Result<Vec<Reference>, ImageFailure> {
    names.iter().map(|name| Ok(Reference::parse(name)?)).collect()
}

/// Whether a name is the built-in image's, which is shown as such.
fn is_builtin(name: &str) -> bool {
    name.split(':').next() == Some(BUILTIN_NAME)
}
