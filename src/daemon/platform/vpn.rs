//! The VPN of an engagement, for those who ask the platform: who may connect, who is connected, and
//! taking a profile back. Profiles themselves are in `vpn_profiles`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use uuid::Uuid;

use super::{Denial, Outcome, Platform, PlatformError};
use crate::daemon::{executor::Fault, specs, vpn};
use crate::model::{
    Caller, Endpoint, Instance, InstanceId, InstancePhase, InstanceStatus, Role, Timestamp, UserId,
};
use crate::planner::vpn::{self as rules, HolderKind, Standing};
use crate::store::{InstanceFilter, VpnChange, Which};

/// How the VPN of an instance stands.
#[derive(Debug, Clone, PartialEq)]
pub struct VpnStatus {
    /// The instance.
    pub instance: InstanceId,
    /// Who may have a profile, those who joined first before the others.
    pub holders: Vec<VpnHolder>,
    /// Who is connected; `None` when the gateway cannot be asked.
    pub sessions: Option<Vec<VpnSession>>,
}

/// Somebody who may have a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct VpnHolder {
    /// How they stand.
    pub standing: Standing,
    /// Whether the gateway knows.
    pub is_applied: bool,
    /// Where their connections come from.
    pub from: BTreeSet<IpAddr>,
}

impl VpnHolder {
    /// Whether the profile of one person is used at more than one place at once. That of a team is
    /// for all of its members.
    pub fn is_shared(&self) -> bool {
        self.standing.kind == HolderKind::Member && self.from.len() > 1
    }
}

/// Whose profile is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VpnTarget {
    /// The caller's own; for an administrator everybody's.
    Own,
    /// That of the holder with this id or name, which only an administrator says.
    Named(String),
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpnSession {
    /// Whose profile it came with.
    pub holder: String,
    /// Where it comes from: address and port.
    pub from: String,
    /// The address that it has in the tunnel.
    pub address: Option<IpAddr>,
    /// Bytes from the player.
    pub n_received: u64,
    /// Bytes to the player.
    pub n_sent: u64,
    /// Since when; `None` with WireGuard, which knows no connections.
    pub since: Option<Timestamp>,
    /// When both sides agreed on a key last; `None` with OpenVPN, which does not tell.
    pub last_handshake: Option<Timestamp>,
}

impl VpnSession {
    /// The address that it comes from.
    fn address_from(&self) -> Option<IpAddr> {
        let (address, _) = self.from.rsplit_once(':')?;
        // Newer versions write the protocol first.
        let bare = address.rsplit_once(':').map_or(address, |(_, last)| last);
        address.trim_matches(['[', ']']).parse().or_else(|_| bare.parse()).ok()
    }
}

/// Most connections of one instance that are told: a tunnel has fewer addresses.
const MAX_SESSIONS: usize = 1000;

impl Platform {
    /// Takes profiles of an instance back; unless it is revoked the next download of each is another
    /// one that is valid. Sessions with the old ones end within seconds. How their holders stand then.
    ///
    /// # Errors
    /// When the instance is not there or not the caller's, has no VPN, or ends; when there is no such
    /// holder; when a player asks for another profile after an organizer revoked theirs.
    pub async fn change_vpn(
        &self,
        caller: &Caller,
        id: &str,
        target: VpnTarget,
        change: VpnChange,
        why: String,
    ) -> Outcome<(InstanceId, Vec<VpnHolder>)> {
        let instance = self.instance(caller, id).await?;
        self.change_profiles(caller, &instance, target, change, why).await
    }

    /// As [`Self::change_vpn`], of the hub that leads to all engagements of a team.
    ///
    /// # Errors
    /// As [`Self::change_vpn`]; and where teams have no hubs.
    pub async fn change_team_vpn(
        &self,
        caller: &Caller,
        team: &str,
        target: VpnTarget,
        change: VpnChange,
        why: String,
    ) -> Outcome<(InstanceId, Vec<VpnHolder>)> {
        let hub = self.hub(caller, team).await?;
        self.change_profiles(caller, &hub, target, change, why).await
    }

    async fn change_profiles(
        &self,
        caller: &Caller,
        instance: &Instance,
        target: VpnTarget,
        change: VpnChange,
        why: String,
    ) -> Outcome<(InstanceId, Vec<VpnHolder>)> {
        self.check_vpn(instance).await?;
        let (status, now) = (instance.status(), self.shared.now());
        if !matches!(status, InstanceStatus::Starting | InstanceStatus::Ready) {
            return Err(PlatformError::NotRunning { id: instance.id, status: status.as_str() });
        }
        let standings = vpn::standings(&self.shared, instance).await?;
        let store = &self.shared.store;
        let mut names = Vec::new();
        for standing in meant(caller, &standings, &target)? {
            let holder = standing.holder.id;
            let access = store.change_vpn_access(instance.id, holder, change, now).await?;
            access.ok_or(PlatformError::VpnRevoked { id: instance.id })?;
            names.push(holder);
        }
        self.shared.vpn_due.notify_one();
        let what = match change {
            VpnChange::Rotate | VpnChange::Restore => "rotate_vpn",
            VpnChange::Revoke => "revoke_vpn",
        };
        let object = match (&target, names.as_slice()) {
            (VpnTarget::Own, _) | (_, []) => format!("instance {}", instance.id),
            (VpnTarget::Named(_), [holder, ..]) => format!("instance {} of {holder}", instance.id),
        };
        store.note_deed(caller.name(), what, object, why, now).await?;
        let mut holders = self.vpn_holders(instance, &[]).await?;
        holders.retain(|it| names.contains(&it.standing.holder.id));
        Ok((instance.id, holders))
    }

    /// How the VPN of an instance stands, and who is connected.
    ///
    /// # Errors
    /// When the instance is not there, or has no VPN.
    pub async fn vpn_status(&self, caller: &Caller, id: &str) -> Outcome<VpnStatus> {
        let instance = self.instance(caller, id).await?;
        self.check_vpn(&instance).await?;
        self.connected(&instance).await
    }

    /// Asks a gateway who is connected, and notes whose profile is in use at several places.
    async fn connected(&self, instance: &Instance) -> Outcome<VpnStatus> {
        let told = match self.link_of(instance) {
            Some(link) => link.vpn_sessions(instance.id).await.ok().map(|it| it.text),
            None => vpn::ask(&self.shared, instance, vec!["status".to_owned()]).await.ok(),
        };
        let sessions = told
            .map(|text| text.lines().filter_map(session).take(MAX_SESSIONS).collect::<Vec<_>>());
        let holders = self.vpn_holders(instance, sessions.as_deref().unwrap_or_default()).await?;
        for holder in holders.iter().filter(|it| it.is_shared()) {
            let member = UserId::new(holder.standing.holder.id);
            let from = holder.from.iter().map(ToString::to_string).collect();
            let now = self.now();
            self.shared.store.note_shared_profile(instance.id, member, from, now).await?;
        }
        Ok(VpnStatus { instance: instance.id, holders, sessions })
    }

    /// Asks every gateway that lets in members by themselves who is connected.
    ///
    /// # Errors
    /// When the store fails; a gateway that does not answer is asked again the next time.
    pub(crate) async fn look_at_gateways(&self) -> Outcome<()> {
        let filter = InstanceFilter { which: Which::Live, ..InstanceFilter::default() };
        let rows = self.shared.store.instances(filter).await?;
        for row in rows.into_iter().filter(|row| row.phase == InstancePhase::Ready) {
            if self.check_vpn(&row).await.is_err() {
                continue;
            }
            let standings = vpn::standings(&self.shared, &row).await?;
            if standings.iter().any(|it| it.kind == HolderKind::Member) {
                self.connected(&row).await?;
            }
        }
        Ok(())
    }

    async fn vpn_holders(
        &self,
        instance: &Instance,
        sessions: &[VpnSession],
    ) -> Outcome<Vec<VpnHolder>> {
        let told = self.shared.store.vpn_told_of(instance.id).await?;
        let known = sessions.iter().filter_map(|it| Some((it.holder.as_str(), it.address_from()?)));
        let origins = rules::origins(known);
        let of = |standing: Standing| VpnHolder {
            is_applied: rules::is_applied(&standing, told.as_ref()),
            from: origins.get(standing.holder.to_string().as_str()).cloned().unwrap_or_default(),
            standing,
        };
        Ok(vpn::standings(&self.shared, instance).await?.into_iter().map(of).collect())
    }

    pub(super) async fn check_vpn(&self, instance: &Instance) -> Outcome<()> {
        let stored = specs::of(&self.shared, instance).await?;
        let has_gateway = stored.is_some_and(|stored| stored.spec.gateway().is_some());
        has_gateway.then_some(()).ok_or(PlatformError::NoVpnProfile { id: instance.id })
    }

    /// Where this machine reaches the services that players of `instance` reach through its gateway,
    /// in file order; empty when it has none.
    ///
    /// # Errors
    /// When the store or the engine fails.
    pub async fn behind_gateway(&self, instance: &Instance) -> Outcome<Vec<Endpoint>> {
        let Some(stored) = specs::of(&self.shared, instance).await? else {
            return Ok(Vec::new());
        };
        let Some(gateway) = stored.spec.gateway() else { return Ok(Vec::new()) };
        let hosts = vpn::hosts(&self.shared, instance, gateway).await;
        let hosts = hosts.map_err(|fault| while_repaired(fault, instance))?;
        let mut endpoints = Vec::new();
        for service in &stored.spec.services {
            let address = hosts.iter().find(|(name, _)| *name == service.name.as_str());
            let Some((_, address)) = address else { continue };
            endpoints.extend(service.ports.iter().map(|port| Endpoint {
                service: service.name.clone(),
                kind: port.kind,
                host: address.to_string(),
                port: port.target,
                target: port.target,
                transport: port.transport,
                door: None,
            }));
        }
        Ok(endpoints)
    }
}

/// Whose profiles `caller` means, never nobody's.
pub(super) fn meant<'s>(
    caller: &Caller,
    standings: &'s [Standing],
    target: &VpnTarget,
) -> Outcome<Vec<&'s Standing>> {
    let by_id = |id: Uuid| standings.iter().find(|it| it.holder.id == id);
    match (caller.role, target) {
        (Role::Admin, VpnTarget::Own) => Ok(standings.iter().collect()),
        (Role::Admin, VpnTarget::Named(name)) => {
            let is_named = |it: &&Standing| it.holder.id.to_string() == *name || it.name == *name;
            let named: Vec<_> = standings.iter().filter(is_named).collect();
            match named.as_slice() {
                [only] => Ok(vec![only]),
                [] => Err(Denial::not_found(
                    "openvpn_holder_not_found",
                    "nobody of this id or name may have a profile of this instance",
                )
                .into()),
                _ => Err(nobody_named().into()),
            }
        }
        (Role::Player, VpnTarget::Named(_)) => Err(Denial::forbidden(
            "openvpn_holder_is_for_organizers",
            "only organizers name whose profile is meant: leave out `holder`",
        )
        .into()),
        (Role::Player, VpnTarget::Own) => {
            let account = caller.account.as_ref().and_then(|it| by_id(it.id.as_uuid()));
            let team = standings.iter().find(|it| it.kind == HolderKind::Team);
            account.or(team).map(|own| vec![own]).ok_or_else(|| {
                let message = "each member of this team has a profile of their own: use a token of your account";
                Denial::forbidden("openvpn_config_is_personal", message).into()
            })
        }
    }
}

pub(super) fn nobody_named() -> Denial {
    let message = "more than one may have a profile of this instance: name one by `holder`, see `flagops vpn status`";
    Denial::conflict("openvpn_holder_required", message)
}

pub(super) fn while_repaired(fault: Fault, instance: &Instance) -> PlatformError {
    match fault {
        Fault::Again => PlatformError::NoVpnProfile { id: instance.id },
        other => PlatformError::Internal(Box::new(other)),
    }
}

/// Reads a line of what a gateway says to `status`, see `images/openvpn/gateway`.
fn session(line: &str) -> Option<VpnSession> {
    let columns: Vec<&str> = line.trim_end().split('\t').collect();
    let at =
        |secs: &str| Some(Timestamp::from_millis(secs.parse::<i64>().ok()?.checked_mul(1000)?));
    match columns[..] {
        // OpenVPN's `status 3`: name, real address, address in the tunnel, its IPv6 one, bytes received
        // and sent, since when as text and in seconds since 1970, and more.
        ["CLIENT_LIST", holder, from, address, _, n_received, n_sent, _, since, ..] => {
            Some(VpnSession {
                holder: holder.to_owned(),
                from: from.to_owned(),
                address: address.parse().ok(),
                n_received: n_received.parse().ok()?,
                n_sent: n_sent.parse().ok()?,
                since: Some(at(since)?),
                last_handshake: None,
            })
        }
        // WireGuard's `dump`: what is allowed is one address.
        ["PEER", holder, from, allowed, handshake, n_received, n_sent] => Some(VpnSession {
            holder: holder.to_owned(),
            from: from.to_owned(),
            address: allowed.strip_suffix("/32").and_then(|it| it.parse().ok()),
            n_received: n_received.parse().ok()?,
            n_sent: n_sent.parse().ok()?,
            since: None,
            last_handshake: Some(at(handshake)?),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_and_noise_is_not() {
        let line = "CLIENT_LIST\t0b8f.1\t198.51.100.7:1194\t10.82.0.2\t\t3000\t4000\t2026-11-29 09:00:00\t1795942800\tUNDEF\t0\t0\tAES-256-GCM";
        let seen = session(line).unwrap();
        assert_eq!((seen.holder.as_str(), seen.from.as_str()), ("0b8f.1", "198.51.100.7:1194"));
        assert_eq!((seen.n_received, seen.n_sent), (3000, 4000));
        assert_eq!(seen.since, Some(Timestamp::from_millis(1_795_942_800_000)));
        for (from, address) in [
            ("198.51.100.7:1194", Some("198.51.100.7")),
            ("udp4:198.51.100.7:1194", Some("198.51.100.7")),
            ("[2001:db8::7]:1194", Some("2001:db8::7")),
            ("nowhere", None),
        ] {
            let moved = VpnSession { from: from.to_owned(), ..seen.clone() };
            let read = moved.address_from().map(|it| it.to_string());
            assert_eq!(read.as_deref(), address, "{from}");
        }
        let line = "PEER\t0b8f.1\t198.51.100.7:1194\t10.82.0.2/32\t1795942800\t3000\t4000";
        let peer = session(line).unwrap();
        let handshake = VpnSession { since: None, last_handshake: seen.since, ..seen.clone() };
        assert_eq!(peer, handshake);
        for odd in [
            "PEER\ta\tb\tc/32\tx\t1\t1",
            "",
            "END",
            "CLIENT_LIST",
            "CLIENT_LIST\ta\tb\tc\td\tx\ty\tz\tw",
            "HEADER\tCLIENT_LIST",
        ] {
            assert_eq!(session(odd), None, "{odd:?}");
        }
    }
}
