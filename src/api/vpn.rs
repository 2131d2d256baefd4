//! OpenVPN profiles of engagements: download, another one, and what organizers see and take back.
//!
//! # Invariants
//! * A profile holds a private key: it goes to members of its team and to administrators, is marked
//!   as not to be stored, and is written nowhere.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, InstancesWrite, Signed};
use super::download::disposition;
use super::error::{Answer, Envelope};
use super::extract::{Body, Path};
use super::instances::nested;
use crate::daemon::platform::{Platform, VpnSession, VpnStatus};
use crate::model::{Role, VpnAccess};
use crate::store::VpnChange;

/// Routes of this file but the limited one.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(openvpn_config))
        .routes(routes!(nested_openvpn_config))
        .routes(routes!(vpn))
        .routes(routes!(revoke))
}

/// What ends sessions: it is limited like a start.
pub(crate) fn rotate_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(rotate))
}

/// How a profile stands.
#[derive(Debug, Serialize, ToSchema)]
struct ProfileState {
    instance_id: String,
    /// Which of the profiles that the team ever had, from 1.
    serial: u32,
    revoked: bool,
    /// Whether the gateway knows; it is told within seconds.
    applied: bool,
    /// When it was rotated or revoked last, RFC 3339.
    changed_at: String,
}

impl ProfileState {
    fn of(access: &VpnAccess) -> Self {
        Self {
            instance_id: access.instance.to_string(),
            serial: access.serial,
            revoked: access.is_revoked,
            applied: access.is_applied,
            changed_at: access.changed_at.rfc3339(),
        }
    }
}

/// The VPN of an instance.
#[derive(Debug, Serialize, ToSchema)]
struct VpnView {
    profile: ProfileState,
    /// Who is connected; null when the gateway cannot be asked.
    sessions: Option<Vec<SessionView>>,
}

/// One connection.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    /// The certificate: holder and serial.
    certificate: String,
    /// Address and port that it comes from.
    from: String,
    /// Its address in the tunnel.
    address: Option<String>,
    bytes_received: u64,
    bytes_sent: u64,
    /// RFC 3339.
    since: String,
}

impl SessionView {
    fn of(session: VpnSession) -> Self {
        Self {
            certificate: session.holder,
            from: session.from,
            address: session.address.map(|it| it.to_string()),
            bytes_received: session.n_received,
            bytes_sent: session.n_sent,
            since: session.since.rfc3339(),
        }
    }
}

/// Why something is taken back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// For the audit.
    #[serde(default)]
    #[schema(max_length = 300)]
    why: String,
}

impl ChangeBody {
    fn why(self) -> String {
        self.why.chars().filter(|c| !c.is_control()).take(300).collect()
    }
}

/// The OpenVPN profile of an engagement. 404 until the instance is ready.
#[utoipa::path(get, path = "/instances/{instance_id}/openvpn-config", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, content_type = "application/x-openvpn-profile"),
        (status = 404, body = Envelope), (status = 403, body = Envelope)))]
async fn openvpn_config(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
) -> Answer<Response> {
    let (id, profile) = platform.vpn_profile(&caller, &id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-openvpn-profile".to_owned()),
        (header::CONTENT_DISPOSITION, disposition(&format!("{id}.ovpn"))),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, profile).into_response())
}

/// As `GET /instances/{instance_id}/openvpn-config`.
#[utoipa::path(get, path = "/competitions/{competition_id}/instances/{instance_id}/openvpn-config",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path)),
    responses((status = 200, content_type = "application/x-openvpn-profile"),
        (status = 404, body = Envelope)))]
async fn nested_openvpn_config(
    platform: State<Platform>,
    caller: Signed,
    Path(ids): Path<(String, String)>,
) -> Answer<Response> {
    let id = nested(&platform, &caller.0, ids).await?;
    openvpn_config(platform, caller, id).await
}

/// Makes the team's profile worthless; the next download is another one, which is valid. Sessions with
/// the old one end within seconds. Where an organizer revoked it, only an organizer gives another.
#[utoipa::path(post, path = "/instances/{instance_id}/openvpn-config/rotate", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = ChangeBody,
    responses((status = 200, body = ProfileState), (status = 404, body = Envelope),
        (status = 403, body = Envelope), (status = 409, body = Envelope),
        (status = 429, body = Envelope)))]
async fn rotate(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Path(id): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Answer<Json<ProfileState>> {
    let change = match caller.role {
        Role::Admin => VpnChange::Restore,
        Role::Player => VpnChange::Rotate,
    };
    let access = platform.change_vpn(&caller, &id, change, body.why()).await?;
    Ok(Json(ProfileState::of(&access)))
}

/// The VPN of an instance: its profile, and who is connected since when.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/vpn", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = VpnView), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn vpn(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<VpnView>> {
    let VpnStatus { access, sessions, .. } = platform.vpn_status(&caller, &id).await?;
    let sessions = sessions.map(|it| it.into_iter().map(SessionView::of).collect());
    Ok(Json(VpnView { profile: ProfileState::of(&access), sessions }))
}

/// Takes the team's profile back: nobody connects with it, and who is connected is thrown out within
/// seconds. Another one is an organizer's to give, by a rotation.
#[utoipa::path(post, path = "/admin/instances/{instance_id}/vpn/revoke", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = ChangeBody,
    responses((status = 200, body = ProfileState), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope)))]
async fn revoke(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(body): Body<ChangeBody>,
) -> Answer<Json<ProfileState>> {
    let access = platform.change_vpn(&caller, &id, VpnChange::Revoke, body.why()).await?;
    Ok(Json(ProfileState::of(&access)))
}
