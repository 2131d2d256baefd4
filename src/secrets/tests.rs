//! What is encrypted comes back, and what is broken, foreign or too large gives nothing.

use proptest::prelude::*;

use super::*;
use crate::trust::SourceText;

/// `FLAG{sample-flag}` and a line end by the tool `age`, for 32 bytes of `0x42`.
const SAMPLE: &str = "\
-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBuVGNEK3FvNnJMTUFuNm1w
Qk9hU0c4dDdTdDljMVZvLy9zV25CTVZSbzFNCjFMd3poNUlGMmhZYnI5aEVKR1dO
UEFhREVGWjNZMzBXQUxoaE5oK0V1cWsKLS0tIHkwNU8zbFkwZEUxaDB0SVJGOXhI
S3hWZDdvQWszUDN0RERSL2o2NUxLamcKQJgyvEpEdr/5Hia+Qa4AMKbDnVPef4iq
Gqw8LM4poWd8W+Dhp2zKJrjMDjX8rZn+vvE=
-----END AGE ENCRYPTED FILE-----
";
const SAMPLE_KEY: &str =
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

fn source(text: &str) -> SourceText {
    SourceText { name: "keys".to_owned(), bytes: text.as_bytes().to_vec() }
}

fn identities(text: &str) -> Identities {
    Identities::parse(&source(text)).unwrap()
}

/// An identity and the recipients that it is one of.
fn pair() -> (Identities, Recipients) {
    let pair = KeyPair::generate().unwrap();
    let recipients = Recipients::parse(&source(pair.recipient())).unwrap();
    (identities(&pair.file()), recipients)
}

fn said<T: AsRef<[u8]> + std::fmt::Debug, E: std::fmt::Display>(outcome: Result<T, E>) -> String {
    match outcome {
        Ok(bytes) => format!("{:?}", String::from_utf8_lossy(bytes.as_ref())),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_of_the_tool_age_is_opened_by_its_key_alone() {
    assert_eq!(said(identities(SAMPLE_KEY).decrypt(SAMPLE.as_bytes())), "\"FLAG{sample-flag}\\n\"");
    let header = inspect(SAMPLE.as_bytes()).unwrap();
    assert_eq!(header, Header { encoding: Encoding::Armored, n_recipients: 1, plain_bytes: 18 });
    insta::assert_snapshot!(said(pair().0.decrypt(SAMPLE.as_bytes())), @"the age identity of this node does not open it; put the recipient of this node into `.age-recipients`, and run `flagops secrets rekey` where an identity opens it");
    insta::assert_snapshot!(said(Identities::none().decrypt(SAMPLE.as_bytes())), @"this node has no age identity; name its file as `secrets.identity_file`, then restart");
}

#[test]
fn every_chunk_boundary_comes_back_and_its_size_is_known_before() {
    let (identities, recipients) = pair();
    for n_bytes in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_001] {
        let plain: Vec<u8> = (0..n_bytes).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for encoding in [Encoding::Binary, Encoding::Armored] {
            let bytes = recipients.encrypt(&plain, encoding).unwrap();
            let header = inspect(&bytes).unwrap();
            assert_eq!((header.encoding, header.n_recipients), (encoding, 1));
            assert_eq!(header.plain_bytes, plain.len() as u64);
            assert_eq!(identities.decrypt(&bytes).unwrap().as_ref(), plain, "{n_bytes}");
        }
    }
}

#[test]
fn each_of_several_recipients_opens_it_and_a_node_tries_all_its_identities() {
    let (one, two, three) =
        (KeyPair::generate().unwrap(), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let text = format!("# nodes\n{}\n\n{}\n", one.recipient(), two.recipient());
    let recipients = Recipients::parse(&source(&text)).unwrap();
    let bytes = recipients.encrypt(b"x", Encoding::Armored).unwrap();
    assert_eq!(inspect(&bytes).unwrap().n_recipients, 2);
    for pair in [&one, &two] {
        assert_eq!(said(identities(&pair.file()).decrypt(&bytes)), "\"x\"");
    }
    let rotated = format!("{}{}", *three.file(), *two.file());
    assert_eq!(said(identities(&rotated).decrypt(&bytes)), "\"x\"");
    let error = identities(&three.file()).decrypt(&bytes).unwrap_err();
    assert_eq!(error, DecryptError::OtherKeys { n_identities: 1 });
}

#[test]
fn a_large_plaintext_is_refused_on_both_ways() {
    let (identities, recipients) = pair();
    let most = usize::try_from(MAX_PLAIN_BYTES).unwrap();
    let error = recipients.encrypt(&vec![0; most + 1], Encoding::Binary).unwrap_err();
    assert_eq!(error, EncryptError::TooLarge { n_bytes: MAX_PLAIN_BYTES + 1 });
    let bytes = recipients.encrypt(&vec![7; most], Encoding::Armored).unwrap();
    assert!(bytes.len() as u64 <= MAX_FILE_BYTES);
    assert!(identities.decrypt(&bytes).is_ok());
    let mut more = recipients.encrypt(&vec![7; most], Encoding::Binary).unwrap();
    more.extend([0; 200]);
    assert_eq!(inspect(&more), Err(Unusable::TooLarge));
    assert_eq!(inspect(&vec![b'x'; 25 << 20]), Err(Unusable::TooLarge));
}

#[test]
fn what_no_node_can_open_says_why() {
    let mac = "A".repeat(43);
    let header =
        |stanzas: &str| format!("age-encryption.org/v1\n{stanzas}--- {mac}\n{}", "x".repeat(40));
    let check = |text: &str| said(inspect(text.as_bytes()).map(|_| "usable"));
    let x25519 = "-> X25519 AAAA\nAAAA\n";
    insta::assert_snapshot!(
        [
            "",
            "FLAG{sample-flag}",
            "age-encryption.org/v2\n",
            "age-encryption.org/v1",
            &header(x25519),
            &header(""),
            &header("-> scrypt AAAA 22\nAAAA\n"),
            &header(&format!("{x25519}-> scrypt AAAA 22\nAAAA\n")),
            &header("-> ssh-ed25519 AAAA AAAA\nAAAA\n"),
            &header(&format!("{x25519}-> 7-grease a b\n\n")),
            &header("->  X25519\nAAAA\n"),
            &header("-> X25519 AAAA\nA*AA\n"),
            &header(&format!("-> X25519 AAAA\n{}\n", "A".repeat(65))),
            &header(&x25519.repeat(101)),
            &header(&x25519.repeat(121)),
            &header(&format!("-> X25519 {}\n", "A".repeat(200_000))),
            &header(x25519)[..90],
            "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n",
            "-----BEGIN AGE ENCRYPTED FILE-----\nAAA",
            "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\nAAAA\n-----END AGE ENCRYPTED FILE-----\n",
            "-----BEGIN AGE ENCRYPTED FILE-----\n****\n-----END AGE ENCRYPTED FILE-----\n",
            "-----BEGIN AGE ENCRYPTED FILE-----x\n-----END AGE ENCRYPTED FILE-----\n",
            "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n-----END AGE ENCRYPTED FILE-----\nx",
        ]
        .map(check)
        .join("\n"), @r#"
    it is no age file
    it is no age file
    it has a newer format than age v1
    its end is missing
    "usable"
    its header is broken: it has no recipient
    it is encrypted with a passphrase, which a server cannot type, and trying one can be made to take minutes
    it is encrypted with a passphrase, which a server cannot type, and trying one can be made to take minutes
    it is encrypted for no X25519 key (`age1…`), the only kind that nodes have
    "usable"
    its header is broken: a recipient has no name
    its header is broken: a line of a recipient is no base64
    its header is broken: a line of a recipient is no base64
    its header is broken: it has more than a hundred recipients
    its header is broken: it has more than a hundred recipients
    its header is broken: it has more than 128 KiB
    its end is missing
    its end is missing
    its end is missing
    its armor is broken at line 3: a line follows a shorter one
    its armor is broken at line 2: the line is no base64 of at most 64 characters
    its armor is broken at line 1: the first line has more than it should
    its armor is broken at line 4: something follows the last line
    "#
    );
}

#[test]
fn faults_of_key_files_are_named_by_line_and_no_key_is_repeated() {
    let pair = KeyPair::generate().unwrap();
    let (own, identity) = (pair.recipient(), pair.file().lines().last().unwrap().to_owned());
    let text = format!(
        "# ours\n{own}\n{own}\nage1nonsense\nssh-ed25519 AAAA me\n{identity}\nage1pq1xxx\n"
    );
    let error = Recipients::parse(&source(&text)).unwrap_err().to_string();
    assert!(!error.contains(&identity), "{error}");
    insta::assert_snapshot!(error, @"
    the recipients cannot be used: keys:3: the recipient stands twice; remove one of the two
    keys:4: the line is no recipient (`age1…`); write what `flagops secrets keygen` prints
    keys:5: keys of SSH cannot be used; write an age recipient (`age1…`)
    keys:6: this is an identity, the private half of a key; remove it, write its recipient, and encrypt everything for a new key: it has leaked
    keys:7: recipients of this kind cannot be used; write an X25519 recipient (`age1…`)
    ");
    let none = Recipients::parse(&source("# nobody\n")).unwrap_err();
    insta::assert_snapshot!(none, @"the recipients cannot be used: keys:1: there is no recipient; add what `flagops secrets keygen` prints");
    let check = |text: &str| Identities::parse(&source(text)).unwrap_err().to_string();
    let broken = identity.replace('1', "2");
    let said = [own, "AGE-PLUGIN-X", "-----BEGIN OPENSSH PRIVATE KEY-----", SAMPLE, &broken, ""]
        .map(check)
        .join("\n");
    assert!(!said.contains(&broken) && !said.contains(own), "{said}");
    insta::assert_snapshot!(said, @"
    the age identities cannot be used: keys:1: this is a recipient, the public half of a key; name the file with the private half
    the age identities cannot be used: keys:1: identities of plug-ins cannot be used by a server; make a key with `flagops secrets keygen`
    the age identities cannot be used: keys:1: keys of SSH cannot be used to decrypt; make a key with `flagops secrets keygen`
    the age identities cannot be used: keys:1: the identities are encrypted with a passphrase, which a server cannot type; make a key with `flagops secrets keygen`
    the age identities cannot be used: keys:1: the line is no age identity (`AGE-SECRET-KEY-1…`); make a key with `flagops secrets keygen`
    the age identities cannot be used: keys:1: there is no age identity; make one with `flagops secrets keygen`
    ");
    assert!(check(&format!("{identity}\n").repeat(17)).contains("more than 16"));
}

#[test]
fn debug_prints_no_key_and_no_plaintext() {
    let pair = KeyPair::generate().unwrap();
    let identity = pair.file();
    let identities = identities(&identity);
    let plain = Plaintext::new(b"hunter2".to_vec());
    let said = format!("{pair:?} {identities:?} {plain:?}");
    assert!(!said.contains("SECRET") && !said.contains("hunter"), "{said}");
    assert!(!said.contains("104"), "no bytes as numbers either: {said}");
}

#[test]
fn line_ends_of_other_systems_and_white_space_around_change_nothing() {
    let key = identities(SAMPLE_KEY);
    for text in
        [SAMPLE.replace('\n', "\r\n"), format!("\n  {SAMPLE}\n\n"), SAMPLE.trim().to_owned()]
    {
        assert_eq!(said(key.decrypt(text.as_bytes())), "\"FLAG{sample-flag}\\n\"", "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_encrypted_comes_back(
        plain in prop::collection::vec(any::<u8>(), 0..3000),
        is_armored in any::<bool>(),
    ) {
        let (identities, recipients) = pair();
        let encoding = if is_armored { Encoding::Armored } else { Encoding::Binary };
        let bytes = recipients.encrypt(&plain, encoding).unwrap();
        prop_assert_eq!(inspect(&bytes).unwrap().plain_bytes, plain.len() as u64);
        let (back, stored) = identities.decrypt_as_stored(&bytes).unwrap();
        prop_assert_eq!(back.as_ref(), &plain[..]);
        prop_assert_eq!(stored, encoding);
    }

    #[test]
    fn a_file_that_was_cut_or_changed_gives_no_plaintext(
        plain in prop::collection::vec(any::<u8>(), 0..200_000),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        is_cut in any::<bool>(),
    ) {
        let (identities, recipients) = pair();
        let mut bytes = recipients.encrypt(&plain, Encoding::Binary).unwrap();
        let at = at.index(bytes.len());
        if is_cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        prop_assert!(identities.decrypt(&bytes).is_err());
    }

    #[test]
    fn an_armored_file_that_was_changed_gives_no_other_plaintext(
        plain in prop::collection::vec(any::<u8>(), 0..500),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (identities, recipients) = pair();
        let mut bytes = recipients.encrypt(&plain, Encoding::Armored).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // White space at the end is none of the file.
        if let Ok(back) = identities.decrypt(&bytes) {
            prop_assert_eq!(back.as_ref(), &plain[..]);
        }
    }

    #[test]
    fn nothing_makes_a_look_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = inspect(&bytes);
        let begun = [b"age-encryption.org/v1\n-> X25519 AAAA\n".as_slice(), &bytes].concat();
        let _ = inspect(&begun);
        let armored = [b"-----BEGIN AGE ENCRYPTED FILE-----\n".as_slice(), &bytes].concat();
        let _ = Identities::none().decrypt(&armored);
    }
}
