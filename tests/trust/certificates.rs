//! SSH certificates under `cert-authority` lines, against `ssh-keygen`.

use crate::lab::{Case, Lab, Oracle, Tag, public, succeed};

use Oracle::{Accepts, Refuses};

const ROLES: &str = "[roles]\n\"alice@ctf.example\" = [\"release\"]\n";

/// A lab with an authority of `kind`, trusted for everybody of the event.
fn lab(kind: &[&str]) -> Lab {
    let lab = Lab::new();
    let authority = lab.ssh_key("authority", kind);
    lab.ssh_key("alice", &["ed25519"]);
    lab.write(
        "allowed_signers",
        format!("*@ctf.example cert-authority,namespaces=\"git\" {authority}\n"),
    );
    lab
}

/// Certifies `alice.pub`; the private key then signs with the certificate.
fn certify(lab: &Lab, options: &[&str]) {
    let mut command = lab.tool("ssh-keygen");
    command.args(["-q", "-s", "authority", "-I", "a key"]).args(options).arg("alice.pub");
    succeed(&mut command);
}

/// Signs with the certificate: `ssh-keygen` finds the private key beside it.
fn sign(lab: &Lab, tag: &Tag) -> crate::lab::Signed {
    lab.ssh_sign("alice-cert.pub", "git", tag)
}

#[test]
fn certificates_are_judged_as_ssh_keygen_does() {
    let span = ["-V", "20260101:20261231"];
    for (what, options, wanted, oracle) in [
        ("forever", vec!["-n", "alice@ctf.example"], "Good", Accepts),
        ("for a time", vec!["-n", "alice@ctf.example", span[0], span[1]], "Good", Accepts),
        ("two principals", vec!["-n", "x@y,alice@ctf.example"], "Good", Accepts),
        (
            "expired",
            vec!["-n", "alice@ctf.example", "-V", "20250101:20260101"],
            "SignerExpired",
            Refuses,
        ),
        (
            "not yet",
            vec!["-n", "alice@ctf.example", "-V", "20270101:20280101"],
            "SignerNotYetValid",
            Refuses,
        ),
        ("principal without role", vec!["-n", "bob@ctf.example"], "RoleMissing", Accepts),
        ("principal of elsewhere", vec!["-n", "alice@evil.example"], "KeyMayNotSign", Refuses),
        ("no principal", vec![], "KeyMayNotSign", Refuses),
        ("of a host", vec!["-h", "-n", "alice@ctf.example"], "Unsupported", Refuses),
        // A signature cannot honour what a critical option demands.
        (
            "critical option",
            vec!["-n", "alice@ctf.example", "-O", "force-command=x"],
            "Unsupported",
            Accepts,
        ),
    ] {
        let lab = lab(&["ed25519"]);
        certify(&lab, &options);
        let signed = sign(&lab, &Tag::new());
        let case = Case::new(format!("certificate {what}"), &signed);
        case.check(&lab.keyring(ROLES), wanted, (lab.ssh_oracle(&case, &Tag::new().at), oracle));
    }
}

#[test]
fn authorities_of_every_kind_certify() {
    for kind in [vec!["rsa", "-b", "2048"], vec!["ecdsa", "-b", "256"], vec!["ecdsa", "-b", "384"]]
    {
        let lab = lab(&kind);
        certify(&lab, &["-n", "alice@ctf.example"]);
        let signed = sign(&lab, &Tag::new());
        let case = Case::new(format!("authority {}", kind.join(" ")), &signed);
        case.check(&lab.keyring(ROLES), "Good", (lab.ssh_oracle(&case, &Tag::new().at), Accepts));
    }
}

#[test]
fn a_revoked_authority_and_a_revoked_certified_key_are_refused() {
    for revoked in ["authority.pub", "alice.pub"] {
        let lab = lab(&["ed25519"]);
        certify(&lab, &["-n", "alice@ctf.example"]);
        let signed = sign(&lab, &Tag::new());
        lab.write("revoked_keys", lab.read(revoked));
        let case = Case::new(format!("revoked {revoked}"), &signed);
        let said = lab.ssh_oracle(&case, &Tag::new().at);
        case.check(&lab.keyring(ROLES), "SignerRevoked", (said, Refuses));
    }
}

#[test]
fn a_certificate_counts_only_under_its_own_authority_and_as_one() {
    let lab = lab(&["ed25519"]);
    certify(&lab, &["-n", "alice@ctf.example"]);
    let signed = sign(&lab, &Tag::new());
    let roles = "[roles]\n\"alice@ctf.example\" = [\"release\"]\n";
    let other = lab.ssh_key("other", &["ed25519"]);
    let alice = public(&lab.read("alice.pub"));
    let authority = public(&lab.read("authority.pub"));
    for (what, line) in [
        ("another authority", format!("*@ctf.example cert-authority {other}")),
        ("the plain key", format!("alice@ctf.example {alice}")),
        ("an authority that is none", format!("alice@ctf.example {authority}")),
    ] {
        lab.write("allowed_signers", format!("{line}\n"));
        let case = Case::new(what, &signed);
        let said = lab.ssh_oracle(&case, &Tag::new().at);
        case.check(&lab.keyring(roles), "UnknownSigner", (said, Refuses));
    }
    // And an authority's own signature is no certificate.
    let by_authority = lab.ssh_sign("authority", "git", &Tag::new());
    lab.write("allowed_signers", format!("*@ctf.example cert-authority {authority}\n"));
    let case = Case::new("authority itself", &by_authority);
    let said = lab.ssh_oracle(&case, &Tag::new().at);
    case.check(&lab.keyring(roles), "UnknownSigner", (said, Refuses));
}
