//! The store of containers/storage with its overlay driver (`/var/lib/containers/storage`):
//!
//! ```text
//! overlay-images/images.json            images: id, names, topmost layer
//! overlay-images/<id>/manifest          and the configuration, under base64 of `sha256:<id>`
//! overlay-layers/layers.json            layers: id, parent
//! overlay-layers/<id>.tar-split.gz      what lies between the files
//! overlay/<id>/diff/                    the files
//! ```

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Foreign, Split};
use crate::commit::Config;
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::Expected;
use crate::load::{Found, Layer};

#[derive(Deserialize)]
struct Image {
    id: String,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    layer: String,
}

#[derive(Deserialize)]
struct StoredLayer {
    id: String,
    #[serde(default)]
    parent: String,
}

pub(super) fn read(root: &Path) -> Result<Foreign, Error> {
    let index = root.join("overlay-images/images.json");
    let Some(images) = super::document::<Vec<Image>>(&index)? else {
        let problem =
            "Podman has no images there (overlay-images/images.json is missing; other drivers are not read)";
        return Err(Error::invalid(root.display().to_string(), problem));
    };
    let layers: Vec<StoredLayer> =
        super::document(&root.join("overlay-layers/layers.json"))?.unwrap_or_default();
    let parents: HashMap<&str, &str> =
        layers.iter().map(|layer| (layer.id.as_str(), layer.parent.as_str())).collect();
    let mut foreign = Foreign { images: Vec::new(), layers: Vec::new() };
    for image in images {
        foreign.images.push(found(root, &image, &parents)?);
    }
    for StoredLayer { id, .. } in &layers {
        foreign.layers.push(Split {
            name: id.clone(),
            rest: root.join(format!("overlay-layers/{id}.tar-split.gz")),
            files: root.join(format!("overlay/{id}/diff")),
        });
    }
    Ok(foreign)
}

fn found(root: &Path, image: &Image, parents: &HashMap<&str, &str>) -> Result<Found, Error> {
    let what = image.names.iter().flatten().next().unwrap_or(&image.id).clone();
    let digest =
        |text: String| Digest::parse(&text).map_err(|source| Error::Digest { what: what.clone(), source });
    let id = digest(format!("sha256:{}", image.id))?;
    let folder = root.join("overlay-images").join(id.hex());
    let config_path = folder.join(format!("={}", STANDARD.encode(id.as_str())));
    let config =
        Config::parse(&format!("the configuration of {what}"), super::required(&config_path)?, Some(&id))?;
    let mut chain = Vec::new();
    let mut next = image.layer.as_str();
    while !next.is_empty() && chain.len() <= config.diff_ids.len() {
        chain.push(next);
        next = parents.get(next).copied().unwrap_or_default();
    }
    config.check_layer_count(&what, chain.len())?;
    let layers = chain.iter().rev().zip(&config.diff_ids).map(|(name, diff_id)| Layer {
        name: (*name).to_owned(),
        expected: Expected { diff_id: diff_id.clone(), blob: None, blob_bytes: None }.into(),
    });
    Ok(Found {
        references: super::references(image.names.clone().unwrap_or_default()),
        layers: layers.collect(),
        // Its manifest is of the packed layers, which this store does not keep.
        manifest: None,
        target: image.digest.as_ref().and_then(|digest| Digest::parse(digest).ok()),
        config,
    })
}
