//! The calls of those who play, with the shapes of their answers (`contract/http-api.md` §3, 5).
//!
//! What an answer has beside these fields is kept where it is shown to machines, and ignored elsewhere: a
//! newer server may say more.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Client, ClientError};
use crate::config::Secret;
use crate::model::{ChallengeId, InstanceStatus};

/// A program that wants to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DeviceCode {
    /// What it asks with; secret.
    pub device_code: String,
    /// What a person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// Where, with the code in it.
    #[serde(default)]
    pub verification_uri_complete: String,
    /// For how many seconds both are good.
    pub expires_in: u64,
    /// Seconds between two questions.
    pub interval: u64,
}

/// How far a person is with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceStatus {
    /// Nobody answered yet.
    Pending,
    /// Let in.
    Approved,
    /// Not let in.
    Denied,
    /// Too late, or answered before.
    Expired,
}

/// What a program is told that waits.
#[derive(Debug, Deserialize)]
pub struct DeviceAnswer {
    /// How far it is.
    pub status: DeviceStatus,
    token: String,
}

impl DeviceAnswer {
    /// The token, when it was approved: told once.
    pub fn into_token(self) -> Option<Secret<String>> {
        let is_let_in = self.status == DeviceStatus::Approved && !self.token.is_empty();
        is_let_in.then(|| Secret::new(self.token))
    }
}

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Me {
    /// The account, or the team whose token it is.
    pub id: String,
    /// Name.
    pub display_name: String,
    /// Empty for a team.
    #[serde(default)]
    pub email: String,
    /// `user`, `admin` or `super_admin`.
    #[serde(default)]
    pub role: String,
    /// `user` or `fine_grained`.
    #[serde(default)]
    pub token_kind: String,
    /// The teams that they play for.
    #[serde(default)]
    pub competition_teams: Vec<Membership>,
}

/// A team in a competition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Membership {
    /// Which competition.
    pub competition_id: String,
    /// Which team.
    pub team_id: String,
    /// Its name.
    pub team_name: String,
    /// `captain` or `member`.
    #[serde(default)]
    pub role: String,
}

/// What is wanted of a start.
#[derive(Debug, Clone, Serialize)]
pub struct StartWish {
    /// Of which challenge.
    pub challenge_id: ChallengeId,
    /// Length of the lease in seconds; the challenge's own when absent.
    pub ttl: Option<u32>,
}

/// An instance that was asked for.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Started {
    /// Its id.
    pub id: String,
    /// The rest, as the server says it.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How an instance is.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct InstanceView {
    /// `starting`, `ready`, `stopped` or `error`.
    pub status: String,
    /// Why it failed.
    #[serde(default)]
    pub error: String,
    /// How far it is, finer than `status`.
    #[serde(default)]
    pub phase: String,
    /// Where it stands while no node has room.
    #[serde(default)]
    pub queue: Option<Place>,
    /// Its step while it starts.
    #[serde(default)]
    pub progress: Option<Step>,
    /// How to reach it, when it is ready.
    #[serde(default)]
    pub attack_surface: Value,
    /// The rest, as the server says it.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl InstanceView {
    /// The status as a word that we know.
    pub fn known_status(&self) -> Option<InstanceStatus> {
        InstanceStatus::from_word(&self.status)
    }
}

/// A place in the line of those who wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub struct Place {
    /// From 1.
    pub position: u64,
    /// How many wait.
    pub length: u64,
}

/// A step of a start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Step {
    /// Which.
    pub step: u64,
    /// Of how many.
    pub of: u64,
    /// What is being done, or waited for.
    pub message: String,
}

/// Each fails as [`Client::get`] does.
impl Client {
    /// Asks to be let in; needs no token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn device_code(&self) -> Result<DeviceCode, ClientError> {
        self.typed(Method::POST, &["auth", "device", "code"], None).await
    }

    /// Asks whether a person answered; needs no token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn device_answer(&self, code: &DeviceCode) -> Result<DeviceAnswer, ClientError> {
        let body = json!({ "device_code": code.device_code });
        self.typed(Method::POST, &["auth", "device", "token"], Some(&body)).await
    }

    /// Who holds the token.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.typed(Method::GET, &["me"], None).await
    }

    /// Takes the token back that this client shows.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sign_out(&self) -> Result<(), ClientError> {
        let _: Value = self.typed(Method::POST, &["auth", "logout"], None).await?;
        Ok(())
    }

    /// Asks for an instance; again asks for the same one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn start(&self, wish: &StartWish) -> Result<Started, ClientError> {
        let body = json!(wish);
        self.typed(Method::POST, &["instances"], Some(&body)).await
    }

    /// How an instance is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn instance(&self, id: &str) -> Result<InstanceView, ClientError> {
        self.typed(Method::GET, &["instances", id, "status"], None).await
    }
}
