//! What on record makes a solve look as if it were not the team's own. Pure.
//!
//! Evidence is worked out from answers and instances whenever somebody asks, so nothing is lost by a
//! crash and an old event can be looked at with today's rules. Nothing follows from it by itself: most of
//! what looks like cheating has an innocent explanation.
//!
//! In:  every answer, every instance, whose minted answer a wrong one is, which teams got files, which
//!      VPN profiles were in use at several places.
//! Out: pieces of evidence, the newest first.
//!
//! # Invariants
//! * A piece of evidence keeps its id as long as its answer, or its instance, is on record.
//! * An answer of the team's own other instance is no evidence.
//! * The same records give the same evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{
    ChallengeId, Instance, InstanceId, QuestionId, Submission, SubmissionId, TeamId, Timestamp,
    UserId,
};

/// Solves of others that a median is taken of, at least.
const MIN_SOLVES: usize = 5;
/// What part of the median is implausible.
const IMPLAUSIBLE_PART: f64 = 0.05;

/// What looks odd.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// A wrong answer is the right one of another team's instance.
    ForeignAnswer {
        /// Whose instance.
        team: TeamId,
        /// Which.
        instance: InstanceId,
    },
    /// Solved without ever having had a usable instance or a file of the challenge.
    NeverStarted,
    /// Solved without ever having got a file of a challenge that has some.
    NeverDownloaded,
    /// Solved so soon after the instance was usable that hardly anybody could.
    TooFast {
        /// Seconds from then.
        secs: f64,
        /// What the others took, where enough of them did.
        median_secs: Option<f64>,
    },
    /// The VPN profile of one person was connected from several addresses at once.
    SharedProfile {
        /// Seconds from the first time that this was seen to the last.
        secs: f64,
        /// Whose answers come from one of them, and not those of the profile's own team.
        team: Option<TeamId>,
    },
}

impl Signal {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ForeignAnswer { .. } => "foreign_answer",
            Self::NeverStarted => "never_started",
            Self::NeverDownloaded => "never_downloaded",
            Self::TooFast { .. } => "too_fast",
            Self::SharedProfile { .. } => "shared_profile",
        }
    }

    /// The other team that it points to.
    pub fn other_team(&self) -> Option<TeamId> {
        match *self {
            Self::ForeignAnswer { team, .. } => Some(team),
            Self::SharedProfile { team, .. } => team,
            Self::NeverStarted | Self::NeverDownloaded | Self::TooFast { .. } => None,
        }
    }

    /// How much it weighs, of 100.
    pub fn weight(&self) -> u8 {
        match self {
            Self::ForeignAnswer { .. } => 90,
            Self::SharedProfile { team: Some(_), .. } => 80,
            Self::NeverStarted => 70,
            Self::SharedProfile { team: None, .. } => 50,
            Self::TooFast { .. } => 40,
            Self::NeverDownloaded => 20,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignAnswer { .. } => {
                f.write_str("this is the answer of another team's instance")
            }
            Self::NeverStarted => {
                f.write_str("the team never had a usable instance or a file of the challenge")
            }
            Self::NeverDownloaded => f.write_str("the team never got a file of the challenge"),
            Self::TooFast { secs, median_secs: Some(median) } => {
                write!(f, "{secs:.0} s after the instance was usable; others took {median:.0} s")
            }
            Self::TooFast { secs, median_secs: None } => {
                write!(f, "{secs:.0} s after the instance was usable")
            }
            Self::SharedProfile { secs, team } => {
                f.write_str(
                    "the VPN profile of one person was connected from several addresses at once",
                )?;
                if *secs >= 1.0 {
                    write!(f, ", over {secs:.0} s")?;
                }
                match team {
                    Some(_) => f.write_str("; answers of another team come from one of them"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What looks odd.
    pub signal: Signal,
    /// In what.
    pub source: Source,
    /// When the answer was given, or the profile was seen first.
    pub at: Timestamp,
    /// By which team.
    pub team: TeamId,
    /// By which of its members; `None` for a token of the team.
    pub user: Option<UserId>,
    /// On what.
    pub challenge: ChallengeId,
    /// Through which instance; `None` for a quiz.
    pub instance: Option<InstanceId>,
}

/// What a piece of evidence was seen in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An answer.
    Answer {
        /// Which.
        id: SubmissionId,
        /// To which question.
        question: QuestionId,
    },
    /// The profile of one member.
    Profile {
        /// For this instance.
        instance: InstanceId,
        /// Whose.
        holder: UserId,
    },
}

impl Evidence {
    /// Its name, which stays.
    pub fn id(&self) -> String {
        let signal = self.signal.as_str();
        match &self.source {
            Source::Answer { id, .. } => format!("{signal}:{id}"),
            Source::Profile { instance, holder } => format!("{signal}:{instance}:{holder}"),
        }
    }

    /// The question that was answered.
    pub fn question(&self) -> Option<&QuestionId> {
        match &self.source {
            Source::Answer { question, .. } => Some(question),
            Source::Profile { .. } => None,
        }
    }
}

/// A VPN profile of one person that was connected from several addresses at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedProfile {
    /// Of which instance.
    pub instance: InstanceId,
    /// Whose profile.
    pub holder: UserId,
    /// From where.
    pub addresses: BTreeSet<String>,
    /// When that was seen first.
    pub first_at: Timestamp,
    /// When last.
    pub last_at: Timestamp,
}

/// What there is to judge by.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    /// Every answer, in the order they were given.
    pub answers: &'a [Submission],
    /// Every instance that there was.
    pub instances: &'a BTreeMap<InstanceId, Instance>,
    /// Of wrong answers: the instance that they are the right answer of.
    pub owners: &'a BTreeMap<SubmissionId, InstanceId>,
    /// Which teams got a file of which challenges, and when first.
    pub got_files: &'a BTreeMap<(TeamId, ChallengeId), Timestamp>,
    /// Challenges that have files.
    pub with_files: &'a BTreeSet<ChallengeId>,
    /// Profiles that were in use at several places.
    pub profiles: &'a [SharedProfile],
    /// Whose answers came from which addresses.
    pub homes: &'a BTreeMap<String, BTreeSet<TeamId>>,
    /// Seconds after which a solve is always plausible by itself.
    pub fast_secs: u32,
}

/// Everything that looks odd, the newest first. O(n log n).
pub fn evidence(records: &Records<'_>) -> Vec<Evidence> {
    let usable = usable_since(records.instances);
    let mut found: Vec<Evidence> = Vec::new();
    let mut solved: BTreeSet<(TeamId, &ChallengeId, &QuestionId)> = BTreeSet::new();
    let mut times: BTreeMap<(&ChallengeId, &QuestionId), Vec<(&Submission, f64)>> = BTreeMap::new();
    for answer in records.answers {
        if !answer.is_correct {
            found.extend(foreign(records, answer).map(|signal| piece(answer, signal)));
            continue;
        }
        let is_first = solved.insert((answer.team, &answer.challenge, &answer.question));
        // What a quiz asks can be known.
        if !is_first || answer.instance.is_none() {
            continue;
        }
        let key = (answer.team, answer.challenge.clone());
        let had_files = records.got_files.get(&key).is_some_and(|at| *at <= answer.submitted_at);
        let since = usable.get(&key).copied().filter(|at| *at <= answer.submitted_at);
        match since {
            None if !had_files => found.push(piece(answer, Signal::NeverStarted)),
            None => {}
            Some(since) => {
                if !had_files && records.with_files.contains(&answer.challenge) {
                    found.push(piece(answer, Signal::NeverDownloaded));
                }
                let secs = seconds(answer.submitted_at.millis_since(since));
                let of_question = times.entry((&answer.challenge, &answer.question)).or_default();
                of_question.push((answer, secs));
            }
        }
    }
    for solves in times.values() {
        for (nth, (answer, secs)) in solves.iter().enumerate() {
            let others = solves.iter().enumerate().filter(|(other, _)| *other != nth);
            let median_secs = median(others.map(|(_, (_, secs))| *secs).collect());
            let is_fast = *secs < f64::from(records.fast_secs)
                || median_secs.is_some_and(|median| *secs < median * IMPLAUSIBLE_PART);
            if is_fast {
                found.push(piece(answer, Signal::TooFast { secs: *secs, median_secs }));
            }
        }
    }
    found.extend(records.profiles.iter().filter_map(|profile| shared(records, profile)));
    found.sort_by(|one, other| {
        (other.at, other.signal.weight(), &other.source).cmp(&(
            one.at,
            one.signal.weight(),
            &one.source,
        ))
    });
    found
}

fn piece(answer: &Submission, signal: Signal) -> Evidence {
    Evidence {
        signal,
        source: Source::Answer { id: answer.id, question: answer.question.clone() },
        at: answer.submitted_at,
        team: answer.team,
        user: answer.user,
        challenge: answer.challenge.clone(),
        instance: answer.instance,
    }
}

/// `None` once its instance is not on record any more.
fn shared(records: &Records<'_>, profile: &SharedProfile) -> Option<Evidence> {
    let row = records.instances.get(&profile.instance)?;
    // An address that the own team answers from, too, explains nothing.
    let teams = profile.addresses.iter().filter_map(|address| records.homes.get(address));
    let team = teams
        .filter(|teams| !teams.contains(&row.team))
        .flat_map(|teams| teams.iter().copied())
        .next();
    let secs = seconds(profile.last_at.millis_since(profile.first_at));
    Some(Evidence {
        signal: Signal::SharedProfile { secs, team },
        source: Source::Profile { instance: row.id, holder: profile.holder },
        at: profile.first_at,
        team: row.team,
        user: Some(profile.holder),
        challenge: row.challenge.clone(),
        instance: Some(row.id),
    })
}

fn foreign(records: &Records<'_>, answer: &Submission) -> Option<Signal> {
    let owner = records.instances.get(records.owners.get(&answer.id)?)?;
    let signal = Signal::ForeignAnswer { team: owner.team, instance: owner.id };
    (owner.team != answer.team).then_some(signal)
}

/// Since when a team could use an instance of a challenge.
fn usable_since(
    instances: &BTreeMap<InstanceId, Instance>,
) -> BTreeMap<(TeamId, ChallengeId), Timestamp> {
    let mut usable: BTreeMap<(TeamId, ChallengeId), Timestamp> = BTreeMap::new();
    // The lease begins when it is usable, which sets the two times apart.
    for row in instances.values().filter(|row| row.started_at != row.created_at) {
        let first = usable.entry((row.team, row.challenge.clone())).or_insert(row.started_at);
        *first = row.started_at.min(*first);
    }
    usable
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a contest are exact")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn median(mut secs: Vec<f64>) -> Option<f64> {
    secs.sort_by(f64::total_cmp);
    (secs.len() >= MIN_SOLVES).then(|| secs[secs.len() / 2])
}

/// The secret part of what could be a minted answer, `FLAG{32 hex}` or bare: other texts are nobody's.
pub fn minted_part(claimed: &str) -> Option<&str> {
    let text = claimed.trim();
    let bare = text.strip_prefix("FLAG{").and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (bare.len() == 32 && bare.bytes().all(is_hex)).then_some(bare)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{InstancePhase, NodeId, ObjectId, Revision, TreeId};

    /// How an answer was graded.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Verdict {
        Right,
        Wrong,
    }

    use Verdict::{Right, Wrong};

    fn team(n: u8) -> TeamId {
        TeamId::new(Uuid::from_bytes([n; 16]))
    }

    fn id(n: u32) -> InstanceId {
        InstanceId::new(Uuid::from_u128(u128::from(n)))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    /// Asked for at 0, usable from `ready` on.
    fn instance(n: u32, of: u8, ready: Option<i64>) -> Instance {
        Instance {
            id: id(n),
            challenge: "WEB-001".parse().unwrap(),
            team: team(of),
            competition: "default".to_owned(),
            node: NodeId::local(),
            revision: Revision(ObjectId::from_bytes([7; 20])),
            tree: TreeId(ObjectId::from_bytes([7; 20])),
            phase: InstancePhase::Stopped,
            error: None,
            stop_reason: None,
            surface: Vec::new(),
            created_at: at(0),
            started_at: ready.map_or(at(0), at),
            stopped_at: None,
            ttl_secs: 60,
            expires_at: at(60),
            n_restarts: 0,
            n_resets: 0,
            answer_epoch: 0,
            last_death: None,
        }
    }

    fn answer(n: u32, of: u8, through: u32, verdict: Verdict, secs: i64) -> Submission {
        Submission {
            id: SubmissionId::new(Uuid::from_u128(u128::from(n))),
            team: team(of),
            user: None,
            challenge: "WEB-001".parse().unwrap(),
            instance: Some(id(through)),
            question: "flag".parse().unwrap(),
            claimed: "x".to_owned(),
            is_correct: verdict == Verdict::Right,
            submitted_at: at(secs),
            solve_time_secs: 0.0,
            revision: Revision(ObjectId::from_bytes([7; 20])),
        }
    }

    #[derive(Default)]
    struct Scene {
        answers: Vec<Submission>,
        instances: BTreeMap<InstanceId, Instance>,
        owners: BTreeMap<SubmissionId, InstanceId>,
        got_files: BTreeMap<(TeamId, ChallengeId), Timestamp>,
        with_files: BTreeSet<ChallengeId>,
        profiles: Vec<SharedProfile>,
        homes: BTreeMap<String, BTreeSet<TeamId>>,
    }

    impl Scene {
        fn with(mut self, row: Instance) -> Self {
            self.instances.insert(row.id, row);
            self
        }

        fn evidence(&self) -> Vec<Evidence> {
            evidence(&Records {
                answers: &self.answers,
                instances: &self.instances,
                owners: &self.owners,
                got_files: &self.got_files,
                with_files: &self.with_files,
                profiles: &self.profiles,
                homes: &self.homes,
                fast_secs: 20,
            })
        }

        fn signals(&self) -> Vec<(SubmissionId, &'static str)> {
            let of_answer = |it: &Evidence| match it.source {
                Source::Answer { id, .. } => Some((id, it.signal.as_str())),
                Source::Profile { .. } => None,
            };
            self.evidence().iter().filter_map(of_answer).collect()
        }
    }

    fn submission(n: u32) -> SubmissionId {
        SubmissionId::new(Uuid::from_u128(u128::from(n)))
    }

    #[test]
    fn an_answer_of_another_team_is_evidence_and_one_of_the_own_older_instance_is_not() {
        let mut scene = Scene::default()
            .with(instance(1, 1, Some(5)))
            .with(instance(2, 2, Some(5)))
            .with(instance(3, 1, Some(5)));
        scene.answers = vec![answer(1, 1, 1, Wrong, 100), answer(2, 1, 1, Wrong, 110)];
        scene.owners = BTreeMap::from([(submission(1), id(2)), (submission(2), id(3))]);
        assert_eq!(scene.signals(), [(submission(1), "foreign_answer")]);
    }

    #[test]
    fn who_solves_what_it_never_had_is_seen_and_files_are_enough_to_have_had_it() {
        let mut scene = Scene::default().with(instance(1, 1, None));
        scene.answers = vec![answer(1, 1, 1, Right, 100), answer(2, 1, 1, Right, 200)];
        assert_eq!(scene.signals(), [(submission(1), "never_started")], "only the first counts");
        scene.got_files.insert((team(1), "WEB-001".parse().unwrap()), at(50));
        assert_eq!(scene.signals(), []);
        scene.got_files.insert((team(1), "WEB-001".parse().unwrap()), at(150));
        assert_eq!(scene.signals(), [(submission(1), "never_started")], "it got them afterwards");
    }

    #[test]
    fn files_that_nobody_got_weigh_little_and_only_where_there_are_some() {
        let mut scene = Scene::default().with(instance(1, 1, Some(5)));
        scene.answers = vec![answer(1, 1, 1, Right, 1000)];
        assert_eq!(scene.signals(), []);
        scene.with_files.insert("WEB-001".parse().unwrap());
        assert_eq!(scene.signals(), [(submission(1), "never_downloaded")]);
    }

    #[test]
    fn a_solve_is_too_fast_by_itself_or_beside_the_others() {
        let mut scene = Scene::default().with(instance(1, 1, Some(10)));
        scene.answers = vec![answer(1, 1, 1, Right, 25)];
        assert_eq!(scene.signals(), [(submission(1), "too_fast")]);
        // 90 s is plausible, but not where six others took two hours.
        scene.answers = vec![answer(1, 1, 1, Right, 100)];
        assert_eq!(scene.signals(), []);
        for n in 2..=7 {
            scene = scene.with(instance(n, u8::try_from(n).unwrap(), Some(10)));
            scene.answers.push(answer(n, u8::try_from(n).unwrap(), n, Right, 7_210));
        }
        assert_eq!(scene.signals(), [(submission(1), "too_fast")]);
    }

    #[test]
    fn a_profile_at_two_places_is_evidence_and_weighs_more_where_another_team_plays() {
        let mut scene = Scene::default().with(instance(1, 1, Some(5)));
        let holder = UserId::new(Uuid::from_u128(9));
        let addresses = ["198.51.100.1", "203.0.113.9"].map(str::to_owned).into();
        let (first_at, last_at) = (at(100), at(190));
        let profile = SharedProfile { instance: id(1), holder, addresses, first_at, last_at };
        scene.profiles = vec![profile.clone(), SharedProfile { instance: id(7), ..profile }];
        let told = |scene: &Scene| {
            let found = scene.evidence();
            assert_eq!(found.len(), 1, "an instance that is not on record is nobody's: {found:?}");
            assert_eq!(found[0].id(), format!("shared_profile:{}:{holder}", id(1)));
            assert_eq!((found[0].team, found[0].at, found[0].question()), (team(1), at(100), None));
            let Signal::SharedProfile { secs, team } = found[0].signal else { panic!("{found:?}") };
            (secs, team, found[0].signal.weight())
        };
        assert_eq!(told(&scene), (90.0, None, 50));
        scene.homes.insert("198.51.100.1".to_owned(), BTreeSet::from([team(1), team(2)]));
        assert_eq!(told(&scene), (90.0, None, 50), "a place that both share explains nothing");
        scene.homes.insert("203.0.113.9".to_owned(), BTreeSet::from([team(3)]));
        assert_eq!(told(&scene), (90.0, Some(team(3)), 80));
    }

    #[test]
    fn only_what_could_be_minted_is_looked_up() {
        let hex = "0123456789abcdef0123456789abcdef";
        assert_eq!(minted_part(&format!(" FLAG{{{hex}}}\n")), Some(hex));
        assert_eq!(minted_part(hex), Some(hex));
        for text in ["", "FLAG{}", "FLAG{0123}", &hex.to_uppercase(), &format!("{hex}0"), "é"] {
            assert_eq!(minted_part(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_piece_is_of_an_answer_on_record_and_told_once(
            given in prop::collection::vec((1_u8..5, any::<bool>(), 0_i64..500, 1_u32..8), 0..40),
            ready in prop::collection::vec(prop::option::of(1_i64..300), 8),
        ) {
            let mut scene = Scene::default();
            for (n, ready) in (0_u32..).zip(ready) {
                scene = scene.with(instance(n, u8::try_from(n % 4 + 1).unwrap(), ready));
            }
            for (n, (of, is_correct, secs, through)) in (0_u32..).zip(given) {
                let verdict = if is_correct { Right } else { Wrong };
                scene.answers.push(answer(n, of, through, verdict, secs));
                scene.owners.insert(submission(n), id(through));
            }
            let signals = scene.signals();
            let once: BTreeSet<_> = signals.iter().collect();
            prop_assert_eq!(once.len(), signals.len());
            for (submission, signal) in signals {
                let found = scene.answers.iter().find(|it| it.id == submission);
                prop_assert_eq!(found.map(|it| !it.is_correct), Some(signal == "foreign_answer"));
            }
        }
    }
}
