//! Captured packets of instances, wherever they run, and the HTTP in them.
//!
//! # Invariants
//! * Packets are for administrators, and every download is noted with who and whose.
//! * Players are shown what was asked from outside: what services of a challenge say to each other may
//!   be its solution.

use bytes::Bytes;
use serde_json::Value;

use super::{Outcome, Platform, PlatformError};
use crate::daemon::capture::{self, CaptureError};
use crate::model::{Caller, Instance, InstanceId, NodeId};
use crate::node::NodeError;

/// Who looks at traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whose instance it is.
    Player,
    /// An administrator.
    Organizer,
}

/// Packets, and whether there were more.
#[derive(Debug, Clone)]
pub struct Packets {
    /// One pcap, by time.
    pub pcap: Bytes,
    /// Whether older packets had to go, as far as this machine knows.
    pub is_cut: bool,
}

impl Platform {
    /// The packets of an instance that is not over.
    ///
    /// # Errors
    /// When there is no such instance, nothing is kept of it, or its node does not answer.
    pub async fn packets(&self, caller: &Caller, id: &str) -> Outcome<Packets> {
        let row = self.instance(caller, id).await?;
        self.packets_of(caller, &row).await
    }

    /// The packets of an instance in the archive, or of one that is not over.
    ///
    /// # Errors
    /// As [`Self::packets`].
    pub async fn archived_packets(&self, caller: &Caller, id: &str) -> Outcome<Packets> {
        let unknown = || PlatformError::NoCapture { why: "no record has this id".to_owned() };
        let row = self.archived(id).await?.ok_or_else(unknown)?;
        self.packets_of(caller, &row.instance).await
    }

    async fn packets_of(&self, caller: &Caller, row: &Instance) -> Outcome<Packets> {
        let kept = capture::of(&self.shared, row.id).await.map_err(internal)?;
        let packets = match kept {
            Some(kept) => Packets { pcap: kept.pcap, is_cut: kept.is_cut },
            None => Packets { pcap: self.fetched(row).await?, is_cut: false },
        };
        let (object, why) = (format!("instance {}", row.id), String::new());
        let now = self.shared.now();
        self.shared.store.note_deed(caller.name(), "download_pcap", object, why, now).await?;
        Ok(packets)
    }

    /// The packets that the node of an instance has.
    async fn fetched(&self, row: &Instance) -> Outcome<Bytes> {
        if row.phase.is_live() && row.node != NodeId::local() {
            let Some(link) = self.link_of(row) else {
                let why = "its node is not known any more".to_owned();
                return Err(PlatformError::NoCapture { why });
            };
            return link.pcap(row.id).await.map_err(|error| match error {
                NodeError::NotFound(words) => {
                    let why = words.split_once(": ").map_or(words.as_str(), |(_, why)| why);
                    PlatformError::NoCapture { why: why.chars().take(300).collect() }
                }
                error => super::attachments::unavailable(&error),
            });
        }
        let why = capture::why_none(&self.shared, row).await?;
        Err(PlatformError::NoCapture { why })
    }

    /// The HTTP of an instance that is not over, by time; nothing while its node does not answer.
    ///
    /// # Errors
    /// When there is no such instance, or its packets cannot be read.
    pub async fn traffic(
        &self,
        caller: &Caller,
        id: &str,
        audience: Audience,
    ) -> Outcome<Vec<Value>> {
        let row = self.instance(caller, id).await?;
        let flows = self.traffic_of(&row).await?;
        let is_shown =
            |flow: &Value| audience == Audience::Organizer || flow["metadata"]["side"] == "outside";
        Ok(flows.into_iter().filter(is_shown).collect())
    }

    /// The HTTP of an instance in the archive, by time; nothing for an id that nobody knows.
    ///
    /// # Errors
    /// When its packets cannot be read.
    pub async fn archived_traffic(&self, id: &str) -> Outcome<Vec<Value>> {
        match self.archived(id).await? {
            Some(row) => self.traffic_of(&row.instance).await,
            None => Ok(Vec::new()),
        }
    }

    async fn traffic_of(&self, row: &Instance) -> Outcome<Vec<Value>> {
        if row.phase.is_live()
            && let Some(link) = self.link_of(row)
        {
            // The contract's client takes a node that is down for one that saw nothing.
            return Ok(link.traffic(row.id).await.unwrap_or_default());
        }
        let flows = capture::flows_of(&self.shared, row.id).await.map_err(internal)?;
        let flows: Result<Vec<_>, _> = flows.iter().map(serde_json::to_value).collect();
        flows.map_err(|error| PlatformError::Internal(Box::new(error)))
    }

    /// How many bytes of packets are kept of an instance here.
    pub async fn kept_packets(&self, id: InstanceId) -> u64 {
        capture::size_of(&self.shared, id).await
    }
}

fn internal(error: impl Into<CaptureError>) -> PlatformError {
    PlatformError::Internal(Box::new(error.into()))
}
