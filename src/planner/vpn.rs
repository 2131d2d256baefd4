//! Decides who may connect to the VPN of an instance, and whether its gateway has to be told.
//!
//! In:  the team of the instance, its members, what was rotated or revoked, what the gateway was told.
//! Out: how each holder stands, and the certificates that are let in.
//!
//! # Invariants
//! * A team with members is let in by its members' own profiles and by no other.
//! * Whoever is no holder, or is revoked, is never among those who are let in.
//! * One profile of a holder is valid, never two.
//!
//! # Not here
//! Telling (`daemon::vpn`), certificates (`render::vpn`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use uuid::Uuid;

use crate::model::{Member, TeamId, VpnAccess, VpnSeat, VpnTold};
use crate::render::vpn::Holder;

/// What a holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderKind {
    /// A whole team: all who have its token use one profile.
    Team,
    /// One member.
    Member,
}

impl HolderKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::Member => "member",
        }
    }
}

/// How somebody who may have a profile stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Who, and which of their profiles is the valid one.
    pub holder: Holder,
    /// How people call them.
    pub name: String,
    /// What they are.
    pub kind: HolderKind,
    /// No profile of theirs is valid.
    pub is_revoked: bool,
    /// What was changed for them last.
    pub access: Option<VpnAccess>,
}

/// How each holder of an instance of `team` stands: the members, else the team.
pub fn standings(team: (TeamId, &str), members: &[Member], access: &[VpnAccess]) -> Vec<Standing> {
    let of = |id: Uuid, name: &str, kind: HolderKind| {
        let access = access.iter().find(|it| it.holder == id).copied();
        Standing {
            holder: Holder { id, serial: access.map_or(1, |it| it.serial) },
            name: name.to_owned(),
            kind,
            is_revoked: access.is_some_and(|it| it.is_revoked),
            access,
        }
    };
    if members.is_empty() {
        return vec![of(team.0.as_uuid(), team.1, HolderKind::Team)];
    }
    let member = |it: &Member| of(it.user.as_uuid(), &it.name, HolderKind::Member);
    members.iter().map(member).collect()
}

/// As [`standings`], where a platform says who may connect to an instance of `team`.
pub fn standings_of_seats(team: TeamId, seats: &[VpnSeat]) -> Vec<Standing> {
    let of = |seat: &VpnSeat| Standing {
        holder: Holder { id: seat.holder, serial: seat.serial },
        name: seat.name.clone(),
        kind: match seat.holder == team.as_uuid() {
            true => HolderKind::Team,
            false => HolderKind::Member,
        },
        is_revoked: false,
        access: None,
    };
    seats.iter().map(of).collect()
}

/// Who is let in, for a node that is told so.
pub fn seats(standings: &[Standing]) -> Vec<VpnSeat> {
    let valid = standings.iter().filter(|it| !it.is_revoked);
    valid
        .map(|it| VpnSeat { holder: it.holder.id, serial: it.holder.serial, name: it.name.clone() })
        .collect()
}

/// Who is let in.
pub fn admitted(standings: &[Standing]) -> Vec<Holder> {
    let valid = standings.iter().filter(|it| !it.is_revoked).map(|it| it.holder);
    valid.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The names of their certificates, sorted: what a gateway is told.
pub fn names(admitted: &[Holder]) -> Vec<String> {
    let names: BTreeSet<String> = admitted.iter().map(Holder::to_string).collect();
    names.into_iter().collect()
}

/// Who is let in by these seats.
pub fn holders_of_seats(seats: &[VpnSeat]) -> Vec<Holder> {
    let holders = seats.iter().map(|it| Holder { id: it.holder, serial: it.serial });
    holders.collect::<BTreeSet<_>>().into_iter().collect()
}

/// As [`names`], of seats.
pub fn names_of_seats(seats: &[VpnSeat]) -> Vec<String> {
    names(&holders_of_seats(seats))
}

/// Whether a gateway knows how `standing` stands.
pub fn is_applied(standing: &Standing, told: Option<&VpnTold>) -> bool {
    let Some(names) = told.and_then(|it| it.names.as_ref()) else { return false };
    let its =
        |name: &&String| name.parse().is_ok_and(|holder: Holder| holder.id == standing.holder.id);
    let mut known = names.iter().filter(its);
    match standing.is_revoked {
        true => known.next().is_none(),
        false => {
            known.all(|name| *name == standing.holder.to_string())
                && names.contains(&standing.holder.to_string())
        }
    }
}

/// Where connections come from at this moment, by the certificate that they came with: more than one
/// address is two machines, or one that moved within the last seconds.
pub fn origins<'s>(
    sessions: impl Iterator<Item = (&'s str, IpAddr)>,
) -> BTreeMap<&'s str, BTreeSet<IpAddr>> {
    let mut origins: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
    for (certificate, address) in sessions {
        origins.entry(certificate).or_default().insert(address);
    }
    origins
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{InstanceId, Timestamp, UserId};

    const TEAM: u128 = 100;

    fn member(id: u128) -> Member {
        Member {
            user: UserId::new(Uuid::from_u128(id)),
            name: format!("m{id}"),
            joined_at: Timestamp::from_millis(0),
        }
    }

    fn access(holder: u128, serial: u32, is_revoked: IsRevoked) -> VpnAccess {
        VpnAccess {
            instance: InstanceId::new(Uuid::from_u128(1)),
            holder: Uuid::from_u128(holder),
            serial,
            is_revoked,
            changed_at: Timestamp::from_millis(0),
        }
    }

    type IsRevoked = bool;

    fn of(members: &[Member], access: &[VpnAccess]) -> Vec<Standing> {
        standings((TeamId::new(Uuid::from_u128(TEAM)), "red"), members, access)
    }

    fn short(holders: &[Holder]) -> Vec<String> {
        holders.iter().map(|it| format!("{}.{}", it.id.as_u128(), it.serial)).collect()
    }

    fn told(names: Option<Vec<String>>) -> VpnTold {
        VpnTold { number: 1, names }
    }

    #[test]
    fn a_team_without_members_has_one_profile() {
        assert_eq!(short(&admitted(&of(&[], &[]))), ["100.1"]);
        assert_eq!(short(&admitted(&of(&[], &[access(TEAM, 3, false)]))), ["100.3"]);
        assert_eq!(short(&admitted(&of(&[], &[access(TEAM, 3, true)]))), [""; 0]);
        // What a former member did changes nothing.
        assert_eq!(short(&admitted(&of(&[], &[access(7, 3, true)]))), ["100.1"]);
    }

    #[test]
    fn each_member_has_their_own_and_the_team_none() {
        let members = [member(2), member(1), member(3)];
        let changed = [access(1, 2, false), access(3, 1, true), access(TEAM, 5, false)];
        assert_eq!(short(&admitted(&of(&members, &changed))), ["1.2", "2.1"]);
        assert_eq!(
            seats(&of(&members, &changed)).iter().map(|it| it.name.as_str()).collect::<Vec<_>>(),
            ["m2", "m1"]
        );
    }

    #[test]
    fn what_was_told_before_or_is_being_told_is_no_knowledge() {
        let members = [member(1), member(2)];
        let all = of(&members, &[access(2, 1, true)]);
        let (one, two) = (&all[0], &all[1]);
        let name = |serial: u32| Holder { id: Uuid::from_u128(1), serial }.to_string();
        let other = Holder { id: Uuid::from_u128(2), serial: 1 }.to_string();
        for (names, knows) in [
            (None, (false, false)),
            (Some(vec![]), (false, true)),
            (Some(vec![name(1)]), (true, true)),
            (Some(vec![name(2)]), (false, true)),
            (Some(vec![name(1), other]), (true, false)),
        ] {
            let told = told(names.clone());
            let seen = (is_applied(one, Some(&told)), is_applied(two, Some(&told)));
            assert_eq!(seen, knows, "{names:?}");
        }
        assert!(!is_applied(one, None));
    }

    #[test]
    fn one_certificate_from_two_addresses_is_seen() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let sessions =
            [("a.1", at("192.0.2.1")), ("a.1", at("192.0.2.2")), ("b.1", at("192.0.2.1"))];
        let origins = origins(sessions.into_iter());
        assert_eq!(origins["a.1"].len(), 2);
        assert_eq!(origins["b.1"].len(), 1);
    }

    fn members() -> impl Strategy<Value = Vec<Member>> {
        prop::collection::btree_set(0_u128..6, 0..5)
            .prop_map(|ids| ids.into_iter().map(member).collect())
    }

    fn changes() -> impl Strategy<Value = Vec<VpnAccess>> {
        let holders = prop::sample::select(vec![0_u128, 1, 2, 3, 4, 5, TEAM]);
        prop::collection::btree_map(holders, (1_u32..4, any::<bool>()), 0..6).prop_map(|it| {
            it.into_iter().map(|(id, (serial, revoked))| access(id, serial, revoked)).collect()
        })
    }

    proptest! {
        #[test]
        fn only_holders_who_are_not_revoked_get_in_and_each_with_one_profile(
            members in members(), changes in changes()
        ) {
            let standings = of(&members, &changes);
            let admitted = admitted(&standings);
            let ids: BTreeSet<_> = admitted.iter().map(|it| it.id).collect();
            prop_assert_eq!(ids.len(), admitted.len());
            let is_member = |id: &Uuid| members.iter().any(|it| it.user.as_uuid() == *id);
            for id in &ids {
                let is_holder = match members.is_empty() {
                    true => id.as_u128() == TEAM,
                    false => is_member(id),
                };
                prop_assert!(is_holder);
                prop_assert!(!changes.iter().any(|it| it.holder == *id && it.is_revoked));
            }
            // What a node is told comes to the same.
            let team = TeamId::new(Uuid::from_u128(TEAM));
            let there = standings_of_seats(team, &seats(&standings));
            prop_assert_eq!(super::admitted(&there), admitted);
        }

        #[test]
        fn a_gateway_that_was_told_knows_how_everybody_stands(
            members in members(), before in changes(), changes in changes()
        ) {
            let standings = of(&members, &changes);
            let now = told(Some(names(&admitted(&standings))));
            prop_assert!(standings.iter().all(|it| is_applied(it, Some(&now))));
            let then = told(Some(names(&admitted(&of(&members, &before)))));
            let all = standings.iter().all(|it| is_applied(it, Some(&then)));
            prop_assert_eq!(all, then.names == now.names);
        }
    }
}
