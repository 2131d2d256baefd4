//! What must hold between settings that are right one by one.

use super::layers::Layers;
use super::{Config, Need, forge};

/// Notes every contradiction of `config` in `layers`.
pub(super) fn check(layers: &mut Layers, config: &Config, need: Need) {
    check_source(layers, config, need);
    check_ports(layers, config);
    check_pool(layers, config);
    super::release::check(layers, &config.release);
    forge::check(layers, config);
    super::nodes::check(layers, config);
    super::ingress::check(layers, config);
    super::registry::check(layers, &config.registry);
    if config.limits.default_ttl_secs > config.limits.max_ttl_secs {
        let (default, max) = (config.limits.default_ttl_secs, config.limits.max_ttl_secs);
        layers.refuse(
            "limits.default_ttl_secs",
            format_args!("is {default}, longer than `limits.max_ttl_secs` ({max})"),
            "lower it, or raise the other",
        );
    }
    if config.gc.low_percent > config.gc.high_percent {
        let (low, high) = (config.gc.low_percent, config.gc.high_percent);
        layers.refuse(
            "gc.low_percent",
            format_args!("is {low}, above `gc.high_percent` ({high})"),
            "lower it, or raise the other",
        );
    }
    if !config.nodes.local && config.solver.gate == super::SolverGate::Required {
        layers.refuse(
            "solver.gate",
            "is `required`, and this machine runs no instances to prove challenges on",
            "prove them with `flagops solve` elsewhere, or set `nodes.local` to true",
        );
    }
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&config.log.filter) {
        layers.refuse(
            "log.filter",
            format_args!("is not a filter ({error})"),
            "give a level (`error`, `warn`, `info`, `debug`, `trace`) or `target=level` pairs",
        );
    }
    if !["unix://", "tcp://", "http://"].iter().any(|s| config.engine.endpoint.starts_with(s)) {
        layers.refuse(
            "engine.endpoint",
            "has no scheme that we speak",
            "give `unix:///path/of.sock` or `tcp://host:port`",
        );
    }
}

fn check_source(layers: &mut Layers, config: &Config, need: Need) {
    if need == Need::Daemon && !layers.is_set("source.repo") {
        layers.refuse(
            "source.repo",
            "names no challenge repository",
            "give `--repo PATH_OR_URL`, or `repo = \"…\"` below `[source]`",
        );
    }
    if config.source.repo.contains(char::is_control) {
        layers.refuse("source.repo", "contains control characters", "give a URL or a path");
    }
    if let Some(branch) = &config.source.branch
        && (branch.contains(char::is_whitespace) || branch.starts_with('-'))
    {
        layers.refuse("source.branch", "is not a branch name", "give its short name, e.g. `main`");
    }
}

fn check_ports(layers: &mut Layers, config: &Config) {
    let network = &config.network;
    let range = network.first_port..=network.last_port;
    if network.first_port < 1024 {
        layers.refuse(
            "network.first_port",
            format_args!("is {}, a privileged port", network.first_port),
            "begin at 1024 or above",
        );
    }
    if range.is_empty() {
        layers.refuse(
            "network.last_port",
            format_args!("is {}, below `network.first_port`", network.last_port),
            "swap them",
        );
    }
    if range.contains(&config.listen.port()) {
        layers.refuse(
            "listen",
            format_args!("uses port {}, which instances may publish", config.listen.port()),
            "listen outside of `network.first_port` to `network.last_port`",
        );
    }
    let host_is_fine = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    if !network.public_host.chars().all(host_is_fine) {
        layers.refuse(
            "network.public_host",
            "is neither a host name nor an address",
            "give what players type, without scheme and port",
        );
    }
}

fn check_pool(layers: &mut Layers, config: &Config) {
    let (pool, prefix_len) = (config.network.pool, config.network.prefix_len);
    if pool.addr() != pool.network() {
        layers.refuse(
            "network.pool",
            format_args!("is {pool}, an address inside of a network"),
            &format!("did you mean `{}`?", pool.trunc()),
        );
    }
    // A /30 has room for the gateway and one container.
    if prefix_len <= pool.prefix_len() || prefix_len > 30 {
        layers.refuse(
            "network.prefix_len",
            format_args!(
                "is {prefix_len}, which does not cut `network.pool` ({pool}) into networks"
            ),
            &format!("give a number from {} to 30", pool.prefix_len().saturating_add(1).min(30)),
        );
        return;
    }
    let tunnels = config.network.tunnel_pool;
    if tunnels.addr() != tunnels.network() || tunnels.prefix_len() > pool.prefix_len() {
        layers.refuse(
            "network.tunnel_pool",
            format_args!("is {tunnels}, which is no network as large as `network.pool` ({pool})"),
            &format!("give a network of /{} or larger", pool.prefix_len()),
        );
    } else if tunnels.contains(&pool) || pool.contains(&tunnels) {
        layers.refuse(
            "network.tunnel_pool",
            format_args!("is {tunnels}, which overlaps `network.pool` ({pool})"),
            "give a network that nothing else on the way to players uses",
        );
    }
    let n_networks = 1_u64 << (prefix_len - pool.prefix_len());
    let n_wanted = u64::from(config.limits.instances_per_node) + u64::from(config.network.n_ready);
    if n_networks < n_wanted {
        layers.refuse(
            "network.pool",
            format_args!(
                "has room for {n_networks} networks of /{prefix_len}, and \
                 `limits.instances_per_node` with `network.n_ready` want {n_wanted}"
            ),
            "give a larger pool, smaller networks or fewer instances",
        );
    }
}
