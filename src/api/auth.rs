//! Who is calling: the bearer token, checked once, and what it must allow.
//!
//! In:  the `Authorization` header.
//! Out: a [`Caller`], or exactly the refusals of `contract/http-api.md` §2.
//!
//! # Invariants
//! * A token is never logged; its public id is (`caller.token` on the request's span).
//! * Routes with optional authentication never refuse because of a token.

use std::convert::Infallible;
use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::limits::peer;
use crate::daemon::platform::{Platform, PlatformError, wrong_competition};
use crate::model::{Account, AccountRole, Area, Caller, Integration, Level, Reach, id};

/// No token of ours is longer; anything longer is not looked up.
const MAX_TOKEN_BYTES: usize = 512;

/// What a fine-grained token must allow for a route.
pub(crate) trait Need: Send + Sync + 'static {
    /// In which area.
    const AREA: Area;
    /// How far.
    const LEVEL: Level;
}

/// Makes a type for each need, so that a handler's signature says it.
macro_rules! needs {
    ($($(#[$doc:meta])* $name:ident = $area:ident, $level:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name;
        impl Need for $name {
            const AREA: Area = Area::$area;
            const LEVEL: Level = Level::$level;
        }
    )*};
}

needs! {
    /// `challenges:read`
    ChallengesRead = Challenges, Read;
    /// `submissions:read`
    SubmissionsRead = Submissions, Read;
    /// `submissions:write`
    SubmissionsWrite = Submissions, Write;
    /// `instances:read`
    InstancesRead = Instances, Read;
    /// `instances:write`
    InstancesWrite = Instances, Write;
    /// `teams:read`
    TeamsRead = Teams, Read;
    /// `teams:write`
    TeamsWrite = Teams, Write;
    /// `profile:read`
    ProfileRead = Profile, Read;
    /// `profile:write`
    ProfileWrite = Profile, Write;
}

/// Anybody with a good token that allows `N`.
pub(crate) struct Signed<N: Need = InstancesRead>(pub(crate) Caller, pub(crate) PhantomData<N>);

/// An administrator.
pub(crate) struct Admin(pub(crate) Caller);

/// A super administrator.
pub(crate) struct Super(pub(crate) Caller);

/// The holder of an account who signed in, not with a fine-grained token.
pub(crate) struct Session {
    /// Who, with their token.
    pub(crate) caller: Caller,
    /// Their account.
    pub(crate) account: Account,
}

/// A CTFd, which speaks for its teams and users.
pub(crate) struct Ctfd {
    /// Which.
    pub(crate) integration: Integration,
    /// Where it asks from.
    pub(crate) address: String,
}

/// Anybody; a token that is bad, or does not allow `N`, counts as none.
pub(crate) struct Maybe<N: Need = ChallengesRead>(
    pub(crate) Option<Caller>,
    pub(crate) PhantomData<N>,
);

impl<N: Need> Maybe<N> {
    /// Whether an administrator asks.
    pub(crate) fn is_admin(&self) -> bool {
        self.0.as_ref().is_some_and(Caller::is_administrator)
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

/// The token of a request, if it could be one.
fn token_of(parts: &Parts) -> Result<&str, ApiError> {
    let Some(token) = bearer(&parts.headers) else {
        return Err(ApiError::plain(StatusCode::UNAUTHORIZED, "Not authenticated"));
    };
    if token.len() > MAX_TOKEN_BYTES {
        return Err(PlatformError::BadToken.into());
    }
    Ok(token)
}

async fn identify(parts: &Parts, platform: &Platform) -> Result<Caller, ApiError> {
    let token = token_of(parts)?;
    let mut caller = platform.authenticate(token).await?;
    caller.address = peer(&parts.extensions).to_string();
    tracing::Span::current().record("caller.token", caller.token_id.as_str());
    Ok(caller)
}

/// Refuses a fine-grained token that does not allow `N` anywhere. In which competition it is used
/// is checked where that is known: on the path, or with the instance.
pub(crate) fn allow<N: Need>(caller: &Caller) -> Result<(), ApiError> {
    let Some(grant) = &caller.grant else { return Ok(()) };
    let (area, needed, granted) = (N::AREA, N::LEVEL, grant.level(N::AREA));
    if granted < needed {
        let word = |level: Level| format!("{}:{}", area.as_str(), level.as_str());
        let message = format!("this token does not allow {}", word(needed));
        let detail =
            json!({"message": message, "required": word(needed), "granted": word(granted)});
        return Err(ApiError::new(StatusCode::FORBIDDEN, "token_missing_scope", detail));
    }
    if area.is_of_competitions() && grant.reach == Reach::None {
        return Err(PlatformError::from(wrong_competition(grant, None)).into());
    }
    Ok(())
}

impl<N: Need> FromRequestParts<Platform> for Signed<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let caller = identify(parts, platform).await?;
        allow::<N>(&caller)?;
        Ok(Self(caller, PhantomData))
    }
}

impl FromRequestParts<Platform> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let caller = identify(parts, platform).await?;
        let admin = caller.as_administrator(AccountRole::Admin);
        admin
            .map(Self)
            .ok_or_else(|| ApiError::plain(StatusCode::FORBIDDEN, "Admin privileges required"))
    }
}

impl FromRequestParts<Platform> for Super {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let caller = identify(parts, platform).await?;
        let admin = caller.as_administrator(AccountRole::SuperAdmin);
        admin.map(Self).ok_or_else(|| {
            ApiError::plain(StatusCode::FORBIDDEN, "Super-admin privileges required")
        })
    }
}

impl FromRequestParts<Platform> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let caller = identify(parts, platform).await?;
        match (caller.account.clone(), &caller.grant) {
            (Some(account), None) => Ok(Self { caller, account }),
            (Some(_), Some(_)) | (None, _) => {
                let text = "This operation requires a user session (logged-in OAuth token)";
                Err(ApiError::plain(StatusCode::FORBIDDEN, text))
            }
        }
    }
}

impl FromRequestParts<Platform> for Ctfd {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, ApiError> {
        let token = token_of(parts)?;
        let integration = platform.integration_of(token).await?;
        let name = format!("ctfd:{}", integration.id);
        tracing::Span::current().record("caller.token", name.as_str());
        Ok(Self { integration, address: peer(&parts.extensions).to_string() })
    }
}

impl<N: Need> FromRequestParts<Platform> for Maybe<N> {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        platform: &Platform,
    ) -> Result<Self, Infallible> {
        let caller = identify(parts, platform).await.ok();
        Ok(Self(caller.filter(|caller| allow::<N>(caller).is_ok()), PhantomData))
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
