//! Settings that administrators change while the platform runs.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use super::extract::{Body, Path};
use crate::daemon::platform::{Platform, SettingState};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(set, unset))
}

/// One setting.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct PlatformSettingInfo {
    key: &'static str,
    /// `bool`, `int`, `str`, `list[str]`, `dict[str,str]` or `dict[str,int]`.
    r#type: &'static str,
    /// What it does, or that it acts on nothing here.
    description: &'static str,
    /// What holds.
    value: Value,
    /// `db`: an administrator set it; `env`: it is configured; `default`: neither.
    source: &'static str,
    /// What is configured; null when nothing is.
    env_value: Value,
    default_value: Value,
}

impl From<SettingState> for PlatformSettingInfo {
    fn from(state: SettingState) -> Self {
        Self {
            key: state.key.as_str(),
            r#type: state.key.type_name(),
            description: state.key.description(),
            value: state.value,
            source: state.source.as_str(),
            env_value: state.configured,
            default_value: state.built_in,
        }
    }
}

/// The new value.
#[derive(Debug, Deserialize, ToSchema)]
struct SettingBody {
    /// Of the type of the key.
    #[serde(default)]
    value: Value,
}

/// Every setting, with what holds and why.
#[utoipa::path(get, path = "/admin/platform-settings", tag = "admin", security(("bearer" = [])),
    responses((status = 200, body = Vec<PlatformSettingInfo>), (status = 403, body = Envelope)))]
async fn list(
    State(platform): State<Platform>,
    _admin: Admin,
) -> Answer<Json<Vec<PlatformSettingInfo>>> {
    let states = platform.setting_states().await?;
    Ok(Json(states.into_iter().map(PlatformSettingInfo::from).collect()))
}

/// Sets one in place of what is configured. It acts at once.
#[utoipa::path(patch, path = "/admin/platform-settings/{key}", tag = "admin",
    security(("bearer" = [])), params(("key" = String, Path)), request_body = SettingBody,
    responses((status = 200, body = PlatformSettingInfo),
        (status = 400, body = Envelope, description = "what the value must be"),
        (status = 403, body = Envelope), (status = 404, body = Envelope)))]
async fn set(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(key): Path<String>,
    Body(body): Body<SettingBody>,
) -> Answer<Json<PlatformSettingInfo>> {
    Ok(Json(platform.set_setting(&caller, &key, body.value).await?.into()))
}

/// Takes one back: what is configured holds again.
#[utoipa::path(delete, path = "/admin/platform-settings/{key}", tag = "admin",
    security(("bearer" = [])), params(("key" = String, Path)),
    responses((status = 200, body = PlatformSettingInfo), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn unset(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(key): Path<String>,
) -> Answer<Json<PlatformSettingInfo>> {
    Ok(Json(platform.unset_setting(&caller, &key).await?.into()))
}
