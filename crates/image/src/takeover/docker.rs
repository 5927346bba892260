//! Docker's store with its overlay2 driver (`/var/lib/docker`):
//!
//! ```text
//! image/overlay2/repositories.json                    names → id
//! image/overlay2/imagedb/content/sha256/<id>          configurations
//! image/overlay2/layerdb/sha256/<chain id>/           cache-id, tar-split.json.gz
//! overlay2/<cache id>/diff/                           the files
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{Foreign, Split};
use crate::commit::Config;
use crate::digest::Digest;
use crate::error::Error;
use crate::layer::Expected;
use crate::load::{Found, Layer};
use crate::reference::Reference;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Repositories {
    /// Repository → name → image.
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

pub(super) fn read(root: &Path) -> Result<Foreign, Error> {
    let image_root = root.join("image/overlay2");
    let Some(Repositories { repositories }) = super::document(&image_root.join("repositories.json"))? else {
        let problem = "Docker has no images there (image/overlay2/repositories.json is missing); newer Dockers keep them \
                       with containerd, try import-from containerd";
        return Err(Error::invalid(root.display().to_string(), problem));
    };
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, id) in repositories.into_values().flatten() {
        names.entry(id).or_default().push(name);
    }
    let mut foreign = Foreign { images: Vec::new(), layers: Vec::new() };
    for (id, names) in names {
        let what = names.first().cloned().unwrap_or_default();
        let id = Digest::parse(&id).map_err(|source| Error::Digest { what: what.clone(), source })?;
        let config = super::required(&image_root.join("imagedb/content/sha256").join(id.hex()))?;
        let config = Config::parse(&format!("the configuration of {what}"), config, Some(&id))?;
        let mut layers = Vec::new();
        for (name, diff_id) in chain_ids(&config.diff_ids).into_iter().zip(&config.diff_ids) {
            let folder = image_root.join("layerdb/sha256").join(name.hex());
            let cache_id = super::required(&folder.join("cache-id"))?;
            let cache_id = String::from_utf8_lossy(&cache_id).trim().to_owned();
            if cache_id.is_empty() || cache_id.contains(['/', '.']) {
                return Err(Error::invalid(folder.display().to_string(), "its cache-id is no name"));
            }
            layers.push(Layer {
                name: name.to_string(),
                expected: Expected { diff_id: diff_id.clone(), blob: None, blob_bytes: None }.into(),
            });
            foreign.layers.push(Split {
                name: name.to_string(),
                rest: folder.join("tar-split.json.gz"),
                files: root.join("overlay2").join(cache_id).join("diff"),
            });
        }
        let target = names.iter().find_map(|name| Reference::parse(name).ok()?.digest().cloned());
        let references = super::references(names);
        foreign.images.push(Found { references, config, layers, manifest: None, target });
    }
    Ok(foreign)
}

/// Docker names a layer by all that it lies on (image-spec, config.md, "Layer ChainID").
fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
            None => diff_id.clone(),
        };
        chain.push(next);
    }
    chain
}
