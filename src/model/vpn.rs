//! Who may connect to the VPN of an instance.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::challenge::word_enum;
use super::{InstanceId, Timestamp};

word_enum!(
    /// What a gateway and the profiles that it lets in speak.
    VpnProtocol {
        /// OpenVPN, with certificates.
        OpenVpn = "openvpn",
        /// WireGuard, with a key for each holder.
        WireGuard = "wireguard",
    }
);

impl Default for VpnProtocol {
    /// What every gateway spoke before there was a choice.
    fn default() -> Self {
        Self::OpenVpn
    }
}

impl VpnProtocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OpenVpn, Self::WireGuard];

    /// Whether it is the default, which is left out where it is stored.
    pub fn is_openvpn(&self) -> bool {
        *self == Self::OpenVpn
    }
}

/// What was changed for a holder and the VPN of one instance.
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
    /// When it was rotated or revoked last.
    pub changed_at: Timestamp,
}

/// Somebody whom a gateway lets in, as a platform tells a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnSeat {
    /// The team, or the member where members are known.
    pub holder: Uuid,
    /// Which of their profiles is the valid one, from 1.
    pub serial: u32,
    /// How people call them.
    #[serde(default)]
    pub name: String,
}

/// What a gateway was told last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpnTold {
    /// Counts up with each telling.
    pub number: i64,
    /// The certificates that it lets in, sorted; `None` while it is being told.
    pub names: Option<Vec<String>>,
}
