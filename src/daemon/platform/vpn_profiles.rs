//! OpenVPN profiles, for those who ask the platform: of one engagement, and of all of a team.
//!
//! # Invariants
//! * A profile holds a private key: it is made for its holder and for administrators, and kept nowhere.
//! * None is given that a gateway does not let in yet: a client that is refused once gives up.

use std::fmt::Write as _;

use uuid::Uuid;

use super::rosters::unknown_team;
use super::vpn::{VpnTarget, meant, nobody_named, while_repaired};
use super::{Denial, Outcome, Platform, PlatformError};
use crate::config::VpnMode;
use crate::daemon::{hubs, specs, vpn};
use crate::model::{Caller, Instance, InstanceId, InstanceStatus, Role, TeamId};
use crate::node::NodeError;
use crate::planner::vpn::{self as rules, HolderKind};
use crate::render::attachments::Named;
use crate::render::vpn::Profile;

impl Platform {
    /// The caller's OpenVPN profile: that of a member, or of a team without members; an administrator
    /// names whose. It holds a private key, and says where it comes from.
    ///
    /// # Errors
    /// When the instance is not there or not the caller's, has no VPN, is not ready, its gateway was
    /// not told of its holder yet, or the profile was revoked.
    pub async fn vpn_profile(
        &self,
        caller: &Caller,
        id: &str,
        target: VpnTarget,
    ) -> Outcome<(InstanceId, String)> {
        let instance = self.instance(caller, id).await?;
        self.profile_of(caller, &instance, target).await
    }

    /// As [`Self::vpn_profile`], of the hub that leads to all engagements of a team.
    ///
    /// # Errors
    /// As [`Self::vpn_profile`]; and where teams have no hubs.
    pub async fn team_vpn_profile(
        &self,
        caller: &Caller,
        team: &str,
        target: VpnTarget,
    ) -> Outcome<(InstanceId, String)> {
        let hub = self.hub(caller, team).await?;
        self.profile_of(caller, &hub, target).await
    }

    /// The hub of a team, once it leads to all of its engagements.
    pub(super) async fn hub(&self, caller: &Caller, team: &str) -> Outcome<Instance> {
        let id: TeamId = team.parse().map_err(|_| unknown_team(team))?;
        let is_theirs = caller.role == Role::Admin || caller.plays_for(id);
        if !is_theirs {
            return Err(PlatformError::NotYours);
        }
        if self.shared.config.vpn.mode != VpnMode::Team {
            let message = "here each engagement has a profile of its own, and teams have none: download those of the instances";
            return Err(Denial::not_found("vpn_mode_is_instance", message).into());
        }
        let hub = self.shared.hubs.of_team(id).filter(|hub| self.shared.hubs.is_settled(*hub));
        let row = match hub {
            Some(hub) => self.shared.store.instance(hub).await?,
            None => None,
        };
        row.ok_or_else(|| {
            let message = "the team has no engagement that is ready, or the way to it is just being made: start one, or ask again";
            Denial::not_found("openvpn_config_not_available", message).into()
        })
    }

    async fn profile_of(
        &self,
        caller: &Caller,
        instance: &Instance,
        target: VpnTarget,
    ) -> Outcome<(InstanceId, String)> {
        let unavailable = || PlatformError::NoVpnProfile { id: instance.id };
        if instance.status() != InstanceStatus::Ready {
            return Err(unavailable());
        }
        self.check_vpn(instance).await?;
        let standings = vpn::standings(&self.shared, instance).await?;
        let meant = meant(caller, &standings, &target)?;
        let [standing] = meant.as_slice() else { return Err(nobody_named().into()) };
        if standing.is_revoked {
            return Err(PlatformError::VpnRevoked { id: instance.id });
        }
        let holder = standing.holder.id;
        let mut profile = match self.link_of(instance) {
            Some(link) => {
                let asked = link.openvpn_config(instance.id, Some(holder)).await;
                let profile = asked.map_err(|error| match error {
                    NodeError::NotFound(_) => unavailable(),
                    other => super::attachments::unavailable(&other),
                })?;
                String::from_utf8_lossy(&profile).into_owned()
            }
            None => self.profile_here(instance, Some(holder)).await?,
        };
        self.add_origin(caller, instance, &mut profile).await?;
        Ok((instance.id, profile))
    }

    /// Says in a profile where it comes from. Trees and build keys hash files with answers, so only
    /// administrators see those.
    async fn add_origin(
        &self,
        caller: &Caller,
        instance: &Instance,
        profile: &mut String,
    ) -> Outcome<()> {
        if !profile.ends_with('\n') {
            profile.push('\n');
        }
        let say = "writing to memory does not fail";
        let revision = instance.revision;
        writeln!(profile, "# flagops instance {}, commit {revision}", instance.id).expect(say);
        if caller.role == Role::Admin {
            writeln!(profile, "# tree {}", instance.tree).expect(say);
            for image in self.images_of_instance(instance).await? {
                let Some(key) = image.key else { continue };
                writeln!(profile, "# build key of {}: {key}", image.service).expect(say);
            }
        }
        Ok(())
    }

    /// The profile of one holder of an instance of this machine, or of its only one.
    ///
    /// # Errors
    /// As [`Self::vpn_profile`].
    pub(crate) async fn profile_here(
        &self,
        instance: &Instance,
        holder: Option<Uuid>,
    ) -> Outcome<String> {
        let unavailable = || PlatformError::NoVpnProfile { id: instance.id };
        if instance.status() != InstanceStatus::Ready {
            return Err(unavailable());
        }
        let stored = specs::of(&self.shared, instance).await?.ok_or_else(unavailable)?;
        let gateway = stored.spec.gateway().ok_or_else(unavailable)?;
        let endpoint = instance.surface.iter().find(|it| it.service == gateway.name);
        let endpoint = endpoint.ok_or_else(unavailable)?;
        let standings = vpn::standings(&self.shared, instance).await?;
        let standing = match (holder, standings.as_slice()) {
            (Some(holder), all) => all.iter().find(|it| it.holder.id == holder),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let standing = standing.ok_or_else(nobody_named)?;
        if standing.is_revoked {
            return Err(PlatformError::VpnRevoked { id: instance.id });
        }
        let told = self.shared.store.vpn_told_of(instance.id).await?;
        if !rules::is_applied(standing, told.as_ref()) {
            // Its gateway does not know them yet, and a client that is refused once gives up.
            return Err(unavailable());
        }
        // Its networks are there while it is ready; a gateway in repair has none for a moment.
        let facts = vpn::facts(&self.shared, instance, &stored.spec).await;
        let facts = facts.map_err(|fault| while_repaired(fault, instance))?;
        let team_id = self.shared.hubs.team_of(instance.id);
        let hosts = match team_id {
            Some(team) => hubs::hosts(&self.shared, team).await,
            None => vpn::hosts(&self.shared, instance, gateway).await,
        };
        let hosts = hosts.unwrap_or_default();
        let challenge = self.challenge_of(instance).await.ok();
        let team = vpn::team_name(&self.shared, instance).await?;
        let profile = Profile {
            holder: standing.holder,
            holder_name: match standing.kind {
                HolderKind::Team => team,
                HolderKind::Member => format!("{} of {team}", standing.name),
            },
            challenge: Named {
                id: instance.challenge.to_string(),
                name: match (team_id, challenge) {
                    (Some(_), _) => "All engagements".to_owned(),
                    (None, challenge) => {
                        challenge.map(|it| it.metadata.name.clone()).unwrap_or_default()
                    }
                },
            },
            revision: instance.revision,
            host: endpoint.host.clone(),
            port: endpoint.port,
            hosts,
        };
        let key = self.shared.data.answer_key();
        let own = vpn::own_templates(&self.shared, instance).await;
        let made = crate::render::vpn::profile(key, &facts, &profile, &own)
            .map_err(|error| PlatformError::Internal(Box::new(error)))?;
        vpn::tell_refused(instance, made.refused);
        Ok(made.made)
    }
}
