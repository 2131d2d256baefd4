//! Tells people how the certificate of the ingress stands: as a condition of this node, and as a number.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::shared::{Shared, Statement};
use crate::ingress::CertificateState;
use crate::model::{ConditionStatus, ConditionType, NodeId, Scope};
use crate::planner::certificate::standing;
use crate::store::StoreError;
use crate::telemetry::metrics;

/// Between two looks when nothing changes but the time.
const LOOK_EVERY: Duration = Duration::from_secs(30);

const KIND: ConditionType = ConditionType::CertificateValid;

/// Tells it until the daemon stops.
pub(crate) async fn tell(shared: Arc<Shared>, mut state: watch::Receiver<CertificateState>) {
    loop {
        let CertificateState { origin, held, why } = state.borrow_and_update().clone();
        let (status, reason, message) = standing(origin, held, why.as_deref(), shared.clock.now());
        metrics::certificate_end(held.map(|held| held.until));
        say(&shared, status, reason, message).await;
        tokio::select! {
            // Cancel-safe: a change that is not seen stays one.
            changed = state.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = shared.tasks.stopping().cancelled() => return,
        }
    }
}

/// A bad certificate is no matter any more once there is none to be.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn settle(shared: &Shared) -> Result<(), StoreError> {
    let config = &shared.config.ingress;
    if config.domain.is_some() && config.has_tls() {
        return Ok(());
    }
    let conditions = shared.store.conditions().await?;
    if conditions.iter().any(|it| {
        it.kind == KIND && it.scope == Scope::Node(NodeId::local()) && KIND.is_bad(it.status)
    }) {
        let message = "the ingress has no certificate any more, as configured".to_owned();
        say(shared, ConditionStatus::Unknown, "NotConfigured", message).await;
    }
    Ok(())
}

async fn say(shared: &Shared, status: ConditionStatus, reason: &'static str, message: String) {
    let (scope, kind) = (Scope::Node(NodeId::local()), KIND);
    shared.state(Statement { scope, kind, status, reason, message, revision: None }).await;
}
