//! Who may connect to the VPN of an instance.

use uuid::Uuid;

use super::{InstanceId, Timestamp};

/// How a holder stands with the VPN of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VpnAccess {
    /// The instance.
    pub instance: InstanceId,
    /// The team, or the member where members are known.
    pub holder: Uuid,
    /// Which of its profiles is the valid one, from 1.
    pub serial: u32,
    /// No profile of it is.
    pub is_revoked: bool,
    /// Whether the gateway was told.
    pub is_applied: bool,
    /// When it was rotated or revoked last.
    pub changed_at: Timestamp,
}
