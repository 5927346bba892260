//! In which form new layers come into a store.

use std::sync::{Arc, OnceLock};

use crate::erofs::probe_erofs;
use crate::store::Images;

/// How a layer lies in the store. Both may lie there side by side: what is found says which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerForm {
    /// One file, an EROFS image: quickly made, quickly removed, mounted when a container needs it.
    Erofs,
    /// A directory with the layer's files, for kernels without EROFS.
    Directory,
}

/// A choice that is made once, and shared by all copies of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice(Arc<OnceLock<LayerForm>>);

impl Images {
    /// The same store with new layers in the form `form`, whatever the kernel can do.
    pub fn with_layers(mut self, form: LayerForm) -> Self {
        self.form = Choice(Arc::new(form.into()));
        self
    }

    /// The form of new layers: EROFS where the kernel mounts an image that lies in this store.
    pub fn layer_form(&self) -> LayerForm {
        *self.form.0.get_or_init(|| match probe_erofs(&self.path("l")) {
            Ok(backing) => {
                tracing::debug!(?backing, "layers become EROFS images");
                LayerForm::Erofs
            }
            Err(error) => {
                tracing::debug!(%error, "no EROFS here: layers become directories");
                LayerForm::Directory
            }
        })
    }
}
