//! Templates that a repository has of its own, in place of ours.
//!
//! They are hostile like templates of attachments: rendered within the same bounds, and what comes out
//! has to pass the tables of [`allowed`] each time, not only when it was checked.
//!
//! # Invariants
//! * What is refused is never used: ours stands in its place, and whoever asked is told.
//! * What is told of an instance holds not a word of what its template gave.
//!
//! # Not here
//! Where the files are read from (`catalog`), who says that one was refused (`daemon`).

use std::fmt;
use std::net::Ipv4Addr;

use uuid::Uuid;
use zeroize::Zeroizing;

use super::allowed::{self, Measure, Side};
use super::pki::Identity;
use super::templates::{self, Secrets};
use super::{Facts, Holder, Profile, VpnError, max_clients};
use crate::model::{InstanceId, ObjectId, Revision, Timestamp};
use crate::render::attachments::{Named, RenderError, Template, Trouble};

/// Where a repository puts its own template of the gateway's configuration.
pub const SERVER_TEMPLATE: &str = "templates/openvpn/server.conf.j2";
/// Where a repository puts its own template of profiles.
pub const CLIENT_TEMPLATE: &str = "templates/openvpn/client.ovpn.j2";
/// Largest configuration, in bytes.
const MAX_OUTPUT_BYTES: usize = 64 << 10;
/// Most faults that are told of one file.
const MAX_FAULTS: usize = 20;

/// What a repository has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// For the configuration of gateways; ours when there is none.
    pub server: Option<Written>,
    /// For profiles; ours when there is none.
    pub client: Option<Written>,
}

/// A file at the place of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// Its text.
    Text(String),
    /// It is no text that could be a template, and why.
    Unusable(&'static str),
}

/// Why a template of a repository is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its path in the repository.
    pub path: &'static str,
    /// What is wrong with it, never empty.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line of the template, from 1; 0 is the whole file.
    pub line: u32,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Where a template of a repository is refused. Of an instance nobody is told more: what its template
/// gives may hold a key. [`Own::judge`] says the rest, of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedAt {
    path: &'static str,
    line: u32,
}

impl fmt::Display for RefusedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.path),
            line => write!(f, "{}:{line}", self.path),
        }
    }
}

impl Refusal {
    pub(super) fn place(&self) -> RefusedAt {
        RefusedAt { path: self.path, line: self.faults.first().map_or(0, |fault| fault.line) }
    }
}

impl Own {
    /// What is wrong with each template, tried on an instance that does not exist.
    ///
    /// # Errors
    /// When a template of ours does not fit the sample.
    pub fn judge(&self) -> Result<Vec<Refusal>, VpnError> {
        let facts = sample();
        let server = self.server(&facts)?.1;
        let identity =
            Identity { certificate: pem("CERTIFICATE"), key: Zeroizing::new(pem("KEY")) };
        let secrets =
            Secrets { ca: &pem("CERTIFICATE"), client: &identity, tls_crypt: &pem("KEY") };
        let client = self.client(&facts, &sheet(&facts), &secrets)?.1;
        Ok([server, client].into_iter().flatten().collect())
    }

    /// The configuration of a gateway, and why it is not the repository's own.
    pub(super) fn server(&self, facts: &Facts) -> Result<(String, Option<Refusal>), VpnError> {
        let ours = templates::server(facts)?;
        let Some(written) = &self.server else { return Ok((ours, None)) };
        let measure = Measure {
            side: Side::Server,
            ours: &ours,
            networks: &facts.networks,
            max_clients: max_clients(facts.clients),
            blocks: &[],
        };
        let made = templates::server_values(facts)
            .map(|values| own(written, templates::SERVER_SOURCE, values, &measure))?;
        Ok(or_ours(made, &ours, SERVER_TEMPLATE))
    }

    /// A profile, and why it is not of the repository's own template.
    pub(super) fn client(
        &self,
        facts: &Facts,
        profile: &Profile,
        secrets: &Secrets<'_>,
    ) -> Result<(String, Option<Refusal>), VpnError> {
        let ours = templates::client(facts, profile, secrets)?;
        let Some(written) = &self.client else { return Ok((ours, None)) };
        let measure = Measure {
            side: Side::Client,
            ours: &ours,
            networks: &facts.networks,
            max_clients: 1,
            blocks: &[
                ("ca", secrets.ca),
                ("cert", &secrets.client.certificate),
                ("key", &secrets.client.key),
                ("tls-crypt-v2", secrets.tls_crypt),
            ],
        };
        let values = templates::client_values(facts, profile, secrets);
        let made = own(written, templates::CLIENT_SOURCE, values, &measure);
        Ok(or_ours(made, &ours, CLIENT_TEMPLATE))
    }
}

fn or_ours(
    made: Result<String, Vec<Fault>>,
    ours: &str,
    path: &'static str,
) -> (String, Option<Refusal>) {
    match made {
        Ok(text) => (text, None),
        Err(mut faults) => {
            faults.truncate(MAX_FAULTS);
            (ours.to_owned(), Some(Refusal { path, faults }))
        }
    }
}

/// Renders and judges one template.
fn own(
    written: &Written,
    ours: &str,
    values: templates::Values,
    measure: &Measure<'_>,
) -> Result<String, Vec<Fault>> {
    let source = match written {
        Written::Text(source) => source,
        Written::Unusable(why) => {
            let hint = "write a regular file of UTF-8 text, or remove it".to_owned();
            return Err(vec![Fault { line: 0, message: (*why).to_owned(), hint }]);
        }
    };
    let names = values.names.join("`, `");
    let text = values
        .render(Template { name: "template", source }, MAX_OUTPUT_BYTES)
        .map_err(|error| vec![of_render(&error, &names)])?;
    let refused = allowed::judge(&text, measure);
    if refused.is_empty() {
        return Ok(text);
    }
    let fault = |it: allowed::Refused| Fault {
        line: line_of(source, &it.line),
        hint: hint_with_source(it.hint, &it.message, ours),
        message: it.message,
    };
    Err(refused.into_iter().map(fault).collect())
}

/// The hint, with the line of our own template where something of it is missing.
fn hint_with_source(hint: String, message: &str, ours: &str) -> String {
    let name = message.strip_suffix("` is missing").and_then(|it| it.strip_prefix('`'));
    let line = name
        .and_then(|name| ours.lines().find(|line| line.split_whitespace().next() == Some(name)));
    line.map_or(hint, |line| format!("write `{line}`"))
}

fn of_render(error: &RenderError, names: &str) -> Fault {
    let hint = match &error.trouble {
        Trouble::Undefined { .. } => format!("there are `{names}`"),
        Trouble::Missing { .. } | Trouble::Unsupported { .. } => {
            "use `set`, `if`, `for` and the common filters; a template of the gateway includes nothing"
                .to_owned()
        }
        Trouble::Syntax { .. } | Trouble::TooMuch { .. } | Trouble::Failed { .. } => {
            "begin with the platform's own template, see docs/vpn.md".to_owned()
        }
    };
    Fault { line: error.line, message: error.trouble.to_string(), hint }
}

/// The line of `source` that most likely gave `rendered`: the one that begins and ends most like it.
fn line_of(source: &str, rendered: &str) -> u32 {
    let rendered = rendered.trim();
    let Some(first) = rendered.split_whitespace().next() else { return 0 };
    let alike = |line: &str| {
        let line = line.trim();
        if line == rendered {
            return usize::MAX;
        }
        let begins = line.chars().zip(rendered.chars()).take_while(|(a, b)| a == b).count();
        let ends =
            line.chars().rev().zip(rendered.chars().rev()).take_while(|(a, b)| a == b).count();
        if line.starts_with(first) { begins + ends } else { 0 }
    };
    let mut best = (0, 0);
    for (nth, line) in source.lines().enumerate() {
        let score = alike(line);
        if score > best.0 {
            best = (score, nth + 1);
        }
    }
    u32::try_from(best.1).unwrap_or(0)
}

/// An instance that does not exist.
fn sample() -> Facts {
    let net = |text: &str| text.parse().expect("a network of ours is one");
    Facts {
        protocol: crate::model::VpnProtocol::OpenVpn,
        instance: InstanceId::new(Uuid::from_u128(1)),
        created_at: Timestamp::from_millis(0),
        networks: vec![net("10.80.0.16/28"), net("10.80.0.32/28")],
        clients: net("10.82.0.48/28"),
        admitted: Vec::new(),
        hub: None,
    }
}

fn sheet(facts: &Facts) -> Profile {
    Profile {
        holder: Holder { id: facts.instance.as_uuid(), serial: 1 },
        holder_name: "Sample team".to_owned(),
        challenge: Named { id: "SAMPLE-001".to_owned(), name: "Sample challenge".to_owned() },
        revision: Revision(ObjectId::from_bytes([0xab; 20])),
        host: "ctf.example".to_owned(),
        port: 20_001,
        hosts: vec![("intranet".to_owned(), Ipv4Addr::new(10, 80, 0, 18))],
    }
}

fn pem(what: &str) -> String {
    format!("-----BEGIN {what}-----\nc2FtcGxl\n-----END {what}-----\n")
}
