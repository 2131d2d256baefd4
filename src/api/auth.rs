//! Who is calling: the bearer token, checked once, in four strengths.
//!
//! In:  the `Authorization` header.
//! Out: a [`Caller`], or exactly the refusals of `contract/http-api.md` §2.
//!
//! # Invariants
//! * A token is never logged; its public id is (`caller.token` on the request's span).
//! * Routes with optional authentication never refuse because of a token.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};

use super::competitions::COMPETITION;
use super::error::{ApiError, not_registered};
use crate::daemon::platform::{Platform, PlatformError};
use crate::model::{Caller, Role, TeamId, id};

/// No token of ours is longer; anything longer is not looked up.
const MAX_TOKEN_BYTES: usize = 512;

/// Anybody with a good token.
pub(crate) struct Signed(pub(crate) Caller);

/// An administrator.
pub(crate) struct Admin(pub(crate) Caller);

/// Somebody who plays for a team.
pub(crate) struct Player {
    /// Who.
    pub(crate) caller: Caller,
    /// For whom.
    pub(crate) team: TeamId,
}

/// Anybody; a bad token counts as none.
pub(crate) struct Maybe(pub(crate) Option<Caller>);

impl Maybe {
    /// The team that the caller plays for, if any.
    pub(crate) fn team(&self) -> Option<TeamId> {
        self.0.as_ref().and_then(Caller::team)
    }

    /// Whether an administrator asks.
    pub(crate) fn is_admin(&self) -> bool {
        self.0.as_ref().is_some_and(|caller| caller.role == Role::Admin)
    }
}

/// The token of a `Bearer` header; the scheme's case does not matter.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The first 16 hex digits of the token's hash: a key for limits that cannot be turned back.
pub(crate) fn fingerprint(token: &str) -> String {
    id::hex(&Sha256::digest(token.as_bytes())[..8])
}

async fn identify(parts: &Parts, platform: &Platform) -> Result<Caller, ApiError> {
    let Some(token) = bearer(&parts.headers) else {
        return Err(ApiError::plain(StatusCode::UNAUTHORIZED, "Not authenticated"));
    };
    if token.len() > MAX_TOKEN_BYTES {
        return Err(PlatformError::BadToken.into());
    }
    let caller = platform.authenticate(token).await?;
    tracing::Span::current().record("caller.token", caller.token_id.as_str());
    Ok(caller)
}

impl FromRequestParts<Platform> for Signed {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        identify(parts, platform).await.map(Self)
    }
}

impl FromRequestParts<Platform> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let caller = identify(parts, platform).await?;
        match caller.role {
            Role::Admin => Ok(Self(caller)),
            Role::Player { .. } => {
                Err(ApiError::plain(StatusCode::FORBIDDEN, "Admin privileges required"))
            }
        }
    }
}

impl FromRequestParts<Platform> for Player {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let caller = identify(parts, platform).await?;
        match caller.role {
            Role::Player { team } => Ok(Self { caller, team }),
            Role::Admin => Err(not_registered(COMPETITION)),
        }
    }
}

impl FromRequestParts<Platform> for Maybe {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        platform: &Platform,
    ) -> Result<Self, Infallible> {
        Ok(Self(identify(parts, platform).await.ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn only_a_bearer_with_a_token_counts() {
        assert_eq!(check("Bearer pt_abc").as_deref(), Some("pt_abc"));
        assert_eq!(check("bearer  pt_abc ").as_deref(), Some("pt_abc"));
        for value in ["Bearer", "Bearer ", "Basic dXNlcg==", "pt_abc", ""] {
            assert_eq!(check(value), None, "{value:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_fingerprint_is_short_stable_and_not_the_token() {
        assert_eq!(fingerprint("abc"), "ba7816bf8f01cfea");
    }
}
