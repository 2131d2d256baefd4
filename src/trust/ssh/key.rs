//! SSH public keys, and whether one of them made a signature. All cryptography is ring's.
//!
//! In:  key and signature blobs, hostile. Out: a checked key; a yes, or why not.
//!
//! Not supported, and said so: DSA, P-521 (ring has neither), RSA under 2048 or over 8192 bits, and
//! signatures with SHA-1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest as _, Sha256};

use super::wire::{Wire, put_string};
use crate::trust::verdict::shown;

/// A public key that we can check signatures of. Equal keys are equal byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::trust) struct PublicKey {
    blob: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ed25519 { point: Vec<u8> },
    P256 { point: Vec<u8> },
    P384 { point: Vec<u8> },
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    SkEd25519 { point: Vec<u8>, application: Vec<u8> },
    SkP256 { point: Vec<u8>, application: Vec<u8> },
}

/// Why a key blob is no key for us. The text reads after `the key is `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) enum KeyError {
    /// Not what its own kind prescribes.
    Broken,
    /// A kind that we do not check, named.
    Unsupported(String),
}

/// The algorithms of keys, as they are called on the wire.
pub(super) const ALGORITHMS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

impl PublicKey {
    /// Reads a key blob, all of it.
    pub(in crate::trust) fn parse(blob: &[u8]) -> Result<Self, KeyError> {
        let mut wire = Wire(blob);
        let algorithm = wire.text().ok_or(KeyError::Broken)?;
        let key = Self::parse_fields(algorithm, &mut wire)?;
        wire.end().ok_or(KeyError::Broken)?;
        Ok(key)
    }

    /// Reads the fields of a key of `algorithm`, as they stand in a blob or a certificate.
    pub(super) fn parse_fields(algorithm: &str, wire: &mut Wire<'_>) -> Result<Self, KeyError> {
        let begin = wire.clone();
        let kind = match algorithm {
            "ssh-ed25519" => point_25519(wire).map(|point| Kind::Ed25519 { point }),
            "ecdsa-sha2-nistp256" => {
                point_on(wire, "nistp256", 65).map(|p| Kind::P256 { point: p })
            }
            "ecdsa-sha2-nistp384" => {
                point_on(wire, "nistp384", 97).map(|p| Kind::P384 { point: p })
            }
            "ssh-rsa" => rsa(wire)?,
            "sk-ssh-ed25519@openssh.com" => point_25519(wire).and_then(|point| {
                Some(Kind::SkEd25519 { point, application: wire.string()?.to_vec() })
            }),
            "sk-ecdsa-sha2-nistp256@openssh.com" => {
                point_on(wire, "nistp256", 65).and_then(|point| {
                    Some(Kind::SkP256 { point, application: wire.string()?.to_vec() })
                })
            }
            other => {
                let name = format!("of the kind `{}`", shown(other.as_bytes()));
                return Err(KeyError::Unsupported(name));
            }
        };
        let kind = kind.ok_or(KeyError::Broken)?;
        let mut blob = Vec::new();
        put_string(&mut blob, algorithm.as_bytes());
        blob.extend_from_slice(&begin.0[..begin.0.len() - wire.0.len()]);
        Ok(Self { blob, kind })
    }

    /// The key as it stands on the wire.
    pub(in crate::trust) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Its kind, as it is called on the wire.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ed25519 { .. } => ALGORITHMS[0],
            Kind::P256 { .. } => ALGORITHMS[1],
            Kind::P384 { .. } => ALGORITHMS[2],
            Kind::Rsa { .. } => ALGORITHMS[3],
            Kind::SkEd25519 { .. } => ALGORITHMS[4],
            Kind::SkP256 { .. } => ALGORITHMS[5],
        }
    }

    /// `SHA256:…` as ssh prints it.
    pub(in crate::trust) fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&self.blob)))
    }

    /// Checks that this key made the signature blob over `data`.
    pub(super) fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), &'static str> {
        let mut wire = Wire(signature);
        let (Some(algorithm), Some(bytes)) = (wire.string(), wire.string()) else {
            return Err("it is cut off");
        };
        match &self.kind {
            Kind::Ed25519 { point } => {
                fits(algorithm, b"ssh-ed25519")?;
                wire.end().ok_or(MISMATCH)?;
                check(&ED25519, point, data, bytes)
            }
            Kind::P256 { point } => {
                fits(algorithm, b"ecdsa-sha2-nistp256")?;
                wire.end().ok_or(MISMATCH)?;
                check(&ECDSA_P256_SHA256_FIXED, point, data, &fixed::<32>(bytes)?)
            }
            Kind::P384 { point } => {
                fits(algorithm, b"ecdsa-sha2-nistp384")?;
                wire.end().ok_or(MISMATCH)?;
                check(&ECDSA_P384_SHA384_FIXED, point, data, &fixed::<48>(bytes)?)
            }
            Kind::Rsa { modulus, exponent } => {
                wire.end().ok_or(MISMATCH)?;
                let algorithm = match algorithm {
                    b"rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                    b"rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    b"ssh-rsa" => return Err("it uses SHA-1, which can be forged"),
                    _ => return Err(MISMATCH),
                };
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(algorithm, data, bytes)
                    .map_err(|_| CHANGED)
            }
            Kind::SkEd25519 { point, application } => {
                fits(algorithm, b"sk-ssh-ed25519@openssh.com")?;
                check(&ED25519, point, &touched(application, data, wire)?, bytes)
            }
            Kind::SkP256 { point, application } => {
                fits(algorithm, b"sk-ecdsa-sha2-nistp256@openssh.com")?;
                let data = touched(application, data, wire)?;
                check(&ECDSA_P256_SHA256_FIXED, point, &data, &fixed::<32>(bytes)?)
            }
        }
    }
}

const CHANGED: &str = "what was signed is not what is here";
const MISMATCH: &str = "it does not fit the kind of the key";

fn fits(algorithm: &[u8], of_key: &[u8]) -> Result<(), &'static str> {
    if algorithm == of_key { Ok(()) } else { Err(MISMATCH) }
}

fn check(
    algorithm: &'static dyn VerificationAlgorithm,
    point: &[u8],
    data: &[u8],
    signature: &[u8],
) -> Result<(), &'static str> {
    UnparsedPublicKey::new(algorithm, point).verify(data, signature).map_err(|_| CHANGED)
}

fn point_25519(wire: &mut Wire<'_>) -> Option<Vec<u8>> {
    wire.string().filter(|point| point.len() == 32).map(<[u8]>::to_vec)
}

/// An uncompressed point on `curve`.
fn point_on(wire: &mut Wire<'_>, curve: &str, length: usize) -> Option<Vec<u8>> {
    let is_curve = wire.string()? == curve.as_bytes();
    let point = wire.string().filter(|point| point.len() == length && point[0] == 4)?;
    is_curve.then(|| point.to_vec())
}

fn rsa(wire: &mut Wire<'_>) -> Result<Option<Kind>, KeyError> {
    let (Some(exponent), Some(modulus)) = (wire.positive(), wire.positive()) else {
        return Ok(None);
    };
    let n_bits = modulus.len() * 8 - modulus.first().map_or(0, |b| b.leading_zeros() as usize);
    if !(2048..=8192).contains(&n_bits) {
        return Err(KeyError::Unsupported(format!(
            "of the kind `ssh-rsa` with {n_bits} bits, and 2048 to 8192 are checked"
        )));
    }
    Ok(Some(Kind::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() }))
}

/// `r` and `s` of an ECDSA signature, each filled up to `N` bytes.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut wire = Wire(bytes);
    let mut out = Vec::with_capacity(2 * N);
    for _ in 0..2 {
        let number = wire.positive().filter(|number| number.len() <= N).ok_or(CHANGED)?;
        out.resize(out.len() + N - number.len(), 0);
        out.extend_from_slice(number);
    }
    wire.end().ok_or(CHANGED)?;
    Ok(out)
}

/// What a security key signs for `data` (PROTOCOL.u2f); `trailer` holds its flags and counter.
///
/// Without its touch a thief of the computer could sign, so that is refused.
fn touched(
    application: &[u8],
    data: &[u8],
    mut trailer: Wire<'_>,
) -> Result<Vec<u8>, &'static str> {
    const USER_PRESENT: u8 = 1;
    let (Some(flags), Some(counter), Some(())) = (trailer.u8(), trailer.take(4), trailer.end())
    else {
        return Err(MISMATCH);
    };
    if flags & USER_PRESENT == 0 {
        return Err("the security key was not touched");
    }
    let mut out = Sha256::digest(application).to_vec();
    out.push(flags);
    out.extend_from_slice(counter);
    out.extend_from_slice(&Sha256::digest(data));
    Ok(out)
}
