//! The stages of a Dockerfile, so far as they were read.

use super::scope::Inherited;
use crate::catalog::spanned::Span;

/// Most stages of a file.
pub(super) const MAX_STAGES: usize = 50;

/// One `FROM` and what follows it.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// Its name in lower case.
    pub name: Option<String>,
    /// Where its `FROM` stands.
    pub at: Span,
    /// Whether there is something to start: a command, or an image that may have one.
    pub may_start: bool,
    /// Layers it adds.
    pub n_layers: usize,
    /// Variables for stages that build on it; complete when the next stage begins.
    pub inherited: Inherited,
}

/// Every stage.
#[derive(Debug, Default)]
pub(super) struct Stages {
    list: Vec<Stage>,
    /// Whether it was said that an instruction stands before the first stage.
    pub is_missing_said: bool,
}

impl Stages {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Begins a stage.
    pub(super) fn push(&mut self, stage: Stage) {
        self.list.push(stage);
    }

    /// The current stage.
    pub(super) fn last_mut(&mut self) -> Option<&mut Stage> {
        self.list.last_mut()
    }

    /// The stage of this name; names have no case.
    pub(super) fn named(&self, name: &str) -> Option<&Stage> {
        let name = name.to_lowercase();
        self.list.iter().rev().find(|stage| stage.name.as_ref() == Some(&name))
    }

    /// The stage of this name or number.
    pub(super) fn find(&self, text: &str) -> Option<&Stage> {
        self.named(text).or_else(|| self.list.get(text.parse::<usize>().ok()?))
    }

    /// The stages before the current one, by name.
    pub(super) fn names(&self) -> Vec<&str> {
        self.list.iter().filter_map(|stage| stage.name.as_deref()).collect()
    }

    /// The stage that is built: the one `target` names, or the last.
    pub(super) fn built(&self, target: Option<&str>) -> Option<&Stage> {
        match target {
            Some(target) => self.find(target),
            None => self.list.last(),
        }
    }

    /// Notes what an instruction adds to the current stage.
    pub(super) fn count(&mut self, keyword: &str) {
        if let Some(stage) = self.list.last_mut() {
            stage.n_layers += usize::from(matches!(keyword, "ADD" | "COPY" | "RUN"));
            stage.may_start |= matches!(keyword, "CMD" | "ENTRYPOINT");
        }
    }

    /// The stages with more than `limit` layers.
    pub(super) fn over(&self, limit: usize) -> Vec<(Span, usize)> {
        let over = self.list.iter().filter(|stage| stage.n_layers > limit);
        over.map(|stage| (stage.at, stage.n_layers)).collect()
    }
}
