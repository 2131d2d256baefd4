//! The invariants of the header, one test each, and the cases that people ask about.

use proptest::prelude::*;

use super::*;

const SETTINGS: GcSettings =
    GcSettings { high_percent: 80, low_percent: 70, min_age_millis: 100, cache: CacheRule::Leave };

const NOW: Timestamp = Timestamp::from_millis(1000);

fn key(n: u8) -> BuildKey {
    BuildKey::from_digest([n; 32])
}

fn image(n: u8, size_bytes: u64, last_use: i64) -> GcImage {
    GcImage {
        id: format!("sha256:{n:02}"),
        key: Some(key(n)),
        size_bytes,
        last_use: Some(Timestamp::from_millis(last_use)),
        is_refused: false,
    }
}

fn view(used_bytes: u64, images: Vec<GcImage>) -> GcView {
    GcView {
        images,
        coverage: Coverage::Full,
        disk: Some(Disk { capacity_bytes: 1000, used_bytes }),
        phase: GcPhase::Watching,
        cache_bytes: None,
    }
}

/// The plan in words: what goes, what stays and why.
fn shown(plan: &GcPlan) -> String {
    let short = |image: &GcImage| image.id.replace("sha256:", "");
    let mut words = vec![format!("{:?}", plan.pressure)];
    words.extend(plan.trim_cache_to.map(|keep| format!("cache to {keep}")));
    words.extend(plan.remove.iter().map(|image| format!("-{}", short(image))));
    words.extend(plan.held.iter().map(|held| {
        let why = match &held.why {
            ImageHold::Pinned(pins) => {
                pins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ")
            }
            ImageHold::Young { until } => format!("young until {}", until.as_millis()),
            ImageHold::Undated
            | ImageHold::Refused
            | ImageHold::Foreign
            | ImageHold::Unseen
            | ImageHold::Spare => format!("{:?}", held.why),
        };
        format!("{} ({why})", short(&held.image))
    }));
    words.join(", ")
}

fn check(view: &GcView, pins: &Pins, settings: &GcSettings) -> String {
    shown(&plan(view, pins, settings, NOW))
}

#[test]
fn the_longest_unused_go_until_the_low_mark() {
    let images = vec![image(1, 60, 30), image(2, 60, 10), image(3, 60, 20), image(4, 60, 40)];
    insta::assert_snapshot!(
        check(&view(805, images.clone()), &Pins::default(), &SETTINGS),
        @"HighWatermark, -02, -03, 01 (Spare), 04 (Spare)"
    );
    insta::assert_snapshot!(
        check(&view(799, images), &Pins::default(), &SETTINGS),
        @"Fine, 01 (Spare), 02 (Spare), 03 (Spare), 04 (Spare)"
    );
    // What began goes on.
    let freeing = |used| GcView { phase: GcPhase::Freeing, ..view(used, vec![image(1, 60, 30)]) };
    insta::assert_snapshot!(
        check(&freeing(701), &Pins::default(), &SETTINGS),
        @"HighWatermark, -01"
    );
    insta::assert_snapshot!(check(&freeing(700), &Pins::default(), &SETTINGS), @"Fine, 01 (Spare)");
    insta::assert_snapshot!(check(&GcView { images: vec![], ..freeing(701) }, &Pins::default(), &SETTINGS), @"Fine");
}

#[test]
fn everything_that_stays_says_why() {
    let mut pins = Pins::default();
    pins.pin_key(key(1), Pin::Live("WEB-001".parse().unwrap()));
    pins.pin_key(key(1), Pin::Newest("WEB-001".parse().unwrap()));
    pins.pin_id("sha256:02".to_owned(), Pin::Previous("WEB-001".parse().unwrap()));
    let images = vec![
        image(1, 1, 0),
        image(2, 1, 0),
        image(3, 1, 950),
        GcImage { last_use: None, ..image(4, 1, 0) },
        GcImage { is_refused: true, ..image(5, 1, 0) },
        GcImage { key: None, ..image(6, 1, 0) },
    ];
    insta::assert_snapshot!(
        check(&view(1000, images.clone()), &pins, &SETTINGS),
        @"NothingToFree, 01 (live in WEB-001 + newest version of WEB-001), 02 (previous version of WEB-001), 03 (young until 1050), 04 (Undated), 05 (Refused), 06 (Foreign)"
    );
    let partial = GcView { coverage: Coverage::Partial, ..view(1000, images[3..5].to_vec()) };
    insta::assert_snapshot!(
        check(&partial, &pins, &SETTINGS),
        @"HighWatermark, 04 (Unseen), 05 (Unseen)"
    );
}

#[test]
fn the_build_cache_is_trimmed_first_and_only_when_that_is_allowed() {
    let trim = GcSettings { cache: CacheRule::Trim { cap_bytes: 200 }, ..SETTINGS };
    let with =
        |used, cache| GcView { cache_bytes: Some(cache), ..view(used, vec![image(1, 9, 0)]) };
    let none = Pins::default();
    insta::assert_snapshot!(check(&with(850, 500), &none, &SETTINGS), @"HighWatermark, -01");
    insta::assert_snapshot!(check(&with(100, 500), &none, &trim), @"Fine, cache to 200, 01 (Spare)");
    insta::assert_snapshot!(check(&with(100, 200), &none, &trim), @"Fine, 01 (Spare)");
    insta::assert_snapshot!(check(&with(850, 180), &none, &trim), @"HighWatermark, cache to 30, 01 (Spare)");
    insta::assert_snapshot!(check(&with(850, 60), &none, &trim), @"HighWatermark, cache to 0, -01");
}

#[test]
fn a_disk_that_cannot_be_seen_removes_nothing() {
    let blind = GcView { disk: None, ..view(0, vec![image(1, 9, 0)]) };
    insta::assert_snapshot!(check(&blind, &Pins::default(), &SETTINGS), @"Unknown, 01 (Spare)");
}

#[test]
fn a_mark_of_zero_is_always_reached() {
    let settings = GcSettings { high_percent: 0, low_percent: 0, ..SETTINGS };
    for used in [0, 1, 1000] {
        let plan = plan(&view(used, vec![image(1, 1, 0)]), &Pins::default(), &settings, NOW);
        assert_eq!(plan.remove.len(), 1, "{used}");
    }
}

/// What a strategy makes of one image: its key, size, last use, and whether it was refused.
type Drawn = (Option<u8>, u64, Option<i64>, bool);

fn images() -> impl Strategy<Value = Vec<GcImage>> {
    let drawn = (
        prop::option::weighted(0.9, 0_u8..12),
        0_u64..300,
        prop::option::weighted(0.9, -50_i64..1200),
        prop::bool::weighted(0.1),
    );
    let as_image = |(id, (built_from, size, last_use, is_refused)): (u8, Drawn)| GcImage {
        key: built_from.map(key),
        last_use: last_use.map(Timestamp::from_millis),
        is_refused,
        ..image(id, size, 0)
    };
    prop::collection::btree_map(0_u8..12, drawn, 0..10)
        .prop_map(move |made| made.into_iter().map(as_image).collect())
}

fn views() -> impl Strategy<Value = GcView> {
    let disk = (1_u64..2000, 0_u64..2000).prop_map(|(capacity_bytes, used)| Disk {
        capacity_bytes,
        used_bytes: used.min(capacity_bytes),
    });
    let coverage = prop_oneof![4 => Just(Coverage::Full), 1 => Just(Coverage::Partial)];
    let cache = prop::option::of(0_u64..500);
    let phase = prop_oneof![2 => Just(GcPhase::Watching), 1 => Just(GcPhase::Freeing)];
    (images(), coverage, prop::option::weighted(0.9, disk), phase, cache).prop_map(
        |(images, coverage, disk, phase, cache_bytes)| GcView {
            images,
            coverage,
            disk,
            phase,
            cache_bytes,
        },
    )
}

fn pins() -> impl Strategy<Value = Pins> {
    let by_key = prop::collection::btree_set(0_u8..12, 0..4);
    let by_id = prop::collection::btree_set(0_u8..12, 0..4);
    (by_key, by_id).prop_map(|(keys, ids)| {
        let mut pins = Pins::default();
        keys.into_iter().for_each(|n| pins.pin_key(key(n), Pin::Wanted));
        ids.into_iter().for_each(|n| pins.pin_id(image(n, 0, 0).id, Pin::Wanted));
        pins
    })
}

fn settings() -> impl Strategy<Value = GcSettings> {
    let cache = prop_oneof![
        Just(CacheRule::Leave),
        (0_u64..500).prop_map(|cap_bytes| CacheRule::Trim { cap_bytes }),
    ];
    (0_u32..=100, 0_u32..=100, 0_i64..300, cache).prop_map(|(a, b, min_age_millis, cache)| {
        GcSettings { high_percent: a.max(b), low_percent: a.min(b), min_age_millis, cache }
    })
}

/// What is left when `plan` was carried out and every image freed all of its size.
fn carried_out(view: &GcView, plan: &GcPlan) -> GcView {
    let is_left = |image: &GcImage| !plan.remove.contains(image);
    let trimmed = match (view.cache_bytes, plan.trim_cache_to) {
        (Some(size), Some(keep)) => size - keep,
        _ => 0,
    };
    let freed = plan.remove.iter().map(|image| image.size_bytes).sum::<u64>() + trimmed;
    GcView {
        images: view.images.iter().filter(|image| is_left(image)).cloned().collect(),
        disk: view
            .disk
            .map(|disk| Disk { used_bytes: disk.used_bytes.saturating_sub(freed), ..disk }),
        cache_bytes: plan.trim_cache_to.or(view.cache_bytes),
        ..view.clone()
    }
}

#[test]
fn a_large_disk_over_its_mark_does_not_let_builds_wait() {
    let settings = GcSettings {
        high_percent: 80,
        low_percent: 70,
        min_age_millis: 0,
        cache: CacheRule::Leave,
    };
    let check = |capacity_bytes: u64, used_bytes: u64| {
        let view = GcView {
            images: vec![],
            coverage: Coverage::Full,
            disk: Some(Disk { capacity_bytes, used_bytes }),
            phase: GcPhase::Watching,
            cache_bytes: None,
        };
        plan(&view, &Pins::default(), &settings, NOW).pressure
    };
    assert_eq!(check(1 << 40, (1 << 40) / 10 * 9), Pressure::Fine);
    assert_eq!(check(1 << 40, (1 << 40) - ROOM_BYTES + 1), Pressure::NothingToFree);
    assert_eq!(check(100 << 30, 85 << 30), Pressure::NothingToFree);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn nothing_pinned_young_refused_or_foreign_goes(
        view in views(), pins in pins(), settings in settings(),
    ) {
        for image in plan(&view, &pins, &settings, NOW).remove {
            prop_assert!(pins.of(&image).is_empty());
            prop_assert!(image.key.is_some() && !image.is_refused);
            let age = image.last_use.map(|at| NOW.millis_since(at));
            prop_assert!(age.is_some_and(|age| age >= settings.min_age_millis));
        }
    }

    #[test]
    fn a_partial_view_removes_nothing(view in views(), pins in pins(), settings in settings()) {
        let view = GcView { coverage: Coverage::Partial, ..view };
        let plan = plan(&view, &pins, &settings, NOW);
        prop_assert_eq!(plan.remove, vec![]);
        prop_assert_ne!(plan.pressure, Pressure::NothingToFree);
    }

    #[test]
    fn every_image_goes_or_says_why_not(view in views(), pins in pins(), settings in settings()) {
        let plan = plan(&view, &pins, &settings, NOW);
        let held = plan.held.iter().map(|held| &held.image);
        let mut seen: Vec<_> = plan.remove.iter().chain(held).cloned().collect();
        seen.sort();
        let mut all = view.images;
        all.sort();
        prop_assert_eq!(seen, all);
    }

    #[test]
    fn removals_begin_at_the_high_mark_and_stop_at_the_low_one(
        view in views(), pins in pins(), settings in settings(),
    ) {
        let plan = plan(&view, &pins, &settings, NOW);
        let Some(disk) = view.disk else {
            prop_assert_eq!(plan.remove, vec![]);
            return Ok(());
        };
        if view.phase == GcPhase::Watching && !disk.is_at(settings.high_percent) {
            prop_assert_eq!(plan.remove, vec![]);
            return Ok(());
        }
        // Without the last one the low mark would not be reached.
        if let Some((_, but_last)) = plan.remove.split_last() {
            let but_last = GcPlan { remove: but_last.to_vec(), ..plan.clone() };
            let left = carried_out(&view, &but_last).disk.map(|disk| disk.used_bytes);
            let low = disk.bytes_at(settings.low_percent);
            prop_assert!(left.is_some_and(|used| used > low || used == disk.used_bytes));
        }
        // What could go and stays is there because enough goes.
        let is_spared = plan.held.iter().any(|held| held.why == ImageHold::Spare);
        let left = carried_out(&view, &plan).disk.map_or(0, |disk| disk.used_bytes);
        prop_assert!(!is_spared || left <= disk.bytes_at(settings.low_percent));
    }

    #[test]
    fn the_longest_unused_goes_first(view in views(), pins in pins(), settings in settings()) {
        let plan = plan(&view, &pins, &settings, NOW);
        prop_assert!(plan.remove.is_sorted_by_key(|image| image.last_use));
        let last = plan.remove.last().and_then(|image| image.last_use);
        for held in plan.held.iter().filter(|held| held.why == ImageHold::Spare) {
            prop_assert!(held.image.last_use >= last);
        }
    }

    #[test]
    fn the_order_of_the_listing_does_not_matter(
        view in views(), pins in pins(), settings in settings(),
    ) {
        let mut turned = view.clone();
        turned.images.reverse();
        prop_assert_eq!(
            plan(&view, &pins, &settings, NOW),
            plan(&turned, &pins, &settings, NOW)
        );
    }

    #[test]
    fn a_plan_carried_out_leaves_an_empty_one(
        view in views(), pins in pins(), settings in settings(),
    ) {
        // A low mark that is the high mark is still reached when it is met to the byte.
        prop_assume!(settings.low_percent < settings.high_percent);
        let left = carried_out(&view, &plan(&view, &pins, &settings, NOW));
        let again = plan(&left, &pins, &settings, NOW);
        prop_assert!(again.is_empty(), "{:?}", again);
        let is_partial = left.coverage == Coverage::Partial;
        prop_assert!(again.pressure != Pressure::HighWatermark || is_partial);
    }

    #[test]
    fn the_build_cache_is_left_alone_unless_that_is_configured(
        view in views(), pins in pins(), settings in settings(),
    ) {
        let plan = plan(&view, &pins, &settings, NOW);
        match settings.cache {
            CacheRule::Leave => prop_assert_eq!(plan.trim_cache_to, None),
            CacheRule::Trim { cap_bytes } => {
                let keep = plan.trim_cache_to.or(view.cache_bytes).unwrap_or_default();
                prop_assert!(keep <= cap_bytes);
            }
        }
    }
}
