//! What a configuration of OpenVPN may say when a repository's own template wrote it.
//!
//! Denied first: a directive that no table names is refused, whatever it would do. What keeps players
//! apart has to be there, word by word as our own template gives it; the rest is numbers within bounds.
//!
//! In:  the rendered text, and what our own template gives for the same facts.
//! Out: every line that is refused, and what is missing.
//!
//! # Invariants
//! * What passes holds no directive, and no pushed option, outside of the tables.
//! * A line is read the same way by OpenVPN: no quoting, escape, or length on which the two differ passes.
//!
//! # Not here
//! The tables (`directives`), rendering, and the line of the template (`own`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::directives::{BOTH, CIPHERS, CLIENT, KNOWN, PUSHED, Row, SERVER, Words};

/// Longest line, in bytes; OpenVPN reads no longer ones.
const MAX_LINE_BYTES: usize = 250;
/// Most lines.
const MAX_LINES: usize = 500;
/// Which side a configuration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The gateway.
    Server,
    /// A player.
    Client,
}

/// What a configuration is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure<'a> {
    pub(super) side: Side,
    /// What our own template gives for the same facts.
    pub(super) ours: &'a str,
    /// The networks that players reach.
    pub(super) networks: &'a [Ipv4Net],
    /// How many players the tunnel has room for.
    pub(super) max_clients: u32,
    /// The parts in tags, by tag: they have to be there as they are.
    pub(super) blocks: &'a [(&'static str, &'a str)],
}

/// Something that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The line of the rendered text, as it is; empty for what is missing.
    pub(super) line: String,
    /// What is wrong.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: String,
}

/// Everything in `text` that may not be there, and what is missing; empty when it may be used.
pub(super) fn judge(text: &str, measure: &Measure<'_>) -> Vec<Refused> {
    let lines: Vec<&str> = text.split('\n').collect();
    if lines.len() > MAX_LINES {
        return vec![refused("", format!("there are more than {MAX_LINES} lines"), "write less")];
    }
    let mut judgement = Judgement {
        measure,
        ours: directives(measure.ours),
        seen: BTreeSet::new(),
        refused: Vec::new(),
    };
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += match judgement.block(&lines[at..]) {
            Some(n_lines) => n_lines,
            None => {
                if let Err(refused) = judgement.line(line) {
                    judgement.refused.push(refused);
                }
                1
            }
        };
    }
    judgement.missing();
    judgement.refused
}

/// The directives of a text of ours: name, and the words after it.
fn directives(text: &str) -> Vec<Vec<String>> {
    text.lines().filter_map(|line| words(line).ok().filter(|words| !words.is_empty())).collect()
}

fn refused(line: &str, message: String, hint: &str) -> Refused {
    Refused { line: line.to_owned(), message, hint: hint.to_owned() }
}

struct Judgement<'a> {
    measure: &'a Measure<'a>,
    ours: Vec<Vec<String>>,
    seen: BTreeSet<String>,
    refused: Vec<Refused>,
}

impl Judgement<'_> {
    fn table(&self) -> impl Iterator<Item = &'static Row> + use<> {
        let own = match self.measure.side {
            Side::Server => SERVER,
            Side::Client => CLIENT,
        };
        BOTH.iter().chain(own)
    }

    /// How many lines the part in tags at the beginning of `lines` has, when it is one that is given,
    /// unchanged.
    fn block(&mut self, lines: &[&str]) -> Option<usize> {
        let tag = lines.first()?.strip_prefix('<')?.strip_suffix('>')?;
        let (tag, content) = self.measure.blocks.iter().find(|(known, _)| *known == tag)?;
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let end = lines.iter().position(|line| *line == close);
        let is_whole = end.is_some_and(|end| {
            let wanted = content.trim_end_matches('\n').split('\n');
            wanted.eq(lines[1..end].iter().copied())
        });
        if !(self.seen.insert(open.clone()) && is_whole) {
            // Not a word of what stands in it: that may be a key.
            let message = format!("the part `{open}` is not as it is given");
            self.refused.push(refused(&open, message, &whole(tag)));
        }
        Some(end.unwrap_or(0) + 1)
    }

    fn line(&mut self, line: &str) -> Result<(), Refused> {
        let no = |message: String, hint: &str| Err(refused(line, message, hint));
        let words = match words(line) {
            Ok(words) => words,
            Err(message) => {
                return no(message.to_owned(), "write plain words, and `\"` around what is pushed");
            }
        };
        let Some((name, rest)) = words.split_first() else { return Ok(()) };
        let Some((_, allowed)) = self.table().find(|(known, _)| known == name) else {
            return no(format!("`{}` {}", shown(name), why_not(name)), "remove the line");
        };
        if *name != "push" && !self.seen.insert(name.clone()) {
            return no(format!("`{name}` stands twice"), "remove one of them");
        }
        match self.fits(*allowed, name, rest) {
            Ok(()) => Ok(()),
            Err(wanted) => {
                no(format!("`{}` says something else than it may", shown(line.trim())), &wanted)
            }
        }
    }

    /// Whether `rest` may stand after `name`; the hint when it may not.
    fn fits(&self, allowed: Words, name: &str, rest: &[String]) -> Result<(), String> {
        let single = || match rest {
            [one] => one.as_str(),
            _ => "",
        };
        let is_good = match allowed {
            Words::Ours => self.ours.iter().any(|ours| ours[0] == name && ours[1..] == *rest),
            Words::Flag => rest.is_empty(),
            Words::Numbers(bounds) => are_within(rest, bounds),
            Words::TlsVersion => matches!(single(), "1.2" | "1.3"),
            Words::Ciphers => single().split(':').all(|cipher| CIPHERS.contains(&cipher)),
            Words::Clients => {
                number(single()).is_some_and(|n| (1..=self.measure.max_clients).contains(&n))
            }
            Words::Patience => single() == "infinite" || are_within(rest, &[(0, 3600)]),
            Words::Route => self.is_inside(rest),
            Words::Name => match rest {
                [key, name] => key == "FRIENDLY_NAME" && is_name(name),
                _ => false,
            },
            Words::Push => return self.pushed(single()),
        };
        if is_good { Ok(()) } else { Err(self.wanted(allowed, name)) }
    }

    fn pushed(&self, option: &str) -> Result<(), String> {
        let words = words(option).unwrap_or_default();
        let (name, rest) = words.split_first().map_or(("", &[][..]), |(name, rest)| (name, rest));
        // In the list that players get a comma begins the next option; no word that fits has one.
        let row = PUSHED.iter().find(|(known, _)| *known == name && !option.contains(['#', ';']));
        match row {
            Some((name, allowed)) => self.fits(*allowed, name, rest),
            None => {
                let names: Vec<_> = PUSHED.iter().map(|(name, _)| format!("`{name}`")).collect();
                Err(format!("only these are pushed: {}", names.join(", ")))
            }
        }
    }

    fn wanted(&self, allowed: Words, name: &str) -> String {
        match allowed {
            Words::Ours => {
                let ours = self.ours.iter().find(|ours| ours[0] == name);
                format!("write what the platform's own template writes, here `{}`", ours.map_or(name.to_owned(), |it| it.join(" ")))
            }
            Words::Flag => format!("write `{name}` alone"),
            Words::Numbers(bounds) => {
                let bounds = bounds.iter().map(|(low, high)| format!("{low} to {high}"));
                format!("write `{name}` and numbers within {}", bounds.collect::<Vec<_>>().join(", "))
            }
            Words::TlsVersion => "write `1.2` or `1.3`".to_owned(),
            Words::Ciphers => format!("use only {}", CIPHERS.join(", ")),
            Words::Clients => format!("write 1 to {}: `{{{{ max_clients }}}}`", self.measure.max_clients),
            Words::Patience => "write `infinite`, or 0 to 3600".to_owned(),
            Words::Route => "write `route` with address and mask of a network of the instance: `{{ network.address }} {{ network.mask }}`".to_owned(),
            Words::Push => "write one option in double quotes".to_owned(),
            Words::Name => "write `setenv FRIENDLY_NAME` and at most 60 letters, digits, spaces, `.`, `_` and `-` in double quotes".to_owned(),
        }
    }

    /// Whether `rest` is address and mask of a network inside of those of the instance.
    fn is_inside(&self, rest: &[String]) -> bool {
        let [address, mask] = rest else { return false };
        let (Ok(address), Ok(mask)) = (address.parse::<Ipv4Addr>(), mask.parse::<Ipv4Addr>())
        else {
            return false;
        };
        let Ok(net) = Ipv4Net::with_netmask(address, mask) else { return false };
        net.trunc() == net && self.measure.networks.iter().any(|ours| ours.contains(&net))
    }

    fn missing(&mut self) {
        for (name, allowed) in self.table() {
            let is_owed = matches!(allowed, Words::Ours | Words::TlsVersion | Words::Ciphers);
            let is_said = self.refused.iter().any(|it| it.line.trim_start().starts_with(name));
            if is_owed && !self.seen.contains(*name) && !is_said {
                let hint = self.wanted(Words::Ours, name);
                self.refused.push(refused("", format!("`{name}` is missing"), &hint));
            }
        }
        for (tag, _) in self.measure.blocks {
            if !self.seen.contains(&format!("<{tag}>")) {
                let message = format!("the part `<{tag}>` is missing");
                self.refused.push(refused("", message, &whole(tag)));
            }
        }
    }
}

/// The words of a line as OpenVPN reads them, for the part of its syntax that is allowed.
fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let is_odd =
        |c: char| c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    if line.len() > MAX_LINE_BYTES {
        return Err("a line has more than 250 bytes");
    }
    if line.contains(is_odd) {
        return Err("a line holds a character that is not shown");
    }
    let mut words = Vec::new();
    let mut rest = line.trim_start_matches([' ', '\t']);
    while let Some(first) = rest.chars().next().filter(|c| !matches!(c, '#' | ';')) {
        let (word, after) = if first == '"' {
            rest[1..].split_once('"').ok_or("a quote is not closed")?
        } else {
            rest.split_at(rest.find([' ', '\t']).unwrap_or(rest.len()))
        };
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\');
        if !word.chars().all(|c| is_plain(c) || first == '"' && c == ' ') {
            return Err("a word holds a quote, a backslash, or what is no ASCII");
        }
        if !after.is_empty() && !after.starts_with([' ', '\t']) {
            return Err("a quote ends inside of a word");
        }
        words.push(word.to_owned());
        rest = after.trim_start_matches([' ', '\t']);
    }
    Ok(words)
}

fn why_not(name: &str) -> &'static str {
    let plain = name.trim_start_matches('-').to_ascii_lowercase();
    let of_kind = KNOWN.iter().find(|(_, names)| names.contains(&plain.as_str()));
    of_kind.map_or("is not among what a template of the gateway may say", |(what, _)| what)
}

/// How a part in tags is written.
fn whole(tag: &str) -> String {
    format!("write `<{tag}>`, its variable on the next line, and `</{tag}>` right after that")
}

/// A number in its one spelling.
fn number(word: &str) -> Option<u32> {
    word.parse().ok().filter(|n: &u32| n.to_string() == word)
}

fn are_within(words: &[String], bounds: &[(u32, u32)]) -> bool {
    let fits = |(word, (low, high)): (&String, &(u32, u32))| {
        number(word).is_some_and(|n| (*low..=*high).contains(&n))
    };
    words.len() == bounds.len() && words.iter().zip(bounds).all(fits)
}

fn is_name(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || " ._-".contains(c);
    (1..=60).contains(&text.len()) && text.chars().all(is_fine)
}

/// Words of an author, fit to be shown.
fn shown(text: &str) -> String {
    let plain = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
    plain.filter(|c| *c != '`').take(60).collect()
}
