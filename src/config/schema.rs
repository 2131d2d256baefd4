//! The JSON Schema of `flagops.toml`, for editors.
//!
//! Made of the settings themselves: their documentation, their ranges, and `Config::default()`.
//!
//! # Invariants
//! * Every key is optional, and its default is the real one.
//! * What loads, the schema accepts; relations between settings are checked by loading only.
//!
//! # Not here
//! Checking a file (`mod.rs`), the schemas of what authors write (`catalog::schema`).

use serde_json::{Map, Value, json};

use super::forge::{ForgeKind, StatusesConfig, WebhookConfig, WebhookKind};
use super::sections::{
    AttemptCaps, BuilderConfig, Config, EngineConfig, GcConfig, LimitsConfig, LogConfig,
    NetworkConfig, NotifyConfig, RecordsConfig, SecretsConfig, ShellConfig, SolverConfig,
    SourceConfig,
};
use crate::catalog::Gate;
use crate::catalog::schema::schema_of;

/// The schema of `flagops.toml`.
pub fn schema() -> Value {
    let mut schema = schema_of::<Config>();
    let defaults = defaults(&Config::default());
    finish(&mut schema, Some(&defaults));
    schema
}

/// Takes the duty to write a key away, and gives every setting its default.
fn finish(schema: &mut Value, default: Option<&Value>) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("required");
    match object.get_mut("properties").and_then(Value::as_object_mut) {
        Some(properties) => {
            for (key, inner) in properties {
                finish(inner, default.and_then(|default| default.get(key)));
            }
        }
        None => {
            if let Some(default) = default.filter(|default| !default.is_null()) {
                object.insert("default".to_owned(), default.clone());
            }
        }
    }
    // TOML has no null: a key is there, or it is not.
    if let Some(types) = object.get_mut("type").filter(|types| types.is_array()) {
        let kept = types.as_array().into_iter().flatten().find(|it| *it != "null").cloned();
        *types = kept.unwrap_or(Value::Null);
    }
}

/// `config` as its file would say it. A new setting does not compile until it is here.
fn defaults(config: &Config) -> Value {
    let Config {
        data_dir,
        listen,
        source,
        engine,
        network,
        ingress,
        vpn,
        builder,
        registry,
        secrets,
        gc,
        records,
        capture,
        release,
        limits,
        solver,
        shell,
        nodes,
        node,
        notify,
        statuses,
        log,
    } = config;
    let EngineConfig { endpoint } = engine;
    let BuilderConfig { n_slots, deadline_secs, network: build_network, build } = builder;
    let NotifyConfig { url_file, format: notice_format } = notify;
    let LogConfig { format, filter } = log;
    let mut all = Map::new();
    all.insert("data_dir".to_owned(), json!(data_dir));
    all.insert("listen".to_owned(), json!(listen.to_string()));
    all.insert("source".to_owned(), source_defaults(source));
    all.insert("engine".to_owned(), json!({ "endpoint": endpoint }));
    all.insert("network".to_owned(), network_defaults(network));
    all.insert("ingress".to_owned(), super::ingress::defaults(ingress));
    all.insert("vpn".to_owned(), super::vpn::defaults(vpn));
    let builder = json!({
        "n_slots": n_slots,
        "deadline_secs": deadline_secs,
        "network": build_network.as_str(),
        "build": build.as_str(),
    });
    all.insert("builder".to_owned(), builder);
    all.insert("registry".to_owned(), super::registry::defaults(registry));
    let SecretsConfig { identity_file } = secrets;
    all.insert("secrets".to_owned(), json!({ "identity_file": identity_file }));
    let GcConfig { high_percent, low_percent, min_age_secs, build_cache, build_cache_gib } = gc;
    let gc = json!({
        "high_percent": high_percent,
        "low_percent": low_percent,
        "min_age_secs": min_age_secs,
        "build_cache": build_cache.as_str(),
        "build_cache_gib": build_cache_gib,
    });
    all.insert("gc".to_owned(), gc);
    let RecordsConfig { keep_days, max_mib } = records;
    all.insert("records".to_owned(), json!({ "keep_days": keep_days, "max_mib": max_mib }));
    all.insert("capture".to_owned(), super::capture::defaults(capture));
    all.insert("release".to_owned(), super::release::defaults(release));
    all.insert("limits".to_owned(), limits_defaults(limits));
    let ShellConfig { mode } = shell;
    all.insert("shell".to_owned(), json!({ "mode": mode.as_str() }));
    all.insert("solver".to_owned(), solver_defaults(solver));
    let (nodes, node) = super::nodes::defaults(nodes, node);
    all.insert("nodes".to_owned(), nodes);
    all.insert("node".to_owned(), node);
    let notify = json!({ "url_file": url_file, "format": notice_format.as_str() });
    all.insert("notify".to_owned(), notify);
    all.insert("statuses".to_owned(), statuses_defaults(statuses));
    let log = json!({ "format": format.as_str(), "filter": filter });
    all.insert("log".to_owned(), log);
    Value::Object(all)
}

fn solver_defaults(solver: &SolverConfig) -> Value {
    let SolverConfig { gate, every_secs, deadline_secs, n_slots, skip, image } = solver;
    json!({
        "gate": gate.as_str(),
        "every_secs": every_secs,
        "deadline_secs": deadline_secs,
        "n_slots": n_slots,
        "skip": skip.as_ref().map(|ids| ids.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        "image": image,
    })
}

fn source_defaults(source: &SourceConfig) -> Value {
    let SourceConfig { repo, branch, poll_secs, ssh_key, known_hosts, token_file, webhook } =
        source;
    let WebhookConfig { kind, id, secret_file, other_secret_file } = webhook;
    json!({
        "repo": Some(repo).filter(|repo| !repo.is_empty()),
        "branch": branch,
        "poll_secs": poll_secs,
        "ssh_key": ssh_key,
        "known_hosts": known_hosts,
        "token_file": token_file,
        "webhook": {
            "kind": kind.map(WebhookKind::as_str),
            "id": id,
            "secret_file": secret_file,
            "other_secret_file": other_secret_file,
        },
    })
}

fn statuses_defaults(statuses: &StatusesConfig) -> Value {
    let StatusesConfig { kind, api_url, repository, token_file, target_url, names } = statuses;
    json!({
        "kind": kind.map(ForgeKind::as_str),
        "api_url": api_url,
        "repository": repository,
        "token_file": token_file,
        "target_url": target_url,
        "names": names,
    })
}

fn network_defaults(network: &NetworkConfig) -> Value {
    let NetworkConfig {
        pool,
        prefix_len,
        n_ready,
        publish_address,
        public_host,
        first_port,
        last_port,
        wall,
        check_secs,
        resolver,
        egress_deny,
        source_connections,
        tunnel_pool,
    } = network;
    let deny = egress_deny.as_ref().map(|deny| deny.0.iter().map(ToString::to_string));
    json!({
        "pool": pool.to_string(),
        "prefix_len": prefix_len,
        "n_ready": n_ready,
        "publish_address": publish_address,
        "public_host": public_host,
        "first_port": first_port,
        "last_port": last_port,
        "wall": wall.as_str(),
        "check_secs": check_secs,
        "resolver": resolver,
        "egress_deny": deny.map(|deny| deny.collect::<Vec<_>>().join(",")),
        "source_connections": source_connections,
        "tunnel_pool": tunnel_pool.to_string(),
    })
}

fn limits_defaults(limits: &LimitsConfig) -> Value {
    let LimitsConfig {
        instances_per_team,
        instances_per_node,
        waiting_starts,
        waiting_secs,
        fast_solve_secs,
        n_start_slots,
        start_deadline_secs,
        default_ttl_secs,
        max_ttl_secs,
        max_memory_mib,
        max_cpu_millis,
        max_pids,
        max_disk_mib,
        max_services,
        gate,
        players_see_logs,
        attempt_caps,
    } = limits;
    let AttemptCaps { single_select, multi_select, r#static } = attempt_caps;
    let gate = match gate {
        Gate::Runnable => "runnable",
        Gate::Errors => "errors",
        Gate::Warnings => "warnings",
    };
    json!({
        "instances_per_team": instances_per_team,
        "instances_per_node": instances_per_node,
        "waiting_starts": waiting_starts,
        "waiting_secs": waiting_secs,
        "fast_solve_secs": fast_solve_secs,
        "n_start_slots": n_start_slots,
        "start_deadline_secs": start_deadline_secs,
        "default_ttl_secs": default_ttl_secs,
        "max_ttl_secs": max_ttl_secs,
        "max_memory_mib": max_memory_mib,
        "max_cpu_millis": max_cpu_millis,
        "max_pids": max_pids,
        "max_disk_mib": max_disk_mib,
        "max_services": max_services,
        "gate": gate,
        "players_see_logs": players_see_logs,
        "attempt_caps": {
            "single_select": single_select,
            "multi_select": multi_select,
            "static": r#static,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{ConfigErrors, Need, Overrides};

    const EXAMPLE: &str = include_str!("../../flagops.example.toml");

    #[test]
    fn the_file_in_the_repository_is_this_schema() {
        let text = format!("{:#}\n", schema());
        assert!(
            text == include_str!("../../schema/config.schema.json"),
            "schema/config.schema.json is out of date: \
             cargo run -- schema config > schema/config.schema.json"
        );
    }

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load_for(Need::Client, Some(file.path()), BTreeMap::new(), &Overrides::new())
    }

    fn is_valid(text: &str) -> bool {
        let value: Value = toml::from_str(text).unwrap();
        jsonschema::validator_for(&schema()).unwrap().is_valid(&value)
    }

    /// Every setting: key path and schema.
    fn settings() -> BTreeMap<String, Value> {
        fn walk(schema: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
            for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if inner.get("properties").is_some() {
                    assert_eq!(inner["additionalProperties"], json!(false), "{path}");
                    walk(inner, &path, out);
                } else {
                    out.insert(path, inner.clone());
                }
            }
        }
        let mut out = BTreeMap::new();
        walk(&schema(), "", &mut out);
        out
    }

    #[test]
    fn every_line_of_the_example_is_valid_and_known() {
        // With every setting written out, those without a default too.
        let all: String = EXAMPLE
            .lines()
            .map(|line| {
                let bare = line.trim_start_matches('#');
                let is_setting = line.starts_with('#')
                    && bare.split_once(" = ").is_some_and(|(key, _)| {
                        key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                    });
                if is_setting { format!("{bare}\n") } else { format!("{line}\n") }
            })
            .collect();
        assert!(is_valid(&all));
        assert!(is_valid(""));
        let value: Value = toml::from_str(&all).unwrap();
        let pointer = |path: &String| format!("/{}", path.replace('.', "/"));
        let missing: Vec<String> =
            settings().into_keys().filter(|path| value.pointer(&pointer(path)).is_none()).collect();
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn the_defaults_load_to_the_default() {
        let lines: String = settings()
            .iter()
            .filter_map(|(path, it)| Some(format!("{path} = {}\n", it.get("default")?)))
            .collect();
        assert!(is_valid(&lines), "{lines}");
        assert_eq!(load(&lines).unwrap(), Config::default());
    }

    #[test]
    fn every_setting_says_what_it_is_for() {
        for (path, setting) in settings() {
            let text =
                setting["description"].as_str().unwrap_or_else(|| panic!("{path} is silent"));
            assert!(text.ends_with('.'), "{path}: {text}");
        }
    }

    #[test]
    fn the_bounds_of_numbers_are_those_of_the_loader() {
        let faults_of = |path: &str, number: i64| {
            let faults = load(&format!("{path} = {number}\n")).err().map(|it| it.faults);
            let own = faults.into_iter().flatten().filter(|fault| fault.key == path);
            own.map(|fault| fault.problem).collect::<Vec<String>>()
        };
        for (path, setting) in settings() {
            let bound = |name: &str| setting.get(name).and_then(Value::as_i64);
            let (Some(min), Some(max)) = (bound("minimum"), bound("maximum")) else {
                assert_ne!(setting["type"], json!("integer"), "{path} has no bounds");
                continue;
            };
            // Which networks fit depends on the pool, and ports, leases and marks on each other.
            let is_related = [
                "network.prefix_len",
                "network.first_port",
                "network.last_port",
                "gc.high_percent",
                "gc.low_percent",
            ]
            .contains(&path.as_str());
            assert!(!is_valid(&format!("{path} = {}\n", min - 1)), "{path}");
            assert!(!is_valid(&format!("{path} = {}\n", max + 1)), "{path}");
            assert!(!faults_of(&path, min - 1).is_empty(), "{path}");
            assert!(!faults_of(&path, max + 1).is_empty(), "{path}");
            if !is_related && !path.ends_with("default_ttl_secs") {
                assert_eq!(faults_of(&path, min), Vec::<String>::new(), "{path}");
                assert_eq!(faults_of(&path, max), Vec::<String>::new(), "{path}");
            }
        }
    }

    #[test]
    fn what_the_schema_refuses_the_loader_refuses() {
        for line in [
            "lissten = \"a:1\"",
            "listen = \"8100\"",
            "listen = 8100",
            "data_dir = \"\"",
            "source.poll_secs = \"soon\"",
            "source.branch = \"-x\"",
            "source.repo = \" \"",
            "source.url = \"x\"",
            "engine.endpoint = \"/var/run/docker.sock\"",
            "network.pool = \"10.0.0.0\"",
            "network.publish_address = \"localhost\"",
            "network.public_host = \"http://x/\"",
            "network.wall = \"on\"",
            "ingress.listen = 443",
            "ingress.domain = \"*.ctf.test\"",
            "ingress.certificate = \"\"",
            "ingress.acme.hook = \"\"",
            "ingress.acme.directory = \"http://ca.test/dir\"",
            "ingress.acme.contact = \"nobody\"",
            "builder.network = \"host\"",
            "registry.repository = \"library/a\"",
            "registry.repository = \"r.example/a:tag\"",
            "limits.gate = \"none\"",
            "limits.attempt_caps.dynamic = 1",
            "notify.url = \"https://hooks.example/x\"",
            "notify.format = \"xml\"",
            "notify.url_file = \"\"",
            "log.format = \"yaml\"",
            "log = 1",
        ] {
            assert!(!is_valid(line), "{line}");
            assert!(load(line).is_err(), "{line}");
        }
    }
}
