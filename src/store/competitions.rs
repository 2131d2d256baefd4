//! Competitions: declared by files, made by administrators, and the people beside players.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Row, params};

use super::{Store, StoreError, row};
use crate::contest::competition::{Access, ChallengeSet, Contest, ONE_EACH, Origin, Status};
use crate::model::competition::{Registration, RegistrationMode, Selection, Selector, TeamSize};
use crate::model::{ChallengeId, Competition, CompetitionId, Revision, Timestamp, UserId};

/// What somebody is in a competition beside a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PersonKind {
    /// They run it.
    Admin,
    /// They may take part although it is private.
    Invited,
}

impl PersonKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Invited => "invited",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Admin, Self::Invited].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Somebody beside the players of a competition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonRow {
    /// In which competition.
    pub competition: CompetitionId,
    /// Who.
    pub user: UserId,
    /// What they are.
    pub kind: PersonKind,
    /// Who made them that.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// What the files of a revision say.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The revision.
    pub revision: Revision,
    /// What files without a fault declare.
    pub competitions: Vec<Competition>,
    /// Files that are there with a fault: what was declared last stays.
    pub faulty: BTreeSet<CompetitionId>,
}

impl Store {
    /// Takes over what the files of a revision declare, in one step.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn declare_competitions(
        &self,
        declared: Declared,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            for competition in &declared.competitions {
                db.prepare_cached(
                    "INSERT INTO declared_competitions
                            (id, revision, declared, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?4)
                     ON CONFLICT (id) DO UPDATE SET revision = ?2, declared = ?3, updated_at = ?4
                     WHERE declared <> ?3",
                )?
                .execute(params![
                    competition.id.as_str(),
                    declared.revision.to_string(),
                    row::to_json(competition)?,
                    now.as_millis(),
                ])?;
            }
            let kept: BTreeSet<&CompetitionId> =
                declared.competitions.iter().map(|it| &it.id).chain(&declared.faulty).collect();
            let known: Vec<CompetitionId> = db
                .prepare_cached("SELECT id FROM declared_competitions")?
                .query_map([], |row| row::text(row, "id"))?
                .collect::<rusqlite::Result<_>>()?;
            for gone in known.iter().filter(|id| !kept.contains(id)) {
                db.prepare_cached("DELETE FROM declared_competitions WHERE id = ?1")?
                    .execute([gone.as_str()])?;
            }
            Ok(())
        })
        .await
    }

    /// Every competition, declared or made, by id. A file goes before a row of the same id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn contests(&self) -> Result<BTreeMap<CompetitionId, Contest>, StoreError> {
        self.read(|db| {
            let made = db
                .prepare_cached("SELECT * FROM competitions")?
                .query_map([], made_row)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let declared = db
                .prepare_cached("SELECT * FROM declared_competitions")?
                .query_map([], declared_row)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(made.into_iter().chain(declared).map(|it| (it.id.clone(), it)).collect())
        })
        .await
    }

    /// Writes a competition that an administrator makes or changes.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn put_competition(&self, contest: Contest) -> Result<(), StoreError> {
        self.write(move |db| Ok(put(db, &contest)?)).await
    }

    /// Removes a competition that an administrator made, with the people beside its players;
    /// whether there was one.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn delete_competition(&self, id: &CompetitionId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.write(move |db| {
            db.prepare_cached("DELETE FROM competition_people WHERE competition = ?1")?
                .execute([id.as_str()])?;
            let n_gone = db
                .prepare_cached("DELETE FROM competitions WHERE id = ?1")?
                .execute([id.as_str()])?;
            Ok(n_gone > 0)
        })
        .await
    }

    /// Everybody beside the players of competitions, in the order of their coming.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn competition_people(&self) -> Result<Vec<PersonRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM competition_people ORDER BY at, user")?
                .query_map([], person_row)?
                .collect()
        })
        .await
    }

    /// Adds somebody; again changes nothing.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn add_person(&self, person: PersonRow) -> Result<(), StoreError> {
        self.write(move |db| {
            db.prepare_cached(
                "INSERT INTO competition_people (competition, user, kind, by, at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                person.competition.as_str(),
                person.user.to_string(),
                person.kind.as_str(),
                person.by,
                person.at.as_millis(),
            ])?;
            Ok(())
        })
        .await
    }

    /// Takes somebody away; whether they were there.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn remove_person(
        &self,
        competition: &CompetitionId,
        user: UserId,
        kind: PersonKind,
    ) -> Result<bool, StoreError> {
        let competition = competition.clone();
        self.write(move |db| {
            let n_gone = db
                .prepare_cached(
                    "DELETE FROM competition_people
                     WHERE competition = ?1 AND user = ?2 AND kind = ?3",
                )?
                .execute(params![competition.as_str(), user.to_string(), kind.as_str()])?;
            Ok(n_gone > 0)
        })
        .await
    }
}

fn put(db: &Connection, contest: &Contest) -> rusqlite::Result<()> {
    let ids: Vec<&ChallengeId> = match &contest.set {
        ChallengeSet::Everything => Vec::new(),
        ChallengeSet::Selected(selections) => selections
            .iter()
            .filter_map(|it| match &it.selector {
                Selector::Id(id) => Some(id),
                Selector::Glob(_) | Selector::Bucket(_) | Selector::Tag(_) => None,
            })
            .collect(),
    };
    let (by, by_name) = match &contest.origin {
        Origin::Api { by, by_name } => (by.map(|by| by.to_string()), by_name.as_str()),
        Origin::BuiltIn | Origin::File { .. } => (None, ""),
    };
    db.prepare_cached(
        "INSERT OR REPLACE INTO competitions
                (id, title, description, status, access, starts_at, ends_at, challenges,
                 created_by, created_by_name, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        contest.id.as_str(),
        contest.title,
        contest.description,
        contest.status.as_str(),
        contest.access.as_str(),
        contest.starts_at.map(Timestamp::as_millis),
        contest.ends_at.map(Timestamp::as_millis),
        row::to_json(&ids)?,
        by,
        by_name,
        contest.created_at.as_millis(),
        contest.updated_at.as_millis(),
    ])?;
    Ok(())
}

fn made_row(row: &Row<'_>) -> rusqlite::Result<Contest> {
    let ids: Vec<ChallengeId> = row::json(row, "challenges")?;
    let select = |id| Selection { selector: Selector::Id(id), value: None, release_at: None };
    Ok(Contest {
        id: row::text(row, "id")?,
        title: row.get("title")?,
        description: row.get("description")?,
        origin: Origin::Api {
            by: row::opt_text(row, "created_by")?,
            by_name: row.get("created_by_name")?,
        },
        status: row::word(row, "status", Status::from_word)?,
        access: row::word(row, "access", Access::from_word)?,
        starts_at: row::opt_time(row, "starts_at")?,
        ends_at: row::opt_time(row, "ends_at")?,
        freeze_at: None,
        practice: false,
        registration: Registration {
            mode: RegistrationMode::Create,
            opens_at: None,
            closes_at: None,
        },
        teams: TeamSize { min: 1, max: 100 },
        set: ChallengeSet::Selected(ids.into_iter().map(select).collect()),
        scoring: ONE_EACH,
        caps: None,
        instances_per_team: None,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
    })
}

fn declared_row(row: &Row<'_>) -> rusqlite::Result<Contest> {
    let file: Competition = row::json(row, "declared")?;
    let contest =
        Contest::declared(&file, row::text(row, "revision")?, row::time(row, "created_at")?);
    Ok(Contest { updated_at: row::time(row, "updated_at")?, ..contest })
}

fn person_row(row: &Row<'_>) -> rusqlite::Result<PersonRow> {
    Ok(PersonRow {
        competition: row::text(row, "competition")?,
        user: row::text(row, "user")?,
        kind: row::word(row, "kind", PersonKind::from_word)?,
        by: row.get("by")?,
        at: row::time(row, "at")?,
    })
}
