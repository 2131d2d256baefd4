//! A competition as a file of the repository declares it: when, for whom, what, and for how much.
//!
//! # Not here
//! Reading the file (`catalog::competition`), teams and solves (`contest`).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ChallengeId, CompetitionId, Timestamp};

/// One competition without faults. Made only by `catalog`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Competition {
    /// The name of the file without `.yaml`.
    pub id: CompetitionId,
    /// The file in the repository.
    pub path: String,
    /// Display name, one line.
    pub title: String,
    /// What players read about it; empty when left out.
    pub description: String,
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends; later than `starts_at`.
    pub ends_at: Timestamp,
    /// From when the standings stay as they are; between the two.
    pub freeze_at: Option<Timestamp>,
    /// Whether it goes on, without standings that count, after its end.
    pub practice: bool,
    /// How players get in.
    pub registration: Registration,
    /// How many players make a team.
    pub teams: TeamSize,
    /// What is played, in the order of the file; never empty.
    pub challenges: Vec<Selection>,
    /// What a question is worth where a selection does not say otherwise.
    pub scoring: Scoring,
    /// How often a team may answer a question wrongly.
    pub attempt_caps: AttemptCaps,
    /// Most instances of one team at a time; `None` leaves it to the organizer.
    pub instances_per_team: Option<u32>,
}

impl Competition {
    /// The selection that counts for this challenge: the one that names its id, else the first
    /// that takes it in.
    pub fn selection(
        &self,
        id: &ChallengeId,
        bucket: Option<&str>,
        tags: &[String],
    ) -> Option<&Selection> {
        self.challenges
            .iter()
            .filter(|selection| selection.selector.matches(id, bucket, tags))
            .min_by_key(|selection| !selection.selector.is_exact())
    }
}

/// How players get in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who makes teams.
    pub mode: RegistrationMode,
    /// From when; `None` is from the moment it is known.
    pub opens_at: Option<Timestamp>,
    /// Until when; `None` is until the end.
    pub closes_at: Option<Timestamp>,
}

/// Who makes teams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationMode {
    /// Everybody plays alone.
    Solo,
    /// Players make teams and join them.
    #[default]
    Create,
    /// Players join teams that the organizer made.
    Join,
    /// Only who was invited.
    Invite,
}

impl RegistrationMode {
    /// The words of the file.
    pub const WORDS: &[&str] = &["solo", "create", "join", "invite"];

    /// The mode that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "solo" => Self::Solo,
            "create" => Self::Create,
            "join" => Self::Join,
            "invite" => Self::Invite,
            _ => return None,
        })
    }
}

/// How many players make a team; `min` is at least 1 and at most `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeamSize {
    /// Fewest.
    pub min: u32,
    /// Most.
    pub max: u32,
}

impl Default for TeamSize {
    fn default() -> Self {
        Self { min: 1, max: 4 }
    }
}

/// Some challenges, and what is special about them here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Which.
    pub selector: Selector,
    /// What they are worth; `None` is the `value` of the competition's scoring.
    pub value: Option<u32>,
    /// When they appear; `None` is with the start.
    pub release_at: Option<Timestamp>,
}

/// Which challenges are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// Exactly this one.
    Id(ChallengeId),
    /// Every one whose id fits a pattern of `*` and `?`.
    Glob(String),
    /// Every one in this folder of the repository.
    Bucket(String),
    /// Every one with this tag.
    Tag(String),
}

impl Selector {
    /// Whether it names one challenge by its id, and so goes before what takes in many.
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Id(_))
    }

    /// Whether a challenge with this id, bucket and these tags is meant.
    pub fn matches(&self, id: &ChallengeId, bucket: Option<&str>, tags: &[String]) -> bool {
        match self {
            Self::Id(wanted) => wanted == id,
            Self::Glob(pattern) => fits(pattern, id.as_str()),
            Self::Bucket(wanted) => bucket == Some(wanted.as_str()),
            Self::Tag(wanted) => tags.contains(wanted),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Glob(pattern) => f.write_str(pattern),
            Self::Bucket(bucket) => write!(f, "bucket: {bucket}"),
            Self::Tag(tag) => write!(f, "tag: {tag}"),
        }
    }
}

/// Whether `text` fits `pattern`: `*` is any text, `?` one character. Costs at most the product
/// of the lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, reach)) = star else { return false };
                star = Some((at, reach + 1));
                p = at + 1;
                t = reach + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// What a right answer is worth, and how that changes with each team that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scoring {
    /// The curve.
    pub function: ScoringFunction,
    /// For the first team.
    pub value: u32,
    /// The least it sinks to; at most `value`.
    pub minimum: u32,
    /// After how many teams it is there; at least 1.
    pub decay: u32,
    /// What the first team gets on top.
    pub first_blood: u32,
}

impl Default for Scoring {
    fn default() -> Self {
        Self {
            function: ScoringFunction::default(),
            value: 500,
            minimum: 100,
            decay: 30,
            first_blood: 0,
        }
    }
}

/// How the value sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoringFunction {
    /// Not at all.
    #[default]
    Static,
    /// By the same amount for each team.
    Linear,
    /// Slowly first, then faster.
    Logarithmic,
}

impl ScoringFunction {
    /// The words of the file.
    pub const WORDS: &[&str] = &["static", "linear", "logarithmic"];

    /// The function that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "static" => Self::Static,
            "linear" => Self::Linear,
            "logarithmic" => Self::Logarithmic,
            _ => return None,
        })
    }
}

/// How often a team may answer, by the kind of question. Minted answers have no cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptCaps {
    /// Questions with one text as answer.
    #[serde(rename = "static")]
    pub static_text: u32,
    /// Questions with one right choice.
    pub single_select: u32,
    /// Questions with several right choices.
    pub multi_select: u32,
}

impl Default for AttemptCaps {
    fn default() -> Self {
        Self { static_text: 10, single_select: 3, multi_select: 10 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_selector_means_what_it_says() {
        let id: ChallengeId = "WEB-001".parse().unwrap();
        let tags = ["easy".to_owned()];
        for (selector, want) in [
            (Selector::Id(id.clone()), true),
            (Selector::Glob("WEB-*".to_owned()), true),
            (Selector::Glob("*-00?".to_owned()), true),
            (Selector::Glob("*".to_owned()), true),
            (Selector::Glob("web-*".to_owned()), false),
            (Selector::Glob("WEB-0".to_owned()), false),
            (Selector::Glob("?".to_owned()), false),
            (Selector::Bucket("WEB".to_owned()), true),
            (Selector::Bucket("PWN".to_owned()), false),
            (Selector::Tag("easy".to_owned()), true),
            (Selector::Tag("eas".to_owned()), false),
        ] {
            assert_eq!(selector.matches(&id, Some("WEB"), &tags), want, "{selector}");
        }
        assert!(!Selector::Bucket("WEB".to_owned()).matches(&id, None, &[]));
    }

    proptest! {
        #[test]
        fn a_pattern_made_from_a_text_fits_it(text in "[A-Z0-9-]{1,12}", at in 0_usize..12, n in 0_usize..4) {
            let chars: Vec<char> = text.chars().collect();
            let at = at.min(chars.len());
            let end = (at + n).min(chars.len());
            let (head, tail): (String, String) =
                (chars[..at].iter().collect(), chars[end..].iter().collect());
            let star = format!("{head}*{tail}");
            let marks = format!("{head}{}{tail}", "?".repeat(end - at));
            prop_assert!(fits(&star, &text));
            prop_assert!(fits(&marks, &text));
            let longer = format!("{}x", text);
            prop_assert!(!fits(&text, &longer));
        }
    }
}
