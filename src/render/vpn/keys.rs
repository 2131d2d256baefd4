//! The keys of one instance's VPN, all derived.

use p256::ecdsa::SigningKey;
use zeroize::Zeroizing;

use super::Holder;
use crate::model::InstanceId;
use crate::render::answers::{AnswerKey, Seed};

/// Separates these keys from any other use of the installation's key, and versions them.
const PURPOSE: &[u8] = b"vpn1";

/// Derives the keys of one instance.
pub(super) struct Keys<'a> {
    key: &'a AnswerKey,
    instance: InstanceId,
}

impl<'a> Keys<'a> {
    pub(super) fn new(key: &'a AnswerKey, instance: InstanceId) -> Self {
        Self { key, instance }
    }

    /// How the certificate of the gateway is called.
    pub(super) fn server_name(&self) -> String {
        Self::server_name_of(self.instance)
    }

    pub(super) fn server_name_of(instance: InstanceId) -> String {
        format!("gateway.{instance}")
    }

    fn seed(&self, words: &[&str]) -> Seed {
        self.key.derive(PURPOSE, self.instance, words)
    }

    /// A signing key on P-256, which every TLS library of an OpenVPN client knows.
    pub(super) fn signing(&self, whose: &str) -> SigningKey {
        // Almost every 32 bytes are a scalar of the curve; the next ones are when these are not.
        (0_u32..)
            .find_map(|n| {
                let seed = self.seed(&["sign", whose, &n.to_string()]);
                SigningKey::from_slice(&seed[..]).ok()
            })
            .expect("not every hash is outside of the curve's order")
    }

    /// `n_blocks` times 32 bytes.
    pub(super) fn bytes(&self, purpose: &str, whose: &str, n_blocks: usize) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(n_blocks * 32));
        for n in 0..n_blocks {
            bytes.extend_from_slice(&self.seed(&[purpose, whose, &n.to_string()])[..]);
        }
        bytes
    }

    /// The serial number of a certificate: positive, 127 bits.
    pub(super) fn serial(&self, whose: &str) -> Vec<u8> {
        let mut serial = self.seed(&["serial", whose])[..16].to_vec();
        serial[0] = serial[0] & 0x7f | 0x40;
        serial
    }
}

/// How a holder's keys are told from others'.
pub(super) fn of(holder: Holder) -> String {
    format!("client {holder}")
}
