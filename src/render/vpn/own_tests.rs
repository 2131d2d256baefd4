//! Templates of a repository: what passes, what is told, and that nothing harmful gets through.

use proptest::prelude::*;

use super::tests::{block, facts, files_of, key, sheet};
use super::*;

const SERVER: &str = include_str!("../../../templates/openvpn/server.conf.j2");
const CLIENT: &str = include_str!("../../../templates/openvpn/client.ovpn.j2");

fn server_of(text: &str) -> Own {
    Own { server: Some(Written::Text(text.to_owned())), client: None }
}

fn client_of(text: &str) -> Own {
    Own { server: None, client: Some(Written::Text(text.to_owned())) }
}

/// What a verdict says: `line message; hint`.
fn said(own: &Own) -> Vec<String> {
    let refusals = own.judge().unwrap();
    let faults = refusals.iter().flat_map(|it| &it.faults);
    faults.map(|it| format!("{} {}; {}", it.line, it.message, it.hint)).collect()
}

/// Our own template with more lines at its end.
fn server_with(lines: &str) -> Own {
    server_of(&format!("{SERVER}{lines}\n"))
}

#[test]
fn our_own_templates_pass_as_a_repositorys() {
    let own = Own {
        server: Some(Written::Text(SERVER.to_owned())),
        client: Some(Written::Text(CLIENT.to_owned())),
    };
    assert_eq!(said(&own), [""; 0]);
    let made = gateway_tar(&key(), &facts(1), &own).unwrap();
    assert_eq!(made, gateway_tar(&key(), &facts(1), &Own::default()).unwrap());
    let made = profile(&key(), &facts(1), &sheet(1), &own).unwrap();
    assert_eq!(made, profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap());
}

#[test]
fn numbers_within_bounds_and_words_of_ones_own_are_used() {
    let own =
        server_of(&SERVER.replace("keepalive 5 20", "keepalive 10 60\nreneg-sec 3600 # hourly"));
    assert_eq!(said(&own), [""; 0]);
    let made = gateway_tar(&key(), &facts(1), &own).unwrap();
    assert_eq!(made.refused, None);
    let server = &files_of(&made.made)["server.conf"].1;
    assert!(server.contains("keepalive 10 60\nreneg-sec 3600 # hourly\n"), "{server}");
    let own = client_of(&CLIENT.replace("verb 3", "verb 2\nsetenv FRIENDLY_NAME \"The finals\""));
    let made = profile(&key(), &facts(1), &sheet(1), &own).unwrap();
    assert_eq!(made.refused, None);
    assert!(made.made.contains("setenv FRIENDLY_NAME \"The finals\"\n"), "{}", made.made);
}

#[test]
fn a_refused_template_leaves_ours_in_its_place_and_says_why() {
    let own = server_with("up /gateway/evil.sh");
    let made = gateway_tar(&key(), &facts(1), &own).unwrap();
    assert_eq!(made.made, gateway_tar(&key(), &facts(1), &Own::default()).unwrap().made);
    let refused = made.refused.unwrap().to_string();
    let line = SERVER.lines().count() + 1;
    assert_eq!(refused, format!("templates/openvpn/server.conf.j2:{line}"));
}

#[test]
fn each_line_that_may_not_be_is_named_with_what_to_do() {
    let check = |line: &str| {
        let said = said(&server_with(line)).join("\n");
        let at = SERVER.lines().count() + 1;
        said.strip_prefix(&format!("{at} ")).map_or(said.clone(), str::to_owned)
    };
    for (line, wanted) in [
        ("script-security 2", "`script-security` runs a program; remove the line"),
        ("--up /bin/sh", "`--up` runs a program; remove the line"),
        ("plugin /lib/x.so", "`plugin` loads code; remove the line"),
        ("config /etc/passwd", "`config` reads or writes a file; remove the line"),
        ("cipher none", "`cipher` weakens the tunnel; remove the line"),
        ("client-to-client", "`client-to-client` leads elsewhere; remove the line"),
        ("UP x", "`UP` runs a program; remove the line"),
        (
            "setenv X y",
            "`setenv` is not among what a template of the gateway may say; remove the line",
        ),
        ("port 1194", "2 `port` stands twice; remove one of them"),
        (
            "push \"redirect-gateway def1\"",
            "`push \"redirect-gateway def1\"` says something else than it may; only these are \
             pushed: `explicit-exit-notify`, `inactive`, `ping`, `ping-restart`, `route`, `tun-mtu`",
        ),
        (
            "push \"route 10.0.0.0 255.0.0.0\"",
            "`push \"route 10.0.0.0 255.0.0.0\"` says something else than it may; write `route` \
             with address and mask of a network of the instance: \
             `{{ network.address }} {{ network.mask }}`",
        ),
        (
            "reneg-sec 0",
            "`reneg-sec 0` says something else than it may; write `reneg-sec` and numbers within \
             60 to 86400",
        ),
        (
            "up\\ x",
            "a word holds a quote, a backslash, or what is no ASCII; write plain words, and `\"` \
             around what is pushed",
        ),
    ] {
        assert_eq!(check(line), wanted);
    }
}

#[test]
fn what_keeps_players_apart_must_be_there() {
    let own = server_of(
        &SERVER
            .replace("ccd-exclusive\n", "")
            .replace("verify-client-cert require", "verify-client-cert none"),
    );
    insta::assert_snapshot!(said(&own).join("\n"), @r"
    16 `verify-client-cert none` says something else than it may; write what the platform's own template writes, here `verify-client-cert require`
    0 `ccd-exclusive` is missing; write `ccd-exclusive`
    ");
    let own = client_of(
        &CLIENT.replace("remote-cert-tls server\n", "").replace("{{ ca }}", "{{ ca }}x\n"),
    );
    insta::assert_snapshot!(said(&own).join("\n"));
}

#[test]
fn a_template_that_is_none_is_told_like_one_of_attachments() {
    for (text, wanted) in [
        (
            "{{ nope }}",
            "1 `nope` is not defined; there are `clients`, `max_clients`, `mtu`, `networks`",
        ),
        (
            "{% include 'x' %}",
            "1 there is no file in `attachments/` `x`; use `set`, `if`, `for` and the common \
             filters; a template of the gateway includes nothing",
        ),
    ] {
        assert_eq!(said(&server_of(text)), [wanted]);
    }
    let own = Own { client: Some(Written::Unusable("the template is no UTF-8")), server: None };
    assert_eq!(
        said(&own),
        ["0 the template is no UTF-8; write a regular file of UTF-8 text, or remove it"]
    );
    let many = "{% for a in range(9999) %}{% for b in range(9999) %}x\n{% endfor %}{% endfor %}";
    assert!(said(&server_of(many))[0].contains("it does too much"));
}

#[test]
fn no_name_makes_a_line_that_openvpn_does_not_read() {
    let long = "旗".repeat(100);
    let wild = Profile {
        holder_name: long.clone(),
        challenge: Named { id: long.clone(), name: long },
        ..sheet(1)
    };
    let made = profile(&key(), &facts(1), &wild, &Own::default()).unwrap().made;
    assert!(made.lines().all(|line| line.len() <= 250), "{made}");
    let own = client_of(CLIENT);
    assert_eq!(profile(&key(), &facts(1), &wild, &own).unwrap().refused, None);
}

/// How OpenVPN splits a line (`parse_line` of its options.c), errors aside: as wide as it gets.
fn as_openvpn_reads(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut quote, mut is_escaped) = (None, false);
    for c in line.chars() {
        match quote {
            _ if is_escaped => {
                word.get_or_insert_default().push(c);
                is_escaped = false;
            }
            Some('\'') if c == '\'' => {
                words.extend(word.take());
                quote = None;
            }
            Some('\'') => word.get_or_insert_default().push(c),
            _ if c == '\\' => is_escaped = true,
            Some(_) if c == '"' => {
                words.extend(word.take());
                quote = None;
            }
            Some(_) => word.get_or_insert_default().push(c),
            None if c.is_ascii_whitespace() => words.extend(word.take()),
            None if word.is_none() && matches!(c, ';' | '#') => break,
            None if word.is_none() && matches!(c, '"' | '\'') => {
                word = Some(String::new());
                quote = Some(c);
            }
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// What a template of ours says, and what else may be said: the names alone.
const HARMLESS: &[&str] = &[
    "auth-nocache",
    "ca",
    "ccd-exclusive",
    "cert",
    "client-config-dir",
    "connect-freq",
    "connect-freq-initial",
    "data-ciphers",
    "dev",
    "dev-type",
    "dh",
    "disable-dco",
    "duplicate-cn",
    "explicit-exit-notify",
    "fast-io",
    "group",
    "hand-window",
    "inactive",
    "keepalive",
    "key",
    "management",
    "max-clients",
    "mssfix",
    "mute",
    "persist-key",
    "persist-tun",
    "port",
    "proto",
    "push",
    "rcvbuf",
    "remote-cert-tls",
    "reneg-sec",
    "server",
    "session-timeout",
    "sndbuf",
    "tls-crypt-v2",
    "tls-timeout",
    "tls-version-min",
    "topology",
    "tran-window",
    "tun-mtu",
    "txqueuelen",
    "user",
    "verb",
    "verify-client-cert",
];

/// A line that somebody who means harm writes.
fn hostile() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "up",
        "script-security",
        "plugin",
        "config",
        "push",
        "route",
        "redirect-gateway",
        "cipher",
        "client-connect",
        "auth-user-pass-verify",
        "tls-verify",
        "log",
        "cd",
        "verb",
        "server",
        "ca",
        "user",
        "management",
        "push \"route 10.80.0.16 255.255.255.240,redirect-gateway\"",
        "<connection>",
        "<ca>",
        "</ca>",
        "[inline]",
        "setenv",
        "tun-mtu",
    ]);
    let mark = prop::sample::select(vec![
        "", " ", "\t", "\"", "'", "\\", "--", "#", ";", "\r", "\u{b}", "\u{2028}", "\u{feff}",
        "\0", "\n",
    ]);
    let words = prop::collection::vec(
        prop_oneof![
            mark.clone().prop_map(str::to_owned),
            name.clone().prop_map(str::to_owned),
            "[a-z0-9./ ]{0,12}"
        ],
        0..6,
    );
    (mark, name, words).prop_map(|(mark, name, words)| format!("{mark}{name} {}", words.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// V08: whatever a template says, nothing but the list comes out, however OpenVPN reads it.
    #[test]
    fn v08_no_directive_outside_of_the_list_gets_through(
        lines in prop::collection::vec(hostile(), 1..4), at in any::<prop::sample::Index>(),
    ) {
        let mut template: Vec<String> = SERVER.lines().map(str::to_owned).collect();
        let at = at.index(template.len());
        // `{%` and `{{` are not what this is about.
        template.splice(at..at, lines.iter().cloned());
        let own = server_of(&template.join("\n"));
        let (text, refused) = own.server(&facts(1)).unwrap();
        if refused.is_none() {
            for line in text.split(['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}']) {
                let words = as_openvpn_reads(line);
                let Some(name) = words.first() else { continue };
                prop_assert!(HARMLESS.contains(&name.as_str()), "{:?} in {}", line, text);
                if name == "push" {
                    let option = words[1].split([' ', ',']).next().unwrap();
                    prop_assert!(["route", "tun-mtu", "ping"].contains(&option), "{:?}", line);
                    prop_assert!(!words[1].contains(','), "{:?}", line);
                }
            }
        } else {
            prop_assert_eq!(text, Own::default().server(&facts(1)).unwrap().0);
        }
    }

    /// Nothing breaks the judge.
    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        let (made, refused) = server_of(&text).server(&facts(1)).unwrap();
        prop_assert!(refused.is_some());
        prop_assert_eq!(made, Own::default().server(&facts(1)).unwrap().0);
    }
}

/// A profile of a repository's own keeps its keys where they belong.
#[test]
fn keys_stay_in_their_parts() {
    let own = client_of(CLIENT);
    let ours = profile(&key(), &facts(1), &sheet(1), &Own::default()).unwrap().made;
    let theirs = profile(&key(), &facts(1), &sheet(1), &own).unwrap().made;
    for tag in ["ca", "cert", "key", "tls-crypt-v2"] {
        assert_eq!(block(&ours, tag), block(&theirs, tag), "{tag}");
    }
    for leak in ["# {{ key }}\n", "setenv FRIENDLY_NAME \"{{ key }}\"\n"] {
        let refused = profile(&key(), &facts(1), &sheet(1), &client_of(&format!("{CLIENT}{leak}")));
        assert!(refused.unwrap().refused.is_some(), "{leak}");
    }
}
