//! Room on the engine's disk, for operators: what goes, what stays and why.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::Admin;
use super::error::{Answer, Envelope};
use crate::daemon::platform::{GcReport, Platform};
use crate::model::{Disk, Timestamp};
use crate::planner::gc::{CacheRule, GcImage, ImageHold, Pressure};

/// Routes of this file.
pub(crate) fn routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::new().routes(routes!(plan, collect))
}

/// What garbage collection found and did, or would do.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct GcView {
    /// `fine`, `high_watermark` (something is left to free), `nothing_to_free`, or `unknown`.
    pressure: &'static str,
    /// The disk now; `null` when it cannot be seen from the daemon.
    disk: Option<DiskView>,
    /// Images go at this used percent.
    high_percent: u32,
    /// And no further ones at this.
    low_percent: u32,
    builds_paused: bool,
    build_cache: CacheView,
    /// What is gone, in the order of removal; empty in a plan.
    removed: Vec<GcImageView>,
    /// What goes next, in this order.
    remove: Vec<GcImageView>,
    /// What stays, with its reasons.
    held: Vec<GcImageView>,
    /// How much less of the disk is used than before, whoever freed it.
    freed_bytes: u64,
}

/// How full a disk is.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct DiskView {
    capacity_bytes: u64,
    used_bytes: u64,
    used_percent: u64,
}

/// The engine's build cache.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct CacheView {
    /// Whether it may be trimmed (`gc.build_cache`).
    trim: bool,
    /// Its size; `null` when it may not be trimmed, or the engine does not say.
    bytes: Option<u64>,
    /// What it will be trimmed to.
    trim_to_bytes: Option<u64>,
    /// What was freed of it.
    trimmed_bytes: Option<u64>,
}

/// One image that this installation built.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
struct GcImageView {
    /// The engine's id.
    id: String,
    build_key: Option<String>,
    /// The challenge that asked for it first.
    challenge_id: Option<String>,
    service: Option<String>,
    /// With the layers that it shares: removing it frees this much at most.
    size_bytes: u64,
    /// When it was made, went live or out, or was started last.
    last_use: Option<String>,
    /// `pinned`, `young`, `undated`, `in_use`, `foreign`, `unseen` or `spare`; `null` for what goes.
    hold: Option<&'static str>,
    /// Why it stays, for people.
    why: Vec<String>,
}

fn view(report: &GcReport) -> GcView {
    let used = |disk: Option<Disk>| disk.map_or(0, |disk| disk.used_bytes);
    let goes = |image: &GcImage| image_view(report, image, None, Vec::new());
    let held = report
        .plan
        .held
        .iter()
        .map(|held| image_view(report, &held.image, Some(word(&held.why)), reasons(&held.why)));
    GcView {
        pressure: match report.plan.pressure {
            Pressure::Unknown => "unknown",
            Pressure::Fine => "fine",
            Pressure::HighWatermark => "high_watermark",
            Pressure::NothingToFree => "nothing_to_free",
        },
        disk: report.disk.map(|disk| DiskView {
            capacity_bytes: disk.capacity_bytes,
            used_bytes: disk.used_bytes,
            used_percent: disk.used_percent(),
        }),
        high_percent: report.settings.high_percent,
        low_percent: report.settings.low_percent,
        builds_paused: report.are_builds_paused,
        build_cache: CacheView {
            trim: report.settings.cache != CacheRule::Leave,
            bytes: report.cache_bytes,
            trim_to_bytes: report.plan.trim_cache_to,
            trimmed_bytes: report.trimmed_bytes,
        },
        removed: report.removed.iter().map(goes).collect(),
        remove: report.plan.remove.iter().map(goes).collect(),
        held: held.collect(),
        freed_bytes: used(report.disk_before).saturating_sub(used(report.disk)),
    }
}

fn image_view(
    report: &GcReport,
    image: &GcImage,
    hold: Option<&'static str>,
    why: Vec<String>,
) -> GcImageView {
    let built_for = image.key.and_then(|key| report.built_for.get(&key));
    GcImageView {
        id: image.id.clone(),
        build_key: image.key.map(|key| key.to_string()),
        challenge_id: built_for.map(|(challenge, _)| challenge.to_string()),
        service: built_for.map(|(_, service)| service.to_string()),
        size_bytes: image.size_bytes,
        last_use: image.last_use.map(Timestamp::rfc3339),
        hold,
        why,
    }
}

fn word(why: &ImageHold) -> &'static str {
    match why {
        ImageHold::Pinned(_) => "pinned",
        ImageHold::Young { .. } => "young",
        ImageHold::Undated => "undated",
        ImageHold::Refused => "in_use",
        ImageHold::Foreign => "foreign",
        ImageHold::Unseen => "unseen",
        ImageHold::Spare => "spare",
    }
}

fn reasons(why: &ImageHold) -> Vec<String> {
    let text = match why {
        ImageHold::Pinned(pins) => return pins.iter().map(ToString::to_string).collect(),
        ImageHold::Young { until } => format!("used a moment ago; stays until {until}"),
        ImageHold::Undated => "nobody knows when it was made".to_owned(),
        ImageHold::Refused => {
            "the engine does not remove it: a container or another image uses it".to_owned()
        }
        ImageHold::Foreign => "it does not say what it was built from".to_owned(),
        ImageHold::Unseen => "what could need it is not all known yet".to_owned(),
        ImageHold::Spare => "nothing needs it; the disk has room".to_owned(),
    };
    vec![text]
}

/// What garbage collection of images would do now, and why the other images stay.
#[utoipa::path(get, path = "/gitops/gc", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = GcView), (status = 403, body = Envelope),
        (status = 503, body = Envelope)))]
async fn plan(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<GcView>> {
    Ok(Json(view(&platform.gc_plan().await?)))
}

/// Collects now, by the same marks as always; answers when that is done.
#[utoipa::path(post, path = "/gitops/gc", tag = "gitops", security(("bearer" = [])),
    responses((status = 200, body = GcView), (status = 403, body = Envelope),
        (status = 503, body = Envelope)))]
async fn collect(State(platform): State<Platform>, _admin: Admin) -> Answer<Json<GcView>> {
    Ok(Json(view(&platform.gc_now().await?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BuildKey;
    use crate::planner::gc::{GcPlan, GcSettings, HeldImage, Pin};

    fn image(n: u8) -> GcImage {
        GcImage {
            id: format!("sha256:{n}"),
            key: Some(BuildKey::from_digest([n; 32])),
            size_bytes: 7,
            last_use: Some(Timestamp::from_millis(1000)),
            is_refused: false,
        }
    }

    #[test]
    fn what_goes_and_what_stays_is_shown_with_its_reasons() {
        let pins = [Pin::Live("WEB-001".parse().unwrap()), Pin::Wanted].into();
        let held = |image, why| HeldImage { image, why };
        let report = GcReport {
            settings: GcSettings {
                high_percent: 80,
                low_percent: 70,
                min_age_millis: 0,
                cache: CacheRule::Leave,
            },
            disk_before: Some(Disk { capacity_bytes: 1000, used_bytes: 900 }),
            disk: Some(Disk { capacity_bytes: 1000, used_bytes: 850 }),
            cache_bytes: None,
            trimmed_bytes: None,
            removed: vec![image(1)],
            plan: GcPlan {
                trim_cache_to: None,
                remove: vec![image(2)],
                held: vec![
                    held(image(3), ImageHold::Pinned(pins)),
                    held(image(4), ImageHold::Spare),
                ],
                pressure: Pressure::HighWatermark,
            },
            are_builds_paused: false,
            built_for: [(
                BuildKey::from_digest([1; 32]),
                ("WEB-001".parse().unwrap(), "web".parse().unwrap()),
            )]
            .into(),
        };
        let shown = view(&report);
        assert_eq!((shown.pressure, shown.freed_bytes), ("high_watermark", 50));
        insta::assert_json_snapshot!(shown.removed, @r#"
        [
          {
            "id": "sha256:1",
            "build_key": "0101010101010101010101010101010101010101010101010101010101010101",
            "challenge_id": "WEB-001",
            "service": "web",
            "size_bytes": 7,
            "last_use": "1970-01-01T00:00:01Z",
            "hold": null,
            "why": []
          }
        ]
        "#);
        let why: Vec<_> = shown.held.iter().map(|it| (it.hold, it.why.join(", "))).collect();
        assert_eq!(
            why,
            [
                (Some("pinned"), "live in WEB-001, being built".to_owned()),
                (Some("spare"), "nothing needs it; the disk has room".to_owned()),
            ]
        );
    }
}
