//! Profiles and what a gateway is given, checked by `openssl` and by taking them apart.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Command;

use proptest::prelude::*;

use super::*;

pub(super) fn key() -> AnswerKey {
    AnswerKey::new([7; 32])
}

pub(super) fn facts(instance: u128) -> Facts {
    Facts {
        instance: InstanceId::new(Uuid::from_u128(instance)),
        protocol: VpnProtocol::OpenVpn,
        created_at: Timestamp::from_millis(1_795_942_800_123),
        networks: vec!["10.80.0.16/28".parse().unwrap(), "10.80.0.32/28".parse().unwrap()],
        clients: "10.82.0.48/28".parse().unwrap(),
        admitted: vec![holder(1)],
        hub: None,
    }
}

fn holder(serial: u32) -> Holder {
    Holder { id: Uuid::from_u128(0xb1), serial }
}

pub(super) fn sheet(serial: u32) -> Profile {
    Profile {
        holder: holder(serial),
        holder_name: "blue".to_owned(),
        challenge: Named { id: "LAB-001".to_owned(), name: "Branch office".to_owned() },
        revision: Revision(crate::model::ObjectId::from_bytes([0xab; 20])),
        host: "ctf.example".to_owned(),
        port: 20_001,
        hosts: vec![("intranet".to_owned(), Ipv4Addr::new(10, 80, 0, 18))],
    }
}

fn files(facts: &Facts) -> BTreeMap<String, (u32, String)> {
    files_of(&gateway_tar(&key(), facts, &Own::default()).unwrap().made)
}

/// Mode and content of each file of an archive.
pub(super) fn files_of(bytes: &[u8]) -> BTreeMap<String, (u32, String)> {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let path = entry.path().unwrap().display().to_string();
        (path, (entry.header().mode().unwrap(), content))
    };
    archive.entries().unwrap().map(read).collect()
}

/// What stands in `<tag>` of a profile.
pub(super) fn block<'p>(profile: &'p str, tag: &str) -> &'p str {
    let (_, rest) = profile.split_once(&format!("<{tag}>\n")).unwrap();
    rest.split_once(&format!("</{tag}>")).unwrap().0
}

/// The profile without the insides of its blocks.
fn outline(profile: &str) -> String {
    let mut is_inside = false;
    let mut lines = Vec::new();
    for line in profile.lines() {
        is_inside &= !line.starts_with("</");
        if !is_inside {
            lines.push(line);
        }
        is_inside |= line.starts_with('<') && !line.starts_with("</");
    }
    lines.join("\n")
}

#[test]
fn the_gateway_gets_keys_that_only_root_reads_and_a_file_per_holder() {
    let files = files(&facts(1));
    let listed: Vec<_> = files.iter().map(|(name, (mode, _))| format!("{mode:o} {name}")).collect();
    insta::assert_snapshot!(listed.join("\n"), @r"
    644 ca.crt
    755 clients
    644 clients/00000000-0000-0000-0000-0000000000b1.1
    644 rules.nft
    644 server.conf
    644 server.crt
    600 server.key
    600 tls-crypt-v2.key
    ");
    insta::assert_snapshot!(files["server.conf"].1);
    insta::assert_snapshot!(files["rules.nft"].1);
}

#[test]
fn a_hub_lets_players_into_what_it_was_told_and_nothing_through_it() {
    let pool = "10.80.0.0/15".parse().unwrap();
    let hub = Hub { edge: "10.80.0.48/28".parse().unwrap(), pool };
    let hub = Facts { networks: Vec::new(), hub: Some(hub), ..facts(1) };
    let files = files(&hub);
    assert!(!files["server.conf"].1.contains("push \"route"), "{}", files["server.conf"].1);
    insta::assert_snapshot!(files["rules.nft"].1);
    let profile = profile(&key(), &hub, &sheet(1), &Own::default()).unwrap().made;
    assert!(profile.contains("into all engagements of its team, as they come and go;"));
    let nets = ["10.80.0.16/28".parse().unwrap(), "10.80.0.32/27".parse().unwrap()];
    assert_eq!(
        lead_to(&nets),
        [
            "networks",
            "10.80.0.16/28/255.255.255.240/10.80.0.17",
            "10.80.0.32/27/255.255.255.224/10.80.0.33"
        ]
    );
}

#[test]
fn a_profile_reads_like_this() {
    let profile = profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap().made;
    insta::assert_snapshot!(outline(&profile));
}

#[test]
fn the_same_facts_give_the_same_bytes_and_others_share_no_key() {
    let made = |instance, serial| {
        profile(&key(), &facts(instance), &sheet(serial), &Own::default()).unwrap().made
    };
    let (one, next, other) = (made(1, 1), made(1, 2), made(2, 1));
    assert_eq!(one, made(1, 1));
    for tag in ["cert", "key", "tls-crypt-v2"] {
        assert_ne!(block(&one, tag), block(&next, tag), "{tag}");
        assert_ne!(block(&one, tag), block(&other, tag), "{tag}");
    }
    assert_eq!(block(&one, "ca"), block(&next, "ca"));
    assert_ne!(block(&one, "ca"), block(&other, "ca"));
    let tar = || gateway_tar(&key(), &facts(1), &Own::default()).unwrap();
    assert_eq!(tar(), tar());
}

#[test]
fn openssl_agrees_about_every_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let profile = profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap().made;
    let files = files(&facts(1));
    let ca = write("ca", block(&profile, "ca"));
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    for (name, certificate, private, purpose) in [
        ("client", block(&profile, "cert"), block(&profile, "key"), "sslclient"),
        ("server", &files["server.crt"].1, &files["server.key"].1, "sslserver"),
    ] {
        let (path, private) = (write(name, certificate), write("key", private));
        let (is_good, said) =
            openssl(&["verify", "-x509_strict", "-CAfile", &ca, "-purpose", purpose, &path]);
        assert!(is_good, "{name}: {said}");
        let public = openssl(&["x509", "-in", &path, "-noout", "-pubkey"]).1;
        assert_eq!(public, openssl(&["pkey", "-in", &private, "-pubout"]).1, "{name}");
    }
    let other = super::profile(&key(), &facts(2), &sheet(1), &Own::default()).unwrap().made;
    let foreign = write("foreign", block(&other, "cert"));
    assert!(!openssl(&["verify", "-CAfile", &ca, &foreign]).0, "another instance's player");
}

/// V10: the clock of a gateway, or of a player, may be years off.
#[test]
fn v10_certificates_hold_under_a_clock_that_is_two_years_off() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let profile = profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap().made;
    let ca = write("ca", block(&profile, "ca"));
    let client = write("client", block(&profile, "cert"));
    let server = write("server", &files(&facts(1))["server.crt"].1);
    let made_at = facts(1).created_at.as_millis() / 1000;
    let holds = |certificate: &str, years: i64| {
        let at = (made_at + years * 31_557_600).to_string();
        let arguments = ["verify", "-attime", &at, "-CAfile", &ca, certificate];
        Command::new("openssl").args(arguments).output().unwrap().status.success()
    };
    for years in [-2, 0, 2] {
        assert!(holds(&client, years) && holds(&server, years), "{years} years");
    }
    assert!(!holds(&client, -50) && !holds(&server, 200), "a certificate is not for ever");
}

#[test]
fn who_is_admitted_is_a_file_and_nobody_else_is() {
    let mut closed = facts(1);
    closed.admitted = Vec::new();
    assert!(!files(&closed).keys().any(|name| name.starts_with("clients/0")));
    assert!(files(&closed).contains_key("clients"), "without the folder nobody is refused");
}

#[test]
fn a_holder_has_one_spelling() {
    assert_eq!(holder(3).to_string().parse(), Ok(holder(3)));
    for odd in [
        "",
        "x.1",
        "00000000-0000-0000-0000-0000000000b1",
        "000000000000000000000000000000b1.1",
        "00000000-0000-0000-0000-0000000000b1.01",
        "00000000-0000-0000-0000-0000000000B1.1",
        "../../etc.1",
    ] {
        assert_eq!(odd.parse::<Holder>(), Err(()), "{odd}");
    }
}

#[test]
fn a_tunnel_without_room_and_a_host_that_is_none_are_said() {
    let mut tight = facts(1);
    tight.clients = "10.82.0.0/31".parse().unwrap();
    let error = gateway_tar(&key(), &tight, &Own::default()).unwrap_err();
    assert_eq!(error.to_string(), "the tunnel's network 10.82.0.0/31 has no room for players");
    for host in ["", "a b", "a\nup /bin/sh", "<ca>"] {
        let odd = Profile { host: host.to_owned(), ..sheet(1) };
        let error = profile(&key(), &facts(1), &odd, &Own::default());
        assert!(matches!(error, Err(VpnError::Host { .. })), "{host:?}");
    }
}

#[test]
fn the_wrapped_key_opens_with_the_servers_and_says_whose_it_is() {
    use aes::Aes256;
    use base64::Engine as _;
    use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
    let decoded = |pem: &str| {
        let lines = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        base64::engine::general_purpose::STANDARD.decode(lines).unwrap()
    };
    let server = decoded(&files(&facts(1))["tls-crypt-v2.key"].1);
    let client = decoded(block(
        &profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap().made,
        "tls-crypt-v2",
    ));
    let (plain, wrapped) = client.split_at(256);
    let length = usize::from(u16::from_be_bytes(wrapped[wrapped.len() - 2..].try_into().unwrap()));
    assert_eq!((server.len(), wrapped.len()), (128, length));
    let mut inner = wrapped[32..wrapped.len() - 2].to_vec();
    ctr::Ctr128BE::<Aes256>::new_from_slices(&server[..32], &wrapped[..16])
        .unwrap()
        .apply_keystream(&mut inner);
    assert_eq!(&inner[..256], plain);
    assert_eq!(&inner[257..], holder(1).to_string().as_bytes());
}

proptest! {
    // Each makes certificates, slowly without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// V07: whatever people are called, no line of theirs begins in a profile.
    #[test]
    fn v07_names_begin_no_line(
        team in any::<String>(), name in any::<String>(), id in any::<String>(), host in any::<String>(),
    ) {
        let tame = profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap().made;
        let wild = Profile {
            holder_name: format!("{team}\nup /bin/sh\r\n</ca>\u{2028}script-security 2"),
            challenge: Named { id, name: format!("\u{feff}{name}\rplugin x") },
            hosts: vec![(format!("{host}\ndown x"), Ipv4Addr::LOCALHOST)],
            ..sheet(1)
        };
        let wild = profile(&key(), &facts(1), &wild, &Own::default()).unwrap().made;
        let commands = |text: &str| -> Vec<String> {
            // As strict as any parser of profiles: every character that some take for a line's end.
            text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
                .filter(|line| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'))
                .map(str::to_owned)
                .collect()
        };
        prop_assert_eq!(commands(&wild), commands(&tame));
    }
}
