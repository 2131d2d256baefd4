//! How soon a player has a profile, and a gateway what it needs.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use flagops::model::{InstanceId, ObjectId, Revision, Timestamp};
use flagops::render::answers::AnswerKey;
use flagops::render::attachments::Named;
use flagops::render::vpn::{Facts, Holder, Own, Profile, gateway_tar, profile};
use uuid::Uuid;

use crate::report::Report;

/// Profiles and gateways, each with keys and certificates of its own.
pub(crate) fn keys(report: &mut Report, runs: usize) -> Result<()> {
    let (key, own) = (AnswerKey::new([7; 32]), Own::default());
    let (mut profiles, mut gateways) = (Vec::new(), Vec::new());
    for n in 0..runs.max(20) {
        let holder = Holder { id: Uuid::from_u128(1), serial: 1 };
        let facts = Facts {
            protocol: flagops::model::VpnProtocol::OpenVpn,
            instance: InstanceId::new(Uuid::from_u128(n as u128)),
            created_at: Timestamp::from_millis(1_795_942_800_000),
            networks: vec!["10.80.0.16/28".parse()?],
            clients: "10.82.0.16/28".parse()?,
            admitted: vec![holder],
            hub: None,
        };
        let wish = Profile {
            holder,
            holder_name: "red".to_owned(),
            challenge: Named { id: "LAB-001".to_owned(), name: "Branch office".to_owned() },
            revision: Revision(ObjectId::from_bytes([1; 20])),
            host: "ctf.example".to_owned(),
            port: 20_000,
            hosts: Vec::new(),
        };
        profiles.push(timed(|| profile(&key, &facts, &wish, &own).map(|text| text.made.len()))?);
        gateways.push(timed(|| gateway_tar(&key, &facts, &own).map(|tar| tar.made.len()))?);
    }
    report.time("vpn, profile", &profiles, "< 20 ms");
    report.time("vpn, keys and files of a gateway", &gateways, "");
    Ok(())
}

fn timed<E>(work: impl FnOnce() -> Result<usize, E>) -> Result<Duration>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let begin = Instant::now();
    if work()? == 0 {
        bail!("nothing was made");
    }
    Ok(begin.elapsed())
}
