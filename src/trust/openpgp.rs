//! OpenPGP signatures, by the keys whose full fingerprints the trust file names.
//!
//! rPGP parses and does the arithmetic. What it leaves to its caller is decided here: which key of
//! the keyring counts, its expiry, revocation and flags, the binding of subkeys both ways, the age
//! of the hash, and critical parts of a signature that nobody understands.
//!
//! # Not here
//! Designated revokers and trust signatures: the trust file alone says whom we trust.

use std::collections::BTreeMap;

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, Tag};

use super::fault::{Faults, SourceText};
use super::ssh::{RevokedKeys, Times};
use super::verdict::{Signer, Verdict, shown};
use crate::model::Timestamp;

/// The keys that may sign.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenPgpKeys(Vec<TrustedKey>);

#[derive(Debug, Clone)]
struct TrustedKey {
    name: String,
    /// 40 hex digits, upper case.
    fingerprint: String,
    key: SignedPublicKey,
}

/// The part of a key that made a signature.
enum Part<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

/// The first line of an armoured public key.
const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";

impl OpenPgpKeys {
    /// Takes the keys of `wanted` (fingerprint to name) out of an armoured keyring.
    pub(super) fn parse(
        source: &SourceText,
        wanted: &BTreeMap<String, String>,
        faults: &mut Faults,
    ) -> Self {
        let text = String::from_utf8_lossy(&source.bytes);
        let mut keys = Vec::new();
        let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
        if starts.is_empty() {
            faults.add(
                source,
                1,
                "there is no armoured OpenPGP key",
                "write it with `gpg --armor --export FINGERPRINT …`",
            );
        }
        for (nth, &start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).copied().unwrap_or(text.len());
            let line = text[..start].matches('\n').count() + 1;
            match parse_block(&text[start..end]) {
                Ok(found) => keys.extend(found),
                Err(error) => faults.add(
                    source,
                    line,
                    &format!("the key cannot be read ({})", shown(error.to_string().as_bytes())),
                    "export it again with `gpg --armor --export FINGERPRINT`",
                ),
            }
        }
        let trusted = keys.into_iter().filter_map(|key| {
            let fingerprint = hex(&key.primary_key);
            let name = wanted.get(&fingerprint)?.clone();
            Some(TrustedKey { name, fingerprint, key })
        });
        Self(trusted.collect())
    }

    /// Whether the key with this fingerprint (upper case) is there.
    pub(super) fn has(&self, fingerprint: &str) -> bool {
        self.0.iter().any(|trusted| trusted.fingerprint == fingerprint)
    }

    /// Name and all bytes of each key, sorted.
    pub(super) fn canonical(&self) -> Vec<(String, Vec<u8>)> {
        let bytes = |trusted: &TrustedKey| trusted.key.to_bytes().unwrap_or_default();
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|trusted| (format!("{} {}", trusted.name, trusted.fingerprint), bytes(trusted)))
            .collect();
        all.sort();
        all
    }

    /// Whose signature `armor` over `payload` is, if the key was good at these times.
    pub(super) fn verify(
        &self,
        armor: &[u8],
        payload: &[u8],
        revoked: &RevokedKeys,
        times: Times,
        latest: Timestamp,
    ) -> Result<Signer, Verdict> {
        let signature = only_signature(armor)?;
        check_form(&signature.signature)?;
        let Some((trusted, part)) = self.maker(&signature, payload) else {
            return Err(self.why_not(&signature.signature));
        };
        let signer =
            Signer { name: shown(trusted.name.as_bytes()), key: trusted.fingerprint.clone() };
        let is_listed = revoked.has_openpgp(&trusted.fingerprint)
            || matches!(part, Part::Subkey(subkey) if revoked.has_openpgp(&hex(&subkey.key)));
        if is_listed || trusted.is_revoked(&part) {
            return Err(Verdict::SignerRevoked { signer });
        }
        let made = signature
            .signature
            .created()
            .map(|created| from_secs(created.as_secs()))
            .ok_or_else(|| bad("it does not say when it was made"))?;
        if made > latest {
            return Err(Verdict::FutureDate { at: made, seen: times.first_seen });
        }
        trusted.check(&part, &signer, [made, times.dated, times.first_seen])?;
        if let Some(length) = nonzero(signature.signature.signature_expiration_time()) {
            let until = made.plus_secs(length);
            check_end(&signer, until, [times.dated, times.first_seen])?;
        }
        Ok(signer)
    }

    /// The key, and the part of it, that made the signature over `payload`.
    fn maker(
        &self,
        signature: &DetachedSignature,
        payload: &[u8],
    ) -> Option<(&TrustedKey, Part<'_>)> {
        self.0.iter().find_map(|trusted| {
            if signature.verify(&trusted.key.primary_key, payload).is_ok() {
                return Some((trusted, Part::Primary));
            }
            let subkeys = &trusted.key.public_subkeys;
            let subkey =
                subkeys.iter().find(|subkey| signature.verify(&subkey.key, payload).is_ok())?;
            Some((trusted, Part::Subkey(subkey)))
        })
    }

    /// Nobody whom we trust made it: by its own word somebody else, or it does not fit.
    fn why_not(&self, signature: &Signature) -> Verdict {
        let issuers = signature.issuer_fingerprint();
        let ids = signature.issuer_key_id();
        let is_issuer = |key: &dyn KeyDetails| {
            issuers.iter().any(|issuer| **issuer == key.fingerprint())
                || (issuers.is_empty() && ids.iter().any(|id| **id == key.legacy_key_id()))
        };
        let is_ours = self.0.iter().any(|trusted| {
            is_issuer(&trusted.key.primary_key)
                || trusted.key.public_subkeys.iter().any(|subkey| is_issuer(&subkey.key))
        });
        if is_ours {
            return bad("what was signed is not what is here");
        }
        let issuer = issuers.first().map(|issuer| issuer.to_string().to_ascii_uppercase());
        let id = ids.first().map(|id| id.to_string().to_ascii_uppercase());
        let key = issuer.or(id).unwrap_or_else(|| "(no fingerprint given)".to_owned());
        Verdict::UnknownSigner { key }
    }
}

fn bad(why: &str) -> Verdict {
    Verdict::BadSignature { why: why.to_owned() }
}

fn parse_block(text: &str) -> pgp::errors::Result<Vec<SignedPublicKey>> {
    let (keys, _headers) = SignedPublicKey::from_armor_many(text.as_bytes())?;
    keys.collect()
}

fn hex(key: &impl KeyDetails) -> String {
    key.fingerprint().to_string().to_ascii_uppercase()
}

fn from_secs(secs: u32) -> Timestamp {
    Timestamp::from_millis(i64::from(secs) * 1000)
}

/// The length in seconds; zero is none.
fn nonzero(length: Option<pgp::types::Duration>) -> Option<i64> {
    length.map(|length| i64::from(length.as_secs())).filter(|secs| *secs != 0)
}

/// The one signature in `armor`.
fn only_signature(armor: &[u8]) -> Result<DetachedSignature, Verdict> {
    let broken = |_| bad("it cannot be read as an OpenPGP signature");
    let (mut all, _headers) = DetachedSignature::from_armor_many(armor).map_err(broken)?;
    let first = all.next().ok_or_else(|| bad("it is empty"))?.map_err(broken)?;
    match all.next() {
        None => Ok(first),
        Some(_) => Err(bad("there is more than one signature in it")),
    }
}

/// What must hold for any signature on a git object, whoever made it.
fn check_form(signature: &Signature) -> Result<(), Verdict> {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    let Some(config) = signature.config() else {
        return Err(Verdict::Unsupported { what: "this version of an OpenPGP signature".into() });
    };
    if config.version() != SignatureVersion::V4 {
        let what = format!("version {:?} of an OpenPGP signature", config.version());
        return Err(Verdict::Unsupported { what });
    }
    if config.typ() != SignatureType::Binary {
        return Err(bad("it is not a signature of a file"));
    }
    if !matches!(config.hash_alg, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) {
        return Err(bad("its hash can be forged; use SHA-256 or better"));
    }
    let is_strange = |data: &SubpacketData| {
        matches!(
            data,
            SubpacketData::Other(..) | SubpacketData::Experimental(..) | SubpacketData::Notation(_)
        )
    };
    if config.hashed_subpackets().any(|part| part.is_critical && is_strange(&part.data)) {
        return Err(bad("it demands something that is not known here"));
    }
    Ok(())
}

impl TrustedKey {
    /// Whether a valid revocation of the key, or of the subkey that signed, is in the keyring.
    /// Whatever its reason and date: one that was only replaced signs nothing new either.
    fn is_revoked(&self, part: &Part<'_>) -> bool {
        let primary = &self.key.primary_key;
        let is_key_revoked = self.key.details.revocation_signatures.iter().any(|signature| {
            signature.typ() == Some(SignatureType::KeyRevocation)
                && signature.verify_key(primary).is_ok()
        });
        let is_subkey_revoked = match part {
            Part::Primary => false,
            Part::Subkey(subkey) => subkey.signatures.iter().any(|signature| {
                signature.typ() == Some(SignatureType::SubkeyRevocation)
                    && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
            }),
        };
        is_key_revoked || is_subkey_revoked
    }

    /// Checks flags and validity of the key, and of the subkey if that signed.
    fn check(
        &self,
        part: &Part<'_>,
        signer: &Signer,
        times: [Timestamp; 3],
    ) -> Result<(), Verdict> {
        let may_not =
            |why: &str| Verdict::KeyMayNotSign { signer: signer.clone(), why: why.to_owned() };
        let primary = &self.key.primary_key;
        let own = self
            .newest_self_signature()
            .ok_or_else(|| may_not("it bears no valid signature of its own"))?;
        check_validity(signer, primary, own, times)?;
        match part {
            // A key without flags may do what its algorithm can.
            Part::Primary if key_flags(own).is_none_or(KeyFlags::sign) => Ok(()),
            Part::Primary => Err(may_not("it is not flagged for signing")),
            Part::Subkey(subkey) => {
                let binding = newest(subkey.signatures.iter().filter(|signature| {
                    signature.typ() == Some(SignatureType::SubkeyBinding)
                        && signature.verify_subkey_binding(primary, &subkey.key).is_ok()
                }))
                .ok_or_else(|| may_not("its subkey is not bound to it"))?;
                if !key_flags(binding).is_some_and(KeyFlags::sign) {
                    return Err(may_not("its subkey is not flagged for signing"));
                }
                // Without it anybody could adopt somebody else's subkey, and so the signature.
                let is_mutual = binding.embedded_signature().is_some_and(|back| {
                    back.verify_primary_key_binding(&subkey.key, primary).is_ok()
                });
                if !is_mutual {
                    return Err(may_not("its subkey does not vouch for it"));
                }
                check_validity(signer, &subkey.key, binding, times)
            }
        }
    }

    /// The newest valid signature of the key over itself: it says flags and expiry.
    fn newest_self_signature(&self) -> Option<&Signature> {
        let primary = &self.key.primary_key;
        let details = &self.key.details;
        let direct = details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key) && signature.verify_key(primary).is_ok()
        });
        let of_users = details.users.iter().flat_map(|user| {
            user.signatures.iter().filter(|signature| {
                signature.is_certification()
                    && signature.typ() != Some(SignatureType::CertRevocation)
                    && is_by(signature, primary)
                    && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            })
        });
        newest(direct.chain(of_users))
    }
}

/// Whether the signature says that `key` made it.
fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    signature.issuer_fingerprint().iter().any(|issuer| **issuer == key.fingerprint())
        || signature.issuer_key_id().iter().any(|id| **id == key.legacy_key_id())
}

fn newest<'a>(signatures: impl Iterator<Item = &'a Signature>) -> Option<&'a Signature> {
    signatures.max_by_key(|signature| signature.created().map(|created| created.as_secs()))
}

/// The flags that a self-signature sets, if it sets any.
fn key_flags(signature: &Signature) -> Option<&KeyFlags> {
    signature.config()?.hashed_subpackets().find_map(|part| match &part.data {
        SubpacketData::KeyFlags(flags) => Some(flags),
        _ => None,
    })
}

/// Checks that `key`, with the expiry that `own` sets, is valid at all `times`.
fn check_validity(
    signer: &Signer,
    key: &impl KeyDetails,
    own: &Signature,
    times: [Timestamp; 3],
) -> Result<(), Verdict> {
    let since = from_secs(key.created_at().as_secs());
    if let Some(&at) = times.iter().find(|at| **at < since) {
        return Err(Verdict::SignerNotYetValid { signer: signer.clone(), since, at });
    }
    match nonzero(own.key_expiration_time()) {
        Some(length) => check_end(signer, since.plus_secs(length), times),
        None => Ok(()),
    }
}

fn check_end<const N: usize>(
    signer: &Signer,
    until: Timestamp,
    times: [Timestamp; N],
) -> Result<(), Verdict> {
    match times.into_iter().find(|at| *at >= until) {
        Some(at) => Err(Verdict::SignerExpired { signer: signer.clone(), until, at }),
        None => Ok(()),
    }
}
