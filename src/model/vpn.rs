//! Who may connect to the VPN of an instance.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{InstanceId, Timestamp};

/// What a gateway and the profiles that it lets in speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VpnProtocol {
    /// OpenVPN, with certificates.
    #[default]
    OpenVpn,
    /// WireGuard, with a key for each holder.
    WireGuard,
}

impl VpnProtocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OpenVpn, Self::WireGuard];
    /// The words for them.
    pub const WORDS: [&'static str; 2] = [Self::OpenVpn.as_str(), Self::WireGuard.as_str()];

    /// The word for it in settings and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenVpn => "openvpn",
            Self::WireGuard => "wireguard",
        }
    }

    /// The one that this is the word for.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }

    /// Whether it is what every gateway spoke before there was a choice.
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
