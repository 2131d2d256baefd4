//! The certificates of one instance: an authority, the gateway, and who may connect.
//!
//! # Invariants
//! * Signatures are those of RFC 6979, so that equal input gives equal certificates.
//! * Valid from three years before the instance to ten years after it: a machine whose clock is wrong
//!   by years still connects, and the authority ends with the gateway anyway.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::keys::{self, Keys};
use super::{Holder, VpnError};
use crate::model::Timestamp;

const SECS_PER_YEAR: i64 = 31_557_600;
const YEARS_BEFORE: i64 = 3;
const YEARS_AFTER: i64 = 10;

/// The authority of one instance.
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, Key>,
    created_at: Timestamp,
}

/// A certificate with its private key, both in PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

impl Authority {
    pub(super) fn new(keys: &Keys<'_>, created_at: Timestamp) -> Result<Self, VpnError> {
        let key = Key::new(keys.signing("ca"));
        let mut params = params(keys, "ca", "flagops engagement", &key, created_at);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed("the authority"))?;
        let pem = pem(&certificate);
        Ok(Self { pem, issuer: Issuer::new(params, key), created_at })
    }

    /// The authority's own certificate, in PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.pem
    }

    pub(super) fn server(&self, keys: &Keys<'_>) -> Result<Identity, VpnError> {
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        let made = self.issue(keys, "server", &keys.server_name(), usage);
        made.map_err(failed("the gateway"))
    }

    pub(super) fn client(&self, keys: &Keys<'_>, holder: Holder) -> Result<Identity, VpnError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let made = self.issue(keys, &keys::of(holder), &holder.to_string(), usage);
        made.map_err(failed("a player"))
    }

    fn issue(
        &self,
        keys: &Keys<'_>,
        whose: &str,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, rcgen::Error> {
        let key = Key::new(keys.signing(whose));
        let mut params = params(keys, whose, name, &key, self.created_at);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private = key.signing.to_pkcs8_pem(LineEnding::LF);
        let private = private.map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
        Ok(Identity { certificate: pem(&certificate), key: private })
    }
}

fn params(
    keys: &Keys<'_>,
    whose: &str,
    name: &str,
    key: &Key,
    created_at: Timestamp,
) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.not_before = whole_secs(created_at.plus_secs(-YEARS_BEFORE * SECS_PER_YEAR));
    params.not_after = whole_secs(created_at.plus_secs(YEARS_AFTER * SECS_PER_YEAR));
    params.serial_number = Some(SerialNumber::from_slice(&keys.serial(whose)));
    params.distinguished_name = subject;
    let key_id = Sha256::digest(&key.public)[..20].to_vec();
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
    params
}

/// A certificate holds no finer time.
fn whole_secs(at: Timestamp) -> time::OffsetDateTime {
    Timestamp::from_millis(at.as_millis().div_euclid(1000) * 1000).as_date_time()
}

fn pem(certificate: &Certificate) -> String {
    // The same line ends everywhere.
    certificate.pem().replace("\r\n", "\n")
}

fn failed(whose: &'static str) -> impl FnOnce(rcgen::Error) -> VpnError {
    move |source| VpnError::Certificate { whose, source }
}

/// A key that signs without chance, as the library of certificates wants it.
pub(crate) struct Key {
    signing: SigningKey,
    public: Vec<u8>,
}

impl Key {
    /// Around `signing`.
    pub(crate) fn new(signing: SigningKey) -> Self {
        let public = signing.verifying_key().to_encoded_point(false).as_bytes().to_vec();
        Self { signing, public }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: DerSignature = self.signing.sign(message);
        Ok(signature.to_bytes().to_vec())
    }
}
