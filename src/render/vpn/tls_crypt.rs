//! The keys of `tls-crypt-v2`: a gateway answers nobody who has none, not even with a refusal.
//!
//! A client's key goes over the wire wrapped in the server's, so that the server stores none. The
//! shape is that of OpenVPN's own documentation (`tls-crypt-v2.txt`).

use std::fmt::Write as _;

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Holder;
use super::keys::{self, Keys};

/// Characters of base64 in one line of PEM.
const LINE: usize = 64;
/// What follows in the metadata is for whoever made the key.
const METADATA_USER: u8 = 0;

/// The server's key file.
pub(super) fn server(keys: &Keys<'_>) -> Zeroizing<String> {
    pem("OpenVPN tls-crypt-v2 server key", &server_bytes(keys))
}

/// The key file of one client.
pub(super) fn client(keys: &Keys<'_>, holder: Holder) -> Zeroizing<String> {
    let server = server_bytes(keys);
    let client = keys.bytes("tls-crypt-v2", &keys::of(holder), 8);
    let wrapped = wrap(&server, &client, holder.to_string().as_bytes());
    let mut whole = client;
    whole.extend_from_slice(&wrapped);
    pem("OpenVPN tls-crypt-v2 client key", &whole)
}

/// 64 bytes for the cipher, of which it takes 32, and as many for the authentication code.
fn server_bytes(keys: &Keys<'_>) -> Zeroizing<Vec<u8>> {
    keys.bytes("tls-crypt-v2", "server", 4)
}

fn wrap(server: &[u8], client: &[u8], metadata: &[u8]) -> Vec<u8> {
    let mut inner = Zeroizing::new(client.to_vec());
    inner.push(METADATA_USER);
    inner.extend_from_slice(metadata);
    let length = u16::try_from(32 + inner.len() + 2).expect("a key and a name are short");
    let mut code = Hmac::<Sha256>::new_from_slice(&server[64..96]).expect("any length is a key");
    code.update(&length.to_be_bytes());
    code.update(&inner);
    let tag = code.finalize().into_bytes();
    let mut cipher = Ctr128BE::<Aes256>::new_from_slices(&server[..32], &tag[..16])
        .expect("32 bytes are a key and 16 a nonce");
    cipher.apply_keystream(&mut inner);
    let mut wrapped = tag.to_vec();
    wrapped.extend_from_slice(&inner);
    wrapped.extend_from_slice(&length.to_be_bytes());
    wrapped
}

fn pem(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(bytes));
    let mut text = Zeroizing::new(format!("-----BEGIN {label}-----\n"));
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(LINE.min(rest.len()));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(text, "-----END {label}-----");
    text
}
