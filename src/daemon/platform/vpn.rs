//! The VPN of an engagement, for those who ask the platform: profiles, who is connected, and taking
//! a profile back.

use std::net::IpAddr;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::{executor::Fault, vpn};
use crate::model::{Caller, Endpoint, Instance, InstanceId, InstanceStatus, Timestamp, VpnAccess};
use crate::node::NodeError;
use crate::render::attachments::Named;
use crate::render::vpn::{Holder, Profile};
use crate::store::VpnChange;

/// How the VPN of an instance stands.
#[derive(Debug, Clone, PartialEq)]
pub struct VpnStatus {
    /// The instance.
    pub instance: InstanceId,
    /// Its only holder: the team.
    pub access: VpnAccess,
    /// Who is connected; `None` when the gateway cannot be asked.
    pub sessions: Option<Vec<VpnSession>>,
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
    /// Since when.
    pub since: Timestamp,
}

impl Platform {
    /// The OpenVPN profile of the caller's team. It holds a private key.
    ///
    /// # Errors
    /// When the instance is not there or not the caller's, has no VPN, is not ready, its gateway was
    /// not told of the last rotation yet, or the profile was revoked.
    pub async fn vpn_profile(&self, caller: &Caller, id: &str) -> Outcome<(InstanceId, String)> {
        let instance = self.instance(caller, id).await?;
        let unavailable = || PlatformError::NoVpnProfile { id: instance.id };
        if instance.status() != InstanceStatus::Ready {
            return Err(unavailable());
        }
        if let Some(link) = self.link_of(&instance) {
            let profile = link.openvpn_config(instance.id).await.map_err(|error| match error {
                NodeError::NotFound(_) => unavailable(),
                other => super::attachments::unavailable(&other),
            })?;
            return Ok((instance.id, String::from_utf8_lossy(&profile).into_owned()));
        }
        let stored = crate::daemon::specs::of(&self.shared, &instance).await?;
        let stored = stored.ok_or_else(unavailable)?;
        let gateway = stored.spec.gateway().ok_or_else(unavailable)?;
        let endpoint = instance.surface.iter().find(|it| it.service == gateway.name);
        let endpoint = endpoint.ok_or_else(unavailable)?;
        let access = vpn::access(&self.shared, &instance).await?;
        if access.is_revoked {
            return Err(PlatformError::VpnRevoked { id: instance.id });
        }
        if !access.is_applied {
            // Its gateway does not know it yet, and a client that is refused once gives up.
            return Err(unavailable());
        }
        // Its networks are there while it is ready; a gateway in repair has none for a moment.
        let facts = vpn::facts(&self.shared, &instance, &stored.spec).await;
        let facts = facts.map_err(|fault| while_repaired(fault, &instance))?;
        let hosts = vpn::hosts(&self.shared, &instance, gateway).await.unwrap_or_default();
        let challenge = self.challenge_of(&instance).await.ok();
        let profile = Profile {
            holder: Holder { id: access.holder, serial: access.serial },
            holder_name: self.team_name(&instance).await?,
            challenge: Named {
                id: instance.challenge.to_string(),
                name: challenge.map(|it| it.metadata.name.clone()).unwrap_or_default(),
            },
            revision: instance.revision,
            host: endpoint.host.clone(),
            port: endpoint.port,
            hosts,
        };
        let key = self.shared.data.answer_key();
        let own = vpn::own_templates(&self.shared, &instance).await;
        let made = crate::render::vpn::profile(key, &facts, &profile, &own)
            .map_err(|error| PlatformError::Internal(Box::new(error)))?;
        vpn::tell_refused(&instance, made.refused);
        Ok((instance.id, made.made))
    }

    /// Takes the profile of the instance's team back; unless it is revoked the next download is another
    /// one that is valid. Sessions with the old one end within seconds.
    ///
    /// # Errors
    /// When the instance is not there or not the caller's, has no VPN, or ends; when a player asks for
    /// another profile after an organizer revoked theirs.
    pub async fn change_vpn(
        &self,
        caller: &Caller,
        id: &str,
        change: VpnChange,
        why: String,
    ) -> Outcome<VpnAccess> {
        let instance = self.instance(caller, id).await?;
        let stored = crate::daemon::specs::of(&self.shared, &instance).await?;
        if stored.is_none_or(|stored| stored.spec.gateway().is_none()) {
            return Err(PlatformError::NoVpnProfile { id: instance.id });
        }
        let (status, now) = (instance.status(), self.shared.now());
        if !matches!(status, InstanceStatus::Starting | InstanceStatus::Ready) {
            return Err(PlatformError::NotRunning { id: instance.id, status: status.as_str() });
        }
        let holder = instance.team.as_uuid();
        let access = self.shared.store.change_vpn_access(instance.id, holder, change, now).await?;
        let access = access.ok_or(PlatformError::VpnRevoked { id: instance.id })?;
        self.shared.vpn_due.notify_one();
        let what = match change {
            VpnChange::Rotate | VpnChange::Restore => "rotate_vpn",
            VpnChange::Revoke => "revoke_vpn",
        };
        let who = caller.name();
        let object = format!("instance {}", instance.id);
        self.shared.store.note_deed(who, what, object, why, now).await?;
        Ok(access)
    }

    /// How the VPN of an instance stands, and who is connected.
    ///
    /// # Errors
    /// When the instance is not there, or has no VPN.
    pub async fn vpn_status(&self, caller: &Caller, id: &str) -> Outcome<VpnStatus> {
        let instance = self.instance(caller, id).await?;
        let stored = crate::daemon::specs::of(&self.shared, &instance).await?;
        if stored.is_none_or(|stored| stored.spec.gateway().is_none()) {
            return Err(PlatformError::NoVpnProfile { id: instance.id });
        }
        let access = vpn::access(&self.shared, &instance).await?;
        let told = vpn::ask(&self.shared, &instance, vec!["status".to_owned()]).await.ok();
        let sessions = told.map(|text| text.lines().filter_map(session).collect());
        Ok(VpnStatus { instance: instance.id, access, sessions })
    }

    /// Where this machine reaches the services that players of `instance` reach through its gateway,
    /// in file order; empty when it has none.
    ///
    /// # Errors
    /// When the store or the engine fails.
    pub async fn behind_gateway(&self, instance: &Instance) -> Outcome<Vec<Endpoint>> {
        let Some(stored) = crate::daemon::specs::of(&self.shared, instance).await? else {
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

    async fn team_name(&self, instance: &Instance) -> Outcome<String> {
        let given = || self.shared.worker.given(instance.id).map(|given| given.team);
        let team = self.shared.store.team(instance.team).await?;
        Ok(team.map(|team| team.name).or_else(given).unwrap_or_default())
    }
}

fn while_repaired(fault: Fault, instance: &Instance) -> PlatformError {
    match fault {
        Fault::Again => PlatformError::NoVpnProfile { id: instance.id },
        other => PlatformError::Internal(Box::new(other)),
    }
}

/// Reads a line of OpenVPN's `status 3`: `CLIENT_LIST`, name, real address, address in the tunnel,
/// its IPv6 one, bytes received and sent, since when as text and in seconds since 1970, and more.
fn session(line: &str) -> Option<VpnSession> {
    let columns: Vec<&str> = line.trim_end().split('\t').collect();
    let ["CLIENT_LIST", holder, from, address, _, n_received, n_sent, _, since, ..] = columns[..]
    else {
        return None;
    };
    Some(VpnSession {
        holder: holder.to_owned(),
        from: from.to_owned(),
        address: address.parse().ok(),
        n_received: n_received.parse().ok()?,
        n_sent: n_sent.parse().ok()?,
        since: Timestamp::from_millis(since.parse::<i64>().ok()?.checked_mul(1000)?),
    })
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
        assert_eq!(seen.since, Timestamp::from_millis(1_795_942_800_000));
        for odd in
            ["", "END", "CLIENT_LIST", "CLIENT_LIST\ta\tb\tc\td\tx\ty\tz\tw", "HEADER\tCLIENT_LIST"]
        {
            assert_eq!(session(odd), None, "{odd:?}");
        }
    }
}
