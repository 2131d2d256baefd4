//! Images that somebody else has built: taken over in place of building them once more.
//!
//! # Invariants
//! * What is taken over gets our labels and our tag, so that everything after it is as if it was built.
//! * Whatever goes wrong on the way, it is built.

use async_trait::async_trait;
use bytes::Bytes;

use super::job::ImageWish;
use crate::catalog::context::ContextError;
use crate::model::compose::BuildSpec;
use crate::model::{BuildKey, MemoryTree};
use crate::runtime::ImageBytes;
use crate::secrets::Identities;

/// An image that somebody else has.
pub struct Supplied {
    /// The engine's id of it there.
    pub id: String,
    /// It.
    pub bytes: ImageBytes,
}

/// Somebody who may have images already.
#[async_trait]
pub trait Supplier: Send + Sync {
    /// The image of `key`, however long it takes to be built elsewhere; `None` when it is to be built
    /// here.
    ///
    /// # Errors
    /// Why nobody knows; it is built here then.
    async fn supply(&self, key: BuildKey) -> Result<Option<Supplied>, String>;
}

/// What makes an image that is there already ours: a build that adds labels and a tag.
pub(super) fn ours(taken: &str, tag: String) -> ImageWish {
    let dockerfile = format!("FROM {taken}\n");
    let spec = BuildSpec {
        context: String::new(),
        dockerfile: "Dockerfile".to_owned(),
        target: None,
        args: [].into(),
    };
    let read = {
        let spec = spec.clone();
        move || -> Result<Bytes, ContextError> {
            let tree = MemoryTree::new().with("Dockerfile", dockerfile.as_str());
            super::context_tar(&tree, "", &spec, &Identities::default())
        }
    };
    ImageWish::Dockerfile { context: std::sync::Arc::new(read), spec, tag }
}
