//! Security keys (FIDO): their signatures, made here without the hardware, against `ssh-keygen`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256, Sha512};

use crate::lab::{Case, Lab, Oracle, Signed, Tag};

use Oracle::{Accepts, Refuses};

const APPLICATION: &[u8] = b"ssh:";

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// A token: its public key blob, and what it answers when asked to sign.
struct Token {
    algorithm: &'static str,
    blob: Vec<u8>,
    sign: Sign,
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn ed25519() -> Token {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let algorithm = "sk-ssh-ed25519@openssh.com";
    let blob =
        [string(algorithm.as_bytes()), string(pair.public_key().as_ref()), string(APPLICATION)];
    Token {
        algorithm,
        blob: blob.concat(),
        sign: Box::new(move |data| pair.sign(data).as_ref().to_vec()),
    }
}

fn p256() -> Token {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
            .unwrap();
    let algorithm = "sk-ecdsa-sha2-nistp256@openssh.com";
    let blob = [
        string(algorithm.as_bytes()),
        string(b"nistp256"),
        string(pair.public_key().as_ref()),
        string(APPLICATION),
    ];
    let sign = move |data: &[u8]| {
        // SEQUENCE { INTEGER r, INTEGER s }: the integers are SSH's, with lengths of one byte.
        let der = pair.sign(&SystemRandom::new(), data).unwrap().as_ref().to_vec();
        let n_r = usize::from(der[3]);
        let (r, s) = (&der[4..4 + n_r], &der[6 + n_r..]);
        [string(r), string(s)].concat()
    };
    Token { algorithm, blob: blob.concat(), sign: Box::new(sign) }
}

impl Token {
    /// An armoured signature over `payload` with these flags.
    fn signature(&self, payload: &[u8], flags: u8) -> Vec<u8> {
        let digest = Sha512::digest(payload);
        let message =
            [b"SSHSIG".to_vec(), string(b"git"), string(b""), string(b"sha512"), string(&digest)];
        let trailer = [&[flags][..], &9u32.to_be_bytes()].concat();
        let data = [
            Sha256::digest(APPLICATION).to_vec(),
            trailer.clone(),
            Sha256::digest(message.concat()).to_vec(),
        ];
        let signature =
            [string(self.algorithm.as_bytes()), string(&(self.sign)(&data.concat())), trailer];
        let blob = [
            b"SSHSIG".to_vec(),
            1u32.to_be_bytes().to_vec(),
            string(&self.blob),
            string(b"git"),
            string(b""),
            string(b"sha512"),
            string(&signature.concat()),
        ];
        let digits = STANDARD.encode(blob.concat());
        let lines: Vec<&str> =
            digits.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
            lines.join("\n")
        )
        .into_bytes()
    }
}

#[test]
fn signatures_of_security_keys_are_judged_as_ssh_keygen_does() {
    for token in [ed25519(), p256()] {
        let lab = Lab::new();
        let line =
            format!("alice@ctf.example {} {}\n", token.algorithm, STANDARD.encode(&token.blob));
        lab.write("allowed_signers", line);
        let keyring = lab.keyring("[roles]\n\"alice@ctf.example\" = [\"release\"]\n");
        let payload = Tag::new().payload();
        let touched = Signed { signature: token.signature(&payload, 1), payload };
        let untouched =
            Signed { signature: token.signature(&touched.payload, 0), ..touched.clone() };
        let tampered = touched.clone().with_other_payload();
        for (what, signed, wanted, oracle) in [
            ("touched", &touched, "Good", Accepts),
            ("tampered", &tampered, "BadSignature", Refuses),
            // `ssh-keygen` leaves the flag to its caller.
            ("not touched", &untouched, "BadSignature", Accepts),
        ] {
            let case = Case::new(format!("{} {what}", token.algorithm), signed);
            case.check(&keyring, wanted, (lab.ssh_oracle(&case, &Tag::new().at), oracle));
        }
    }
}
