//! OpenVPN profiles of engagements: download, another one, and what organizers see and take back.
//!
//! # Invariants
//! * A profile holds a private key: it goes to its holder and to administrators, is marked as not to be
//!   stored, and is written nowhere.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Admin, InstancesWrite, Signed};
use super::download::disposition;
use super::error::{Answer, Envelope};
use super::extract::{Body, FromParams, Params, Path, Query};
use super::instances::nested;
use crate::daemon::platform::{Platform, VpnHolder, VpnSession, VpnStatus, VpnTarget};
use crate::model::{Caller, InstanceId, Role, Timestamp, VpnProtocol};
use crate::render::vpn;
use crate::store::VpnChange;

/// Routes of this file but the limited one.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new()
        .routes(routes!(openvpn_config))
        .routes(routes!(nested_openvpn_config))
        .routes(routes!(team_openvpn_config))
        .routes(routes!(vpn))
        .routes(routes!(revoke))
}

/// What ends sessions: it is limited like a start.
pub(crate) fn rotate_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(rotate)).routes(routes!(team_rotate))
}

/// Somebody who may have a profile, and how it stands.
#[derive(Debug, Serialize, ToSchema)]
struct HolderView {
    /// Id of the member, or of a team without members.
    holder_id: String,
    name: String,
    /// `member`, or `team`.
    kind: &'static str,
    /// Which of the profiles that they ever had, from 1.
    serial: u32,
    /// As `certificate` of a session has it.
    certificate: String,
    revoked: bool,
    /// Whether the gateway knows; it is told within seconds.
    applied: bool,
    /// When it was rotated or revoked last, RFC 3339; null for never.
    changed_at: Option<String>,
    /// Addresses that it is connected from at the moment.
    connected_from: Vec<String>,
    /// Whether the profile of one member is used from more than one address at once.
    shared: bool,
}

impl HolderView {
    fn of(holder: &VpnHolder) -> Self {
        let standing = &holder.standing;
        Self {
            holder_id: standing.holder.id.to_string(),
            name: standing.name.clone(),
            kind: standing.kind.as_str(),
            serial: standing.holder.serial,
            certificate: standing.holder.to_string(),
            revoked: standing.is_revoked,
            applied: holder.is_applied,
            changed_at: standing.access.map(|it| it.changed_at.rfc3339()),
            connected_from: holder.from.iter().map(ToString::to_string).collect(),
            shared: holder.is_shared(),
        }
    }
}

/// Profiles that were changed.
#[derive(Debug, Serialize, ToSchema)]
struct Changed {
    instance_id: String,
    holders: Vec<HolderView>,
}

impl Changed {
    fn of((id, holders): (InstanceId, Vec<VpnHolder>)) -> Json<Self> {
        let holders = holders.iter().map(HolderView::of).collect();
        Json(Self { instance_id: id.to_string(), holders })
    }
}

/// The VPN of an instance.
#[derive(Debug, Serialize, ToSchema)]
struct VpnView {
    instance_id: String,
    /// Who may have a profile: the members, else the team.
    holders: Vec<HolderView>,
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
    /// RFC 3339; null with WireGuard, which knows no connections.
    since: Option<String>,
    /// When both sides agreed on a key last, RFC 3339; null with OpenVPN, which does not tell.
    last_handshake: Option<String>,
}

impl SessionView {
    fn of(session: VpnSession) -> Self {
        Self {
            certificate: session.holder,
            from: session.from,
            address: session.address.map(|it| it.to_string()),
            bytes_received: session.n_received,
            bytes_sent: session.n_sent,
            since: session.since.map(Timestamp::rfc3339),
            last_handshake: session.last_handshake.map(Timestamp::rfc3339),
        }
    }
}

/// Why something is taken back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProfileChangeBody {
    /// For the audit.
    #[serde(default)]
    #[schema(max_length = 300)]
    why: String,
    /// Id or name of one holder, for organizers; without it a player's own profile, an organizer's
    /// whole instance.
    #[serde(default)]
    #[schema(max_length = 80)]
    holder: Option<String>,
}

impl ProfileChangeBody {
    fn parts(self) -> (VpnTarget, String) {
        let why = self.why.chars().filter(|c| !c.is_control()).take(300).collect();
        (target(self.holder), why)
    }
}

/// Whose profile is meant.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wished {
    /// Id or name of a holder, for organizers.
    holder: Option<String>,
}

impl FromParams for Wished {
    fn read(params: &mut Params) -> Self {
        let holder = params.text("holder");
        Self { holder: (!holder.is_empty()).then_some(holder) }
    }
}

fn target(holder: Option<String>) -> VpnTarget {
    holder.map_or(VpnTarget::Own, VpnTarget::Named)
}

/// The caller's VPN profile of an engagement: that of a member, or of a team without members. 404 until the
/// instance is ready and its gateway knows them. For OpenVPN, or for WireGuard where the organizers chose
/// that: the content type says which.
#[utoipa::path(get, path = "/instances/{instance_id}/openvpn-config", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path), Wished),
    responses((status = 200, content((String = "application/x-openvpn-profile"),
            (String = "application/x-wireguard-profile"))),
        (status = 404, body = Envelope), (status = 403, body = Envelope),
        (status = 409, body = Envelope)))]
async fn openvpn_config(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(id): Path<String>,
    Query(wished): Query<Wished>,
) -> Answer<Response> {
    Ok(file(platform.vpn_profile(&caller, &id, target(wished.holder)).await?))
}

fn file((id, profile): (InstanceId, String)) -> Response {
    let protocol = vpn::protocol_of(&profile);
    let kind = match protocol {
        VpnProtocol::OpenVpn => "application/x-openvpn-profile",
        VpnProtocol::WireGuard => "application/x-wireguard-profile",
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition(&vpn::profile_name(id, protocol))),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, profile).into_response()
}

/// The caller's OpenVPN profile for all engagements of their team on this machine, as they come and go.
/// 404 until there is one that is ready, and where `vpn.mode` is `instance`.
#[utoipa::path(get, path = "/teams/{team_id}/openvpn-config", tag = "teams",
    security(("bearer" = [])), params(("team_id" = String, Path), Wished),
    responses((status = 200, content((String = "application/x-openvpn-profile"),
            (String = "application/x-wireguard-profile"))),
        (status = 404, body = Envelope), (status = 403, body = Envelope),
        (status = 409, body = Envelope)))]
async fn team_openvpn_config(
    State(platform): State<Platform>,
    Signed(caller, _): Signed,
    Path(team): Path<String>,
    Query(wished): Query<Wished>,
) -> Answer<Response> {
    Ok(file(platform.team_vpn_profile(&caller, &team, target(wished.holder)).await?))
}

/// As `POST /instances/{instance_id}/openvpn-config/rotate`, of the profile for all engagements.
#[utoipa::path(post, path = "/teams/{team_id}/openvpn-config/rotate", tag = "teams",
    security(("bearer" = [])), params(("team_id" = String, Path)),
    request_body = ProfileChangeBody,
    responses((status = 200, body = Changed), (status = 404, body = Envelope),
        (status = 403, body = Envelope), (status = 409, body = Envelope),
        (status = 429, body = Envelope)))]
async fn team_rotate(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Path(team): Path<String>,
    Body(body): Body<ProfileChangeBody>,
) -> Answer<Json<Changed>> {
    let change = change_by(&caller);
    let (target, why) = body.parts();
    Ok(Changed::of(platform.change_team_vpn(&caller, &team, target, change, why).await?))
}

/// What a rotation by `caller` is.
fn change_by(caller: &Caller) -> VpnChange {
    match caller.role {
        Role::Admin => VpnChange::Restore,
        Role::Player => VpnChange::Rotate,
    }
}

/// As `GET /instances/{instance_id}/openvpn-config`.
#[utoipa::path(get, path = "/competitions/{competition_id}/instances/{instance_id}/openvpn-config",
    tag = "instances", security(("bearer" = [])),
    params(("competition_id" = String, Path), ("instance_id" = String, Path), Wished),
    responses((status = 200, content((String = "application/x-openvpn-profile"),
            (String = "application/x-wireguard-profile"))),
        (status = 404, body = Envelope)))]
async fn nested_openvpn_config(
    platform: State<Platform>,
    caller: Signed,
    Path(ids): Path<(String, String)>,
    wished: Query<Wished>,
) -> Answer<Response> {
    let id = nested(&platform, &caller.0, ids).await?;
    openvpn_config(platform, caller, id, wished).await
}

/// Makes the caller's profile worthless; the next download is another one, which is valid. Sessions with
/// the old one end within seconds. Where an organizer revoked it, only an organizer gives another. An
/// organizer does so for all holders of the instance, or for one.
#[utoipa::path(post, path = "/instances/{instance_id}/openvpn-config/rotate", tag = "instances",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = ProfileChangeBody,
    responses((status = 200, body = Changed), (status = 404, body = Envelope),
        (status = 403, body = Envelope), (status = 409, body = Envelope),
        (status = 429, body = Envelope)))]
async fn rotate(
    State(platform): State<Platform>,
    Signed(caller, _): Signed<InstancesWrite>,
    Path(id): Path<String>,
    Body(body): Body<ProfileChangeBody>,
) -> Answer<Json<Changed>> {
    let change = change_by(&caller);
    let (target, why) = body.parts();
    Ok(Changed::of(platform.change_vpn(&caller, &id, target, change, why).await?))
}

/// The VPN of an instance: who may have a profile, and who is connected since when, from where.
#[utoipa::path(get, path = "/admin/instances/{instance_id}/vpn", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    responses((status = 200, body = VpnView), (status = 403, body = Envelope),
        (status = 404, body = Envelope)))]
async fn vpn(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> Answer<Json<VpnView>> {
    let VpnStatus { instance, holders, sessions } = platform.vpn_status(&caller, &id).await?;
    let sessions = sessions.map(|it| it.into_iter().map(SessionView::of).collect());
    let holders = holders.iter().map(HolderView::of).collect();
    Ok(Json(VpnView { instance_id: instance.to_string(), holders, sessions }))
}

/// Takes all profiles of an instance back, or that of one holder: nobody connects with them, and who is
/// connected is thrown out within seconds. Another one is an organizer's to give, by a rotation.
#[utoipa::path(post, path = "/admin/instances/{instance_id}/vpn/revoke", tag = "admin",
    security(("bearer" = [])), params(("instance_id" = String, Path)),
    request_body = ProfileChangeBody,
    responses((status = 200, body = Changed), (status = 403, body = Envelope),
        (status = 404, body = Envelope), (status = 409, body = Envelope)))]
async fn revoke(
    State(platform): State<Platform>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    Body(body): Body<ProfileChangeBody>,
) -> Answer<Json<Changed>> {
    let (target, why) = body.parts();
    Ok(Changed::of(platform.change_vpn(&caller, &id, target, VpnChange::Revoke, why).await?))
}
