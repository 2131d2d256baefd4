//! Whom we trust, out of the trust file and the files that it names.

use sha2::{Digest as _, Sha256};

use super::fault::{Faults, KeyringErrors, SourceText};
use super::file::TrustFile;
use super::object::Armor;
use super::openpgp::OpenPgpKeys;
use super::roles::Roles;
use super::ssh::{self, AllowedSigners, RevokedKeys, Times};
use super::verdict::{Role, Signer, Verdict};
use crate::model::{KeyringDigest, Timestamp};

/// What a change of the rules in this room changes, so that old verdicts are not kept.
const RULES: &str = "flagops-trust-v1";

/// The files that the trust file names, as far as it names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// The file behind `allowed_signers`.
    pub allowed_signers: Option<SourceText>,
    /// The file behind `revoked_keys`.
    pub revoked_keys: Option<SourceText>,
    /// The file behind `openpgp_keyring`.
    pub openpgp_keyring: Option<SourceText>,
}

/// Who may sign what. Immutable; another content is another [`Keyring::digest`].
///
/// `Default` trusts nobody.
#[derive(Debug, Clone)]
pub struct Keyring {
    signers: AllowedSigners,
    revoked: RevokedKeys,
    openpgp: OpenPgpKeys,
    roles: Roles,
    digest: KeyringDigest,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new(
            AllowedSigners::default(),
            RevokedKeys::default(),
            OpenPgpKeys::default(),
            Roles::default(),
        )
    }
}

impl Keyring {
    /// Puts a keyring together. `source` is the text that `file` was read from.
    ///
    /// # Errors
    /// Every mistake in all files: file, line, what, and the fix. A keyring with mistakes is not
    /// used at all: a line that was meant as a limit must not be lost.
    pub fn parse(
        source: &SourceText,
        file: &TrustFile,
        files: &KeyFiles,
    ) -> Result<Self, KeyringErrors> {
        let mut faults = Faults::default();
        let signers = files
            .allowed_signers
            .as_ref()
            .map(|text| AllowedSigners::parse(text, &mut faults))
            .unwrap_or_default();
        let revoked = files
            .revoked_keys
            .as_ref()
            .map(|text| RevokedKeys::parse(text, &mut faults))
            .unwrap_or_default();
        let wanted = file.openpgp.iter().map(|(key, (name, _))| (key.clone(), name.clone()));
        let openpgp = files
            .openpgp_keyring
            .as_ref()
            .map(|text| OpenPgpKeys::parse(text, &wanted.collect(), &mut faults))
            .unwrap_or_default();
        for (fingerprint, (_, line)) in &file.openpgp {
            if files.openpgp_keyring.is_some() && !openpgp.has(fingerprint) {
                let what = format!("the key {fingerprint} is not in the OpenPGP keyring");
                faults.add(source, *line, &what, "export it with `gpg --armor --export` too");
            }
        }
        let roles = roles(source, file, &signers, &mut faults);
        faults.finish(Self::new(signers, revoked, openpgp, roles))
    }

    fn new(
        signers: AllowedSigners,
        revoked: RevokedKeys,
        openpgp: OpenPgpKeys,
        roles: Roles,
    ) -> Self {
        let digest = digest(&signers, &revoked, &openpgp, &roles);
        Self { signers, revoked, openpgp, roles, digest }
    }

    /// The digest of everything that decides. A verdict holds for one digest.
    ///
    /// Comments, blank lines and the order of roles do not count.
    pub fn digest(&self) -> KeyringDigest {
        self.digest
    }

    /// Who signed `payload`, if they may in `role`. `latest` is the latest date that is believed.
    pub(super) fn verify(
        &self,
        armor: Armor<'_>,
        payload: &[u8],
        role: Role,
        times: Times,
        latest: Timestamp,
    ) -> Result<Signer, Verdict> {
        match armor {
            Armor::Ssh(armor) => {
                let trust = (&self.signers, &self.revoked, &self.roles);
                ssh::verify(armor, payload, trust, role, times)
            }
            Armor::OpenPgp(armor) => {
                let signer = self.openpgp.verify(armor, payload, &self.revoked, times, latest)?;
                match self.roles.holder([signer.name.as_str(), signer.key.as_str()], role) {
                    Some(_) => Ok(signer),
                    None => Err(Verdict::RoleMissing { signer, role }),
                }
            }
            Armor::Other(what) => Err(Verdict::Unsupported { what: what.to_owned() }),
        }
    }
}

/// The roles of the trust file. A role for a name that nobody bears is a typing mistake.
fn roles(
    source: &SourceText,
    file: &TrustFile,
    signers: &AllowedSigners,
    faults: &mut Faults,
) -> Roles {
    let mut roles = Roles::default();
    for (who, (granted, line)) in &file.roles {
        let is_openpgp =
            file.openpgp.contains_key(who) || file.openpgp.values().any(|(name, _)| name == who);
        if is_openpgp || signers.knows(who) {
            roles.grant(who, granted.iter().copied());
        } else {
            faults.add(
                source,
                *line,
                &format!("{} has a role, but no key bears that name", super::fault::quoted(who)),
                "write a principal of the allowed signers, a name of `[openpgp]`, or a fingerprint",
            );
        }
    }
    roles
}

fn digest(
    signers: &AllowedSigners,
    revoked: &RevokedKeys,
    openpgp: &OpenPgpKeys,
    roles: &Roles,
) -> KeyringDigest {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    put(RULES.as_bytes());
    signers.canonical().for_each(|line| put(line.as_bytes()));
    put(b"revoked");
    revoked.iter().for_each(|key| put(key.as_bytes()));
    put(b"openpgp");
    for (name, key) in openpgp.canonical() {
        put(name.as_bytes());
        put(&key);
    }
    put(b"roles");
    for (who, granted) in roles.iter() {
        put(who.as_bytes());
        put(format!("{granted:?}").as_bytes());
    }
    KeyringDigest::from_digest(hash.finalize().into())
}
