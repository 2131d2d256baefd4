//! Who holds a token: asked for with every request, so in one look.

use rusqlite::OptionalExtension as _;

use super::{Store, StoreError, account_tokens, accounts, teams};
use crate::model::{Account, AccountToken, Membership};

/// Who holds a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Holder {
    /// A team, by a token of its own.
    Team {
        /// Its public id.
        token_id: String,
        /// Which team.
        membership: Membership,
    },
    /// A person.
    Account {
        /// The token. It may have ended, so that its holder can be told.
        token: AccountToken,
        /// Their account.
        account: Box<Account>,
        /// The teams that they play for.
        memberships: Vec<Membership>,
    },
}

impl Store {
    /// Who holds the token with this SHA-256; a revoked one, or one of a disbanded team, is nobody's.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn holder(&self, token_hash: [u8; 32]) -> Result<Option<Holder>, StoreError> {
        self.read(move |db| {
            // Looking up by digest gives nothing away in its timing: nobody can choose a digest.
            let of_team = db
                .prepare_cached(
                    "SELECT token_id, team, competition FROM team_tokens
                     JOIN teams ON teams.id = team_tokens.team
                     WHERE token_hash = ?1 AND disbanded_at IS NULL",
                )?
                .query_row([token_hash], |row| {
                    let membership = teams::membership_row(row)?;
                    Ok(Holder::Team { token_id: row.get("token_id")?, membership })
                })
                .optional()?;
            if of_team.is_some() {
                return Ok(of_team);
            }
            let found = db
                .prepare_cached(
                    "SELECT * FROM user_tokens WHERE token_hash = ?1 AND revoked_at IS NULL",
                )?
                .query_row([token_hash], |row| {
                    Ok((account_tokens::token_row(row)?, row.get::<_, String>("user")?))
                })
                .optional()?;
            let Some((token, user)) = found else { return Ok(None) };
            let account = db
                .prepare_cached("SELECT * FROM users WHERE id = ?1")?
                .query_row([user], accounts::account_row)?;
            let (memberships, account) = (teams::memberships(db, account.id)?, Box::new(account));
            Ok(Some(Holder::Account { token, account, memberships }))
        })
        .await
    }
}
