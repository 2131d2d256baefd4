//! The system calls that a container may make: one table of ours, given to the engine as JSON.
//!
//! What is not in [`ALLOWED`] is refused with `EPERM`, today's calls and those of later kernels. A call
//! that needs a capability is in the table where we can give that capability; the kernel refuses it to
//! whoever has not.
//!
//! In:  nothing. Out: the text for the engine's `seccomp=` option. Pure.
//!
//! # Invariants
//! * No new namespace, by no call: not by `unshare`, `setns`, `clone` with such a flag, or `clone3`.
//! * No mount, module, BPF program, keyring, `io_uring`, `userfaultfd` or performance counter.
//! * Sockets of the families in [`FAMILIES`] only, and of netlink only what is about routes. The
//!   multiplexer `socketcall` of 32-bit programs hides the family, so it is refused as a whole.
//! * A process may trace its own children: debuggers are tools of the trade (`contract/security.md`
//!   §3.2). The kernel keeps them inside of the container.

mod calls;

use std::sync::LazyLock;

use serde_json::{Value, json};

use self::calls::ALLOWED;
use crate::release::spec::Profile;

/// Families of sockets: local, IPv4, IPv6, and raw packets for whoever has the capability.
const FAMILIES: &[u32] = &[1, 2, 10, 17];

/// Netlink, of which only the protocol about routes is allowed: programs list interfaces by it.
const NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
/// About packet filters: for our own VPN gateway only.
const NETLINK_NETFILTER: u32 = 12;

/// Every flag of `clone` that asks for a new namespace.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// What `personality` may ask for: to ask, Linux, Linux of 32 bits, each with the addresses of an old
/// kernel, and no randomness of addresses, which debuggers want.
const PERSONALITIES: &[u32] = &[0, 8, 0x2_0000, 0x2_0008, 0x4_0000, 0x4_0008, 0xffff_ffff];

/// `ENOSYS`: who sees it uses the older call.
const NO_SUCH_CALL: u32 = 38;

/// The profile of a container that may do what `role` says.
pub(super) fn profile(role: Profile) -> &'static str {
    static SERVICE: LazyLock<String> = LazyLock::new(|| as_json(Profile::Default).to_string());
    static GATEWAY: LazyLock<String> = LazyLock::new(|| as_json(Profile::Gateway).to_string());
    match role {
        Profile::Default => &SERVICE,
        Profile::Gateway => &GATEWAY,
    }
}

fn as_json(role: Profile) -> Value {
    let mut rules: Vec<Value> = ALLOWED.iter().map(|(_, names)| allow(names, &[])).collect();
    rules.extend(FAMILIES.iter().map(|&family| allow(&["socket"], &[equal(0, family)])));
    rules.push(allow(&["socket"], &[equal(0, NETLINK), equal(2, NETLINK_ROUTE)]));
    if role == Profile::Gateway {
        // It puts up a packet filter of its own.
        rules.push(allow(&["socket"], &[equal(0, NETLINK), equal(2, NETLINK_NETFILTER)]));
    }
    rules.push(allow(&["clone"], &[masked(0, NEW_NAMESPACES, 0)]));
    rules.extend(PERSONALITIES.iter().map(|&it| allow(&["personality"], &[equal(0, it)])));
    // Its flags are in memory, where no filter can read them.
    rules.push(json!({
        "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": NO_SUCH_CALL,
    }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": rules,
    })
}

fn allow(names: &[&str], arguments: &[Value]) -> Value {
    json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": arguments })
}

/// The argument with this index is `value`.
fn equal(index: u32, value: u32) -> Value {
    json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" })
}

/// The argument with this index, where `mask` is set, is `value`.
fn masked(index: u32, mask: u32, value: u32) -> Value {
    json!({ "index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ" })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn allowed() -> BTreeSet<&'static str> {
        ALLOWED.iter().flat_map(|(_, names)| names.iter().copied()).collect()
    }

    #[test]
    fn only_a_gateway_may_speak_of_packet_filters() {
        assert!(!profile(Profile::Default).contains(&equal(2, NETLINK_NETFILTER).to_string()));
        assert!(profile(Profile::Gateway).contains(&equal(2, NETLINK_NETFILTER).to_string()));
    }

    #[test]
    fn what_leads_out_of_a_container_is_in_no_group() {
        let allowed = allowed();
        for call in [
            "unshare",
            "setns",
            "clone3",
            "mount",
            "umount",
            "umount2",
            "pivot_root",
            "fsopen",
            "fsmount",
            "fsconfig",
            "fspick",
            "move_mount",
            "open_tree",
            "mount_setattr",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "add_key",
            "keyctl",
            "request_key",
            "kexec_load",
            "kexec_file_load",
            "init_module",
            "finit_module",
            "delete_module",
            "create_module",
            "open_by_handle_at",
            "reboot",
            "swapon",
            "swapoff",
            "acct",
            "quotactl",
            "syslog",
            "settimeofday",
            "clock_settime",
            "clock_adjtime",
            "adjtimex",
            "stime",
            "iopl",
            "ioperm",
            "lookup_dcookie",
            "nfsservctl",
            "vhangup",
            "sethostname",
            "setdomainname",
            "socketcall",
            "fanotify_init",
            "fanotify_mark",
            "mbind",
            "migrate_pages",
            "move_pages",
            "socket",
            "clone",
            "personality",
        ] {
            assert!(!allowed.contains(call), "`{call}` is allowed whatever its arguments are");
        }
    }

    #[test]
    fn debuggers_and_threads_work() {
        let allowed = allowed();
        for call in ["ptrace", "process_vm_readv", "futex", "execve", "rt_sigaction", "epoll_pwait"]
        {
            assert!(allowed.contains(call), "{call}");
        }
    }

    #[test]
    fn the_text_is_what_an_engine_reads() {
        let profile: Value = serde_json::from_str(profile(Profile::Default)).unwrap();
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        let rules = profile["syscalls"].as_array().unwrap();
        let of = |name: &str| -> Vec<&Value> {
            let has = |rule: &&Value| rule["names"].as_array().unwrap().contains(&json!(name));
            rules.iter().filter(has).collect()
        };
        let families: Vec<_> =
            of("socket").iter().map(|rule| rule["args"][0]["value"].as_u64().unwrap()).collect();
        assert_eq!(families, [1, 2, 10, 17, 16]);
        assert_eq!(of("socket")[4]["args"][1]["index"], 2);
        assert_eq!(of("clone").len(), 1);
        assert_eq!(of("clone")[0]["args"][0]["value"], 0x7e02_0000);
        assert_eq!((of("clone3").len(), &of("clone3")[0]["errnoRet"]), (1, &json!(38)));
        assert!(rules.iter().all(|rule| rule["action"] != "SCMP_ACT_LOG"));
    }
}
