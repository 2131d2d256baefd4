//! Everything about SSH signatures: the allowed signers, revoked keys, and the check of one.

mod certificate;
mod key;
mod pattern;
mod revoked;
mod signature;
mod signers;
mod wire;

pub(super) use revoked::RevokedKeys;
pub(super) use signers::{AllowedSigners, Times};

use signature::{Identity, SshSignature};

use super::roles::Roles;
use super::verdict::{Role, Signer, Verdict, shown};

/// The namespace that git signs in.
pub(super) const NAMESPACE: &str = "git";

/// Whose signature `armor` over `payload` is, if they may.
pub(super) fn verify(
    armor: &[u8],
    payload: &[u8],
    (signers, revoked, roles): (&AllowedSigners, &RevokedKeys, &Roles),
    role: Role,
    times: Times,
) -> Result<Signer, Verdict> {
    let signature = SshSignature::check(armor, payload)?;
    if signature.namespace != NAMESPACE.as_bytes() {
        return Err(Verdict::WrongNamespace { namespace: shown(&signature.namespace) });
    }
    let names = signers.names(&signature.identity);
    let key = signature.identity.key().fingerprint();
    if is_revoked(&signature.identity, revoked) {
        let name = names.into_iter().next().unwrap_or_else(|| key.clone());
        return Err(Verdict::SignerRevoked { signer: Signer { name, key } });
    }
    signers.admit(&signature.identity, roles, role, times)
}

fn is_revoked(identity: &Identity, revoked: &RevokedKeys) -> bool {
    let is_authority_revoked = match identity {
        Identity::Key(_) => false,
        Identity::Certified(certificate) => revoked.has_ssh(&certificate.authority),
    };
    is_authority_revoked || revoked.has_ssh(identity.key())
}
