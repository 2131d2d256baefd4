//! Images that somebody else has built: taken over in place of building them once more.
//!
//! # Invariants
//! * What is taken over gets our labels and our tag, so that everything after it is as if it was built.
//! * Whatever goes wrong on the way, it is built.

use std::sync::Arc;

use async_trait::async_trait;

use super::context::{own_spec, own_tar};
use super::job::ImageWish;
use crate::model::BuildKey;
use crate::runtime::{ImageBytes, Registry};

/// An image that somebody else has.
pub struct Supplied {
    /// The engine's id of it there.
    pub id: String,
    /// It, or where it is.
    pub carrier: Carrier,
}

/// How an image comes.
pub enum Carrier {
    /// As `docker save` writes it.
    Bytes(ImageBytes),
    /// It is in the registry that was named, with this digest.
    Registry(String),
}

/// Somebody who may have images already.
#[async_trait]
pub trait Supplier: Send + Sync {
    /// The registry that it may be fetched from; without one it comes as bytes.
    ///
    /// # Errors
    /// Why the one that is configured cannot be used.
    fn registry(&self) -> Result<Option<Registry>, String>;

    /// The image of `key`, however long it takes to be built elsewhere; `None` when it is to be built
    /// here. It comes as bytes, or out of `repository` when one is named.
    ///
    /// # Errors
    /// Why nobody knows; it is built here then.
    async fn supply(
        &self,
        key: BuildKey,
        repository: Option<&str>,
    ) -> Result<Option<Supplied>, String>;
}

/// What makes the image with the tag `taken` ours: a build that adds our labels and `tag`.
pub(super) fn ours(taken: &str, tag: String) -> ImageWish {
    let dockerfile = format!("FROM {taken}\n");
    ImageWish::Dockerfile {
        context: Arc::new(move || own_tar(&[("Dockerfile", &dockerfile)])),
        spec: own_spec(),
        tag,
    }
}
