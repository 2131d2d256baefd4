//! Keys of the compose specification that no challenge may use: the rule, why, what instead.

use crate::catalog::decode::{Report, shown};
use crate::catalog::rules::{
    HARDEN001, HARDEN003, HARDEN004, HARDEN005, HARDEN006, HARDEN007, HARDEN009, HARDEN010,
    HARDEN011, HARDEN012,
};
use crate::catalog::spanned::Entry;

/// One refused key.
#[derive(Debug)]
pub(super) struct Refusal {
    key: &'static str,
    rule: &'static str,
    why: &'static str,
    instead: &'static str,
}

const fn no(
    key: &'static str,
    rule: &'static str,
    why: &'static str,
    instead: &'static str,
) -> Refusal {
    Refusal { key, rule, why, instead }
}

const LIMITS: &str = "use `deploy.resources.limits`";
const OWN_NAMES: &str = "services find each other by their names";

/// Refused at the top level.
pub(super) const TOP_LEVEL: &[Refusal] = &[
    no("name", HARDEN012, "instances are named by the platform", "remove it"),
    no("include", HARDEN009, "it reads other files", "write the services here"),
    no("configs", HARDEN009, "it reads files of the node", "copy the file in the Dockerfile"),
    no("secrets", HARDEN009, "it reads files of the node", "read the answer from `/answers/<id>`"),
    no("models", HARDEN012, "no node runs models", "run what you need as a service"),
];

/// Refused in a service.
pub(super) const SERVICE: &[Refusal] = &[
    no("privileged", HARDEN001, "it gives the container the host", "remove it"),
    no("pid", HARDEN003, "it shares a foreign process namespace", "use one container"),
    no("ipc", HARDEN003, "it shares foreign memory", "use `shm_size` or a named volume"),
    no("uts", HARDEN003, "it shares the name of the host", "use `hostname`"),
    no("userns_mode", HARDEN003, "it leaves the user namespace", "use `user`"),
    no("network_mode", HARDEN003, "it joins a foreign network", "use `networks`"),
    no("cgroup", HARDEN003, "it joins the host's cgroup namespace", "remove it"),
    no("cgroup_parent", HARDEN004, "it escapes the instance's limits", LIMITS),
    no("devices", HARDEN004, "it hands out devices of the node", "remove it"),
    no("device_cgroup_rules", HARDEN004, "it hands out devices of the node", "remove it"),
    no("gpus", HARDEN004, "it hands out devices of the node", "remove it"),
    no("runtime", HARDEN005, "the organizer chooses the runtime", "remove it"),
    no("isolation", HARDEN005, "the organizer chooses the isolation", "remove it"),
    no("security_opt", HARDEN005, "the security profile is ours", "remove it"),
    no("credential_spec", HARDEN005, "it reads credentials of the node", "remove it"),
    no("use_api_socket", HARDEN005, "it hands out the engine itself", "remove it"),
    no("provider", HARDEN012, "it runs a program of the node", "use `image` or `build`"),
    no("volumes_from", HARDEN006, "it mounts what another has", "use a named volume in both"),
    no("extra_hosts", HARDEN007, "it forges names", OWN_NAMES),
    no("dns", HARDEN007, "the resolver is the instance's", OWN_NAMES),
    no("dns_search", HARDEN007, "the resolver is the instance's", OWN_NAMES),
    no("dns_opt", HARDEN007, "the resolver is the instance's", OWN_NAMES),
    no("domainname", HARDEN007, "names of instances are ours", "use `hostname`"),
    no("links", HARDEN007, "it is obsolete", OWN_NAMES),
    no("external_links", HARDEN007, "it reaches foreign containers", OWN_NAMES),
    no("mac_address", HARDEN007, "addresses are ours", "remove it"),
    no("env_file", HARDEN009, "it reads files of the node", "use `environment`"),
    no("label_file", HARDEN009, "it reads files of the node", "use `labels`"),
    no("extends", HARDEN009, "it reads other files", "use a YAML anchor and `<<`"),
    no("configs", HARDEN009, "it reads files of the node", "copy the file in the Dockerfile"),
    no("secrets", HARDEN009, "it reads files of the node", "read the answer from `/answers/<id>`"),
    no("develop", HARDEN012, "nobody edits a running instance", "remove it"),
    no("logging", HARDEN010, "log drivers reach outside", "write to standard output"),
    no("log_driver", HARDEN010, "log drivers reach outside", "write to standard output"),
    no("log_opt", HARDEN010, "log drivers reach outside", "write to standard output"),
    no("oom_kill_disable", HARDEN011, "it can freeze the node", LIMITS),
    no("oom_score_adj", HARDEN011, "it makes others pay for memory", LIMITS),
    no("blkio_config", HARDEN011, "it names devices of the node", "remove it"),
    no("storage_opt", HARDEN011, "the storage budget is ours", "remove it"),
    no("cpu_count", HARDEN011, "there is one way to say it", LIMITS),
    no("cpu_percent", HARDEN011, "there is one way to say it", LIMITS),
    no("cpu_shares", HARDEN011, "there is one way to say it", LIMITS),
    no("cpu_period", HARDEN011, "there is one way to say it", LIMITS),
    no("cpu_quota", HARDEN011, "there is one way to say it", LIMITS),
    no("cpu_rt_runtime", HARDEN011, "it can starve the node", LIMITS),
    no("cpu_rt_period", HARDEN011, "it can starve the node", LIMITS),
    no("cpuset", HARDEN011, "cores are the node's to give", LIMITS),
    no("mem_reservation", HARDEN011, "nothing is reserved", LIMITS),
    no("mem_swappiness", HARDEN011, "instances do not swap", LIMITS),
    no("memswap_limit", HARDEN011, "instances do not swap", LIMITS),
    no("container_name", HARDEN012, "many instances run side by side", OWN_NAMES),
    no("profiles", HARDEN012, "every service is started", "remove it, or the service"),
    no("pull_policy", HARDEN012, "images are fetched before anyone starts", "remove it"),
    no("platform", HARDEN012, "the image must fit the node", "use an image for it"),
    no("scale", HARDEN012, "a service is one container", "write two services"),
    no("stdin_open", HARDEN012, "nobody is attached", "serve over a socket"),
    no("tty", HARDEN012, "nobody is attached", "serve over a socket, or use `script`"),
    no("attach", HARDEN012, "nobody is attached", "remove it"),
    no("group_add", HARDEN012, "groups of the node mean nothing here", "use `user: name:group`"),
    no("annotations", HARDEN012, "annotations steer the runtime", "remove it"),
    no("post_start", HARDEN012, "hooks may run with privileges", "use the entrypoint"),
    no("pre_stop", HARDEN012, "hooks may run with privileges", "handle `stop_signal`"),
    no("models", HARDEN012, "no node runs models", "run what you need as a service"),
];

/// Reports `entry` if `table` refuses it.
pub(super) fn report(table: &[Refusal], place: &str, entry: &Entry, report: &mut Report) -> bool {
    let Some(refusal) = table.iter().find(|refusal| refusal.key == entry.key) else {
        return false;
    };
    let message = format!("`{}` is not allowed in {place}: {}", shown(&entry.key), refusal.why);
    report.refuse(refusal.rule, entry.key_span, message, refusal.instead);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::rules;

    #[test]
    fn the_page_of_the_rule_names_every_refused_key() {
        for refusal in TOP_LEVEL.iter().chain(SERVICE) {
            let rule = rules::find(refusal.rule).unwrap();
            let key = format!("`{}`", refusal.key);
            assert!(rule.why.contains(&key), "{} does not name {key}", refusal.rule);
        }
    }
}
