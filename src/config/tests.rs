//! What a person sees who configured something wrong, and that every layer works.

use std::collections::BTreeMap;
use std::path::Path;

use super::layers::{Layers, nearest};
use super::*;

const EXAMPLE: &str = include_str!("../../flagops.example.toml");

fn load(text: &str, env: &[(&str, &str)], flags: &Overrides) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flagops.toml");
    std::fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(Some(&path), env, flags)
        .map_err(|errors| errors.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn faults(text: &str, env: &[(&str, &str)]) -> String {
    load(text, env, &Overrides::new()).unwrap_err()
}

#[test]
fn all_faults_are_reported_at_once_with_place_key_and_fix() {
    let shown = faults(
        r#"
listen = "nonsense"
[source]
pol_secs = 3
repo = 7
[network]
pool = "10.80.0.1/15"
wall = "maybe"
first_port = 70000
[limits]
max_services = 0
default_ttl_secs = 90000
[machines]
[limits.attempt_caps]
static = "ten"
"#,
        &[("FLAGOPS_BUILDER__N_SLOT", "4"), ("FLAGOPS_LIMITS__MAX_PIDS", "many")],
    );
    insta::assert_snapshot!(shown, @r#"
    the configuration has 12 faults:
      flagops.toml:2: `listen` is wrong; it must be an address with a port, e.g. "127.0.0.1:8100"
      flagops.toml:4: `source.pol_secs` is not a setting; did you mean `source.poll_secs`?
      flagops.toml:5: `source.repo` is a number; it must be a text that is not empty
      flagops.toml:7: `network.pool` is 10.80.0.1/15, an address inside of a network; did you mean `10.80.0.0/15`?
      flagops.toml:8: `network.wall` is wrong; it must be "required", "auto" or "off"
      flagops.toml:9: `network.first_port` is wrong; it must be a whole number from 0 to 65535
      flagops.toml:11: `limits.max_services` is 0, out of range; give a number from 1 to 1000
      flagops.toml:12: `limits.default_ttl_secs` is 90000, longer than `limits.max_ttl_secs` (86400); lower it, or raise the other
      flagops.toml:13: `machines` is not a setting; remove it; `flagops.example.toml` lists every setting
      flagops.toml:15: `limits.attempt_caps.static` is a string; it must be a whole number from 0 to 4294967295
      variable `FLAGOPS_BUILDER__N_SLOT`: `builder.n_slot` is not a setting; did you mean `FLAGOPS_BUILDER__N_SLOTS`?
      variable `FLAGOPS_LIMITS__MAX_PIDS`: `limits.max_pids` is wrong; it must be a whole number from 0 to 4294967295
    "#);
}

#[test]
fn broken_toml_names_the_line_and_hides_no_other_fault() {
    let shown = faults("[source]\nrepo = \"a\"\npoll_secs = = 3\nbranc = \"x\"\n", &[]);
    assert!(shown.contains("flagops.toml:3: is not TOML"), "{shown}");
    assert!(shown.contains("flagops.toml:4: `source.branc` is not a setting"), "{shown}");
}

#[test]
fn a_section_is_not_a_value() {
    let shown = faults("source = \"git@host:a\"\n", &[("FLAGOPS_SOURCE__REPO", "a")]);
    assert!(
        shown.contains("flagops.toml:1: `source` is a section and has no value of its own; write"),
        "{shown}"
    );
}

#[test]
fn a_missing_file_is_a_fault_and_no_file_is_fine() {
    let missing = Path::new("/nonexistent/flagops.toml");
    let errors = Config::load(Some(missing), BTreeMap::new(), &Overrides::new()).unwrap_err();
    assert!(errors.to_string().contains("/nonexistent/flagops.toml: could not be read"));
    let config = Config::load_for(Need::Client, None, BTreeMap::new(), &Overrides::new());
    assert_eq!(config, Ok(Config::default()));
}

#[test]
fn a_daemon_without_a_repository_is_told_both_ways_to_name_one() {
    let errors = Config::load(None, BTreeMap::new(), &Overrides::new()).unwrap_err();
    insta::assert_snapshot!(errors, @r#"
    the configuration has 1 fault:
      not set: `source.repo` names no challenge repository; give `--repo PATH_OR_URL`, or `repo = "…"` below `[source]`
    "#);
}

#[test]
fn variables_win_over_the_file_and_flags_over_both() {
    let file = "[source]\nrepo = \"file\"\npoll_secs = 10\nbranch = \"file\"\n";
    let env = [
        ("FLAGOPS_SOURCE__REPO", "env"),
        ("FLAGOPS_SOURCE__POLL_SECS", "20"),
        ("FLAGOPS_LIMITS__ATTEMPT_CAPS__STATIC", "7"),
        ("FLAGOPS_DATA_DIR", "/srv/data"),
        ("FLAGOPS_SOURCE__BRANCH", ""),
        ("FLAGOPS_URL", "http://elsewhere"),
        ("FLAGOPS_SOMETHING_ELSE", "not ours"),
        ("PATH", "/bin"),
    ];
    let flags = Overrides::new().with("source.repo", "--repo", Some("flag"));
    let config = load(file, &env, &flags).unwrap();
    assert_eq!(config.source.repo, "flag");
    assert_eq!(config.source.poll_secs, 20);
    assert_eq!(config.source.branch.as_deref(), Some("file"));
    assert_eq!(config.limits.attempt_caps.r#static, 7);
    assert_eq!(config.data_dir, Path::new("/srv/data"));
}

#[test]
fn a_wrong_flag_is_named() {
    let flags = Overrides::new().with("source.repo", "--repo", Some("x")).with(
        "listen",
        "--listen",
        Some("8100"),
    );
    let shown = load("", &[], &flags).unwrap_err();
    assert!(shown.contains("flag `--listen`: `listen` is wrong; it must be an address"), "{shown}");
}

#[test]
fn the_variable_of_docker_is_a_default_only() {
    let env = [("DOCKER_HOST", "tcp://10.0.0.1:2375")];
    let config = load("[source]\nrepo = \"a\"\n", &env, &Overrides::new()).unwrap();
    assert_eq!(config.engine.endpoint, "tcp://10.0.0.1:2375");
    let file = "[source]\nrepo = \"a\"\n[engine]\nendpoint = \"unix:///run/other.sock\"\n";
    let config = load(file, &env, &Overrides::new()).unwrap();
    assert_eq!(config.engine.endpoint, "unix:///run/other.sock");
}

#[test]
fn a_misspelt_top_level_variable_is_a_fault() {
    let shown = faults("[source]\nrepo = \"a\"\n", &[("FLAGOPS_LISTN", "127.0.0.1:1")]);
    assert!(shown.contains("did you mean `FLAGOPS_LISTEN`?"), "{shown}");
}

#[test]
fn contradictions_between_settings_are_faults() {
    for (settings, expected) in [
        ("listen = \"0.0.0.0:20500\"", "`listen` uses port 20500, which instances may publish"),
        ("network.first_port = 30000", "`network.last_port` is 29999, below"),
        (
            "network.first_port = 80\nlisten = \"127.0.0.1:79\"",
            "`network.first_port` is 80, a privileged port",
        ),
        ("network.prefix_len = 15", "does not cut `network.pool`"),
        ("network.prefix_len = 31", "does not cut `network.pool`"),
        ("network.pool = \"10.0.0.0/24\"", "has room for 16 networks of /28"),
        ("network.public_host = \"http://a/b\"", "neither a host name nor an address"),
        ("source.branch = \"--upload-pack=x\"", "`source.branch` is not a branch name"),
        ("log.filter = \"flagops=loud\"", "`log.filter` is not a filter"),
        ("engine.endpoint = \"/var/run/docker.sock\"", "`engine.endpoint` has no scheme"),
        ("gc.low_percent = 81", "`gc.low_percent` is 81, above `gc.high_percent` (80)"),
        ("gc.high_percent = 101", "`gc.high_percent` is 101, out of range"),
        (
            "gc.build_cache = true",
            "`gc.build_cache` is a boolean; it must be \"leave\" or \"trim\"",
        ),
        (
            "source.webhook = {kind = \"github\", id = \"0123456789abcdef\"}",
            "`source.webhook.secret_file` is not set: a webhook needs it: without a secret anybody",
        ),
        (
            "source.webhook = {kind = \"github\", id = \"short\", secret_file = \"s\"}",
            "`source.webhook.id` is not 16 to 64 letters and digits; give the output of `openssl",
        ),
        (
            "statuses = {kind = \"github\", token_file = \"t\"}",
            "`statuses.repository` is not set: is needed to post statuses; give `owner/name`",
        ),
        (
            "statuses = {kind = \"gitea\", repository = \"a/b\", token_file = \"t\"}",
            "`statuses.api_url` is not set, and nobody else knows your forge; give `https://",
        ),
        (
            "statuses = {kind = \"github\", repository = \"a/../b\", token_file = \"t\"}",
            "`statuses.repository` is not the name of a repository",
        ),
        (
            "statuses = {kind = \"github\", repository = \"a/b/c\", token_file = \"t\"}",
            "`statuses.repository` is not the name of a repository",
        ),
        (
            "statuses = {kind = \"github\", repository = \"a/b\", token_file = \"t\", \
             api_url = \"https://u:p@h/\"}",
            "`statuses.api_url` is not the address of an API",
        ),
        (
            "statuses = {kind = \"gitlab\", repository = \"a/b/c\", token_file = \"t\", \
             target_url = \"javascript:x\"}",
            "`statuses.target_url` is not an address",
        ),
        ("limits.max_ttl_secs = 60", "`limits.default_ttl_secs` is 86400, longer than"),
    ] {
        let shown = faults(settings, &[("FLAGOPS_SOURCE__REPO", "a")]);
        assert!(shown.contains("1 fault:") && shown.contains(expected), "{settings}: {shown}");
    }
}

/// The example without its prose: `#key = value` shows a default, `##key = value` a setting that
/// has none.
fn uncommented(marker: &str) -> String {
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase());
    EXAMPLE
        .lines()
        .filter_map(|line| match line.strip_prefix(marker) {
            Some(setting) if is_setting(setting) => Some(setting),
            _ if line.starts_with('[') => Some(line),
            _ => None,
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn the_example_shows_exactly_the_defaults() {
    let config = load(&uncommented("#"), &[("FLAGOPS_SOURCE__REPO", "x")], &Overrides::new());
    let mut expected = Config::default();
    expected.source.repo = "x".to_owned();
    assert_eq!(config, Ok(expected));
}

#[test]
fn the_example_names_every_setting() {
    let mut layers = Layers::default();
    file::parse_into(&mut layers, Path::new("a"), &uncommented("#"));
    file::parse_into(&mut layers, Path::new("a"), &uncommented("##"));
    let config = sections::take(&mut layers);
    assert_eq!(layers.defaulted(), Vec::<&str>::new());
    assert_eq!(layers.finish(), Vec::new());
    assert!(!config.source.repo.is_empty());
}

#[test]
fn an_untouched_example_needs_a_repository_only() {
    assert_eq!(faults(EXAMPLE, &[]).lines().count(), 2);
}

#[test]
fn debug_of_the_configuration_shows_no_credentials() {
    let flags =
        Overrides::new().with("source.repo", "--repo", Some("https://u:hunter2@host/a.git"));
    let shown = format!("{:?}", load("", &[], &flags).unwrap());
    assert!(!shown.contains("hunter2") && shown.contains("host/a.git"), "{shown}");
}

#[test]
fn nearest_finds_typos_and_wrong_sections_only() {
    let known = ["source.poll_secs", "listen", "limits.max_pids", "log.format"];
    for (typo, meant) in [
        ("source.pol_sec", Some("source.poll_secs")),
        ("poll_secs", Some("source.poll_secs")),
        ("source.max_pids", Some("limits.max_pids")),
        ("lissten", Some("listen")),
        ("frobnicate", None),
        ("source.xyz", None),
    ] {
        assert_eq!(nearest(typo, known.into_iter()), meant, "{typo}");
    }
}

proptest::proptest! {
    #[test]
    fn no_file_makes_loading_panic(text in ".{0,200}") {
        let mut layers = Layers::default();
        file::parse_into(&mut layers, Path::new("a"), &text);
        let _ = sections::take(&mut layers);
        let _ = layers.finish();
    }
}
