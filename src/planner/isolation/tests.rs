//! The matrix, its verdict, and what follows from it.

use proptest::prelude::*;

use super::*;

fn ground() -> Ground {
    Ground {
        mate: Ipv4Addr::new(10, 80, 0, 3),
        other: Ipv4Addr::new(10, 80, 0, 18),
        own_gateway: Ipv4Addr::new(10, 80, 0, 1),
        other_gateway: Ipv4Addr::new(10, 80, 0, 17),
        node: Some(Ipv4Addr::new(192, 0, 2, 7)),
        listener: 40_000,
        published: 20_000,
        router: Some(Ipv4Addr::new(192, 0, 2, 1)),
        internet: Ipv4Addr::new(203, 0, 113, 9),
        kernel: None,
    }
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|&id| id.to_owned()).collect()
}

#[test]
fn every_attempt_has_a_name_of_its_own_that_the_prober_can_say() {
    let mut ids: Vec<_> = ATTEMPTS.iter().map(|it| it.id).collect();
    ids.sort_unstable();
    let n = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), n);
    assert!(ids.iter().all(|id| !id.contains(['=', ' ', ':'])));
}

#[test]
fn the_prober_knows_every_kind_and_name_that_is_asked_for() {
    let script = include_str!("../../../images/prober/probe.pl");
    for attempt in ATTEMPTS {
        let (Target::Socket(name) | Target::Call(name)) = attempt.target else { continue };
        let wanted = format!("    {name} => sub {{");
        assert!(script.contains(&wanted), "images/prober/probe.pl lacks `{wanted}`");
    }
}

#[test]
fn the_command_says_where_to_go() {
    let words = command(&ground());
    assert_eq!(words[..3], ["/usr/bin/perl", "/probe.pl", "try"]);
    for word in [
        "same-network=tcp:10.80.0.3:8080",
        "other-instance=tcp:10.80.0.18:8080",
        "host-other-gateway=tcp:10.80.0.17:40000",
        "host-udp=udp:10.80.0.1:40000",
        "published-node-address=tcp:192.0.2.7:20000",
        "host-link-local=link:40000",
        "metadata=tcp:169.254.169.254:80",
        "mount=call:mount",
        "socket-raw=socket:raw",
    ] {
        assert!(words.iter().any(|it| it == word), "{word} is not in {words:?}");
    }
    assert_eq!(words.len(), ground().attempts().count() + 3);
}

#[test]
fn what_is_shut_in_is_asked_for_its_kernel_and_not_what_that_refuses() {
    let ground = Ground { kernel: Some("6.1.0-18-amd64".to_owned()), ..ground() };
    let words = command(&ground);
    assert!(words.iter().any(|it| it == "own-kernel=kernel:6.1.0-18-amd64"), "{words:?}");
    assert!(words.iter().any(|it| it.starts_with("host-udp=")), "{words:?}");
    assert!(!words.iter().any(|it| it.contains("=call:") || it.contains("=socket:")), "{words:?}");
    let rows = matrix(&ground, &said(&[("own-kernel", "reached"), ("mount", "reached")]));
    assert_eq!(judge(&rows), Verdict::Missed(ids(&["own-kernel"])));
    assert_eq!(judge(&matrix(&ground, &said(&[]))), Verdict::Holds);
}

#[test]
fn a_node_without_a_way_out_skips_what_it_has_not() {
    let ground = Ground { node: None, router: None, ..ground() };
    let rows = matrix(&ground, &said(&[("host-node-address", "reached")]));
    let skipped: Vec<_> =
        rows.iter().filter(|row| row.seen == Outcome::Skipped).map(|row| row.id).collect();
    assert_eq!(skipped, ["host-node-address", "published-node-address", "lan"]);
    assert_eq!(judge(&rows), Verdict::Holds);
}

#[test]
fn one_row_decides() {
    let check = |but: &[(&str, &str)]| judge(&matrix(&ground(), &said(but)));
    assert_eq!(check(&[]), Verdict::Holds);
    assert_eq!(check(&[("metadata", "reached")]), Verdict::Missed(ids(&["metadata"])));
    assert_eq!(check(&[("same-network", "blocked")]), Verdict::Missed(ids(&["same-network"])));
    assert_eq!(check(&[("bpf", "unknown")]), Verdict::Unseen(ids(&["bpf"])));
    // A word that we do not know is not one that was said.
    assert_eq!(check(&[("bpf", "perhaps")]), Verdict::Unseen(ids(&["bpf"])));
    assert_eq!(
        check(&[("bpf", "unknown"), ("lan", "reached")]),
        Verdict::Missed(ids(&["lan"])),
        "what is known to miss is not hidden by what nobody saw"
    );
    assert_eq!(judge(&[]), Verdict::Unseen(ids(&[])), "no matrix is no matrix that holds");
}

#[test]
fn what_a_kernel_says_is_cut_and_cleaned() {
    let rows = matrix(&ground(), &format!("bpf blocked \u{1b}[2J{}\n", "x".repeat(500)));
    let row = rows.iter().find(|row| row.id == "bpf").unwrap();
    assert_eq!(row.why.len(), 80);
    assert!(row.why.starts_with("[2Jxx"), "{row:?}");
}

#[test]
fn a_node_without_a_wall_starts_nothing_unless_that_is_allowed() {
    let missed = Verdict::Missed(ids(&["lan", "metadata"]));
    let none = Wall::Unsupported("there is no `nft`".to_owned());
    let broken = Wall::Failed("`nft` timed out".to_owned());
    let word = |gate: Gate| match gate {
        Gate::Open { reason, .. } => format!("open {reason}"),
        Gate::Shut { reason, .. } => format!("shut {reason}"),
    };
    for (rule, wall, last, wanted) in [
        (Rule::Required, &Wall::Up, Some(&Verdict::Holds), "open Ok"),
        (Rule::Required, &Wall::Up, None, "open NotChecked"),
        (Rule::Required, &Wall::Up, Some(&missed), "shut RowsMissed"),
        (Rule::Required, &none, None, "shut NoWall"),
        (Rule::Required, &none, Some(&Verdict::Holds), "shut NoWall"),
        (Rule::Required, &broken, Some(&Verdict::Holds), "shut WallFailed"),
        (Rule::Optional, &Wall::Up, Some(&missed), "shut RowsMissed"),
        (Rule::Optional, &none, Some(&missed), "open WithoutWall"),
        (Rule::Optional, &broken, None, "open WallFailed"),
        // What was stored before a restart counts until somebody has looked again.
        (Rule::Required, &Wall::Unseen, Some(&missed), "shut RowsMissed"),
        (Rule::Required, &Wall::Unseen, None, "open NotChecked"),
        (Rule::Off, &Wall::Unseen, Some(&missed), "open Off"),
    ] {
        assert_eq!(word(gate(rule, wall, last)), wanted, "{rule:?} {wall:?} {last:?}");
    }
    let Gate::Shut { message, .. } = gate(Rule::Required, &Wall::Up, Some(&missed)) else {
        unreachable!("it is shut");
    };
    assert!(message.contains(": lan, metadata;"), "{message}");
}

proptest! {
    #[test]
    fn nothing_that_a_prober_says_makes_a_missed_row_hold(text in ".{0,400}", nth in 0..51_usize) {
        let ground = ground();
        let tried: Vec<_> = ground.attempts().collect();
        let attempt = tried[nth % tried.len()];
        let other = match attempt.expected {
            Expected::Reached => "blocked",
            Expected::Blocked => "reached",
        };
        let clean: String = text.lines().filter(|line| !line.starts_with(attempt.id)).collect();
        let rows = matrix(&ground, &format!("{clean}\n{} {other} x\n", attempt.id));
        match judge(&rows) {
            Verdict::Missed(ids) => prop_assert!(ids.contains(&attempt.id.to_owned())),
            Verdict::Holds | Verdict::Unseen(_) => prop_assert!(false, "it is not missed"),
        }
    }
}
