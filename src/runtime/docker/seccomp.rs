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

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::release::spec::Profile;

/// Calls that are allowed whatever their arguments are, by what they are for.
const ALLOWED: &[(&str, &[&str])] = &[
    (
        "files",
        &[
            "access",
            "faccessat",
            "faccessat2",
            "open",
            "openat",
            "openat2",
            "creat",
            "close",
            "close_range",
            "read",
            "readv",
            "pread64",
            "preadv",
            "preadv2",
            "write",
            "writev",
            "pwrite64",
            "pwritev",
            "pwritev2",
            "lseek",
            "_llseek",
            "stat",
            "stat64",
            "lstat",
            "lstat64",
            "fstat",
            "fstat64",
            "fstatat64",
            "newfstatat",
            "statx",
            "statfs",
            "statfs64",
            "fstatfs",
            "fstatfs64",
            "truncate",
            "truncate64",
            "ftruncate",
            "ftruncate64",
            "fallocate",
            "fadvise64",
            "fadvise64_64",
            "arm_fadvise64_64",
            "readahead",
            "fsync",
            "fdatasync",
            "sync",
            "syncfs",
            "sync_file_range",
            "sync_file_range2",
            "flock",
            "fcntl",
            "fcntl64",
            "ioctl",
            "dup",
            "dup2",
            "dup3",
            "pipe",
            "pipe2",
            "sendfile",
            "sendfile64",
            "splice",
            "tee",
            "vmsplice",
            "copy_file_range",
            "umask",
            "cachestat",
            "ustat",
        ],
    ),
    (
        "folders and names",
        &[
            "getcwd",
            "chdir",
            "fchdir",
            "chroot",
            "mkdir",
            "mkdirat",
            "rmdir",
            "getdents",
            "getdents64",
            "readdir",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "readlink",
            "readlinkat",
            "unlink",
            "unlinkat",
            "rename",
            "renameat",
            "renameat2",
            "mknod",
            "mknodat",
            "chmod",
            "fchmod",
            "fchmodat",
            "fchmodat2",
            "chown",
            "chown32",
            "fchown",
            "fchown32",
            "fchownat",
            "lchown",
            "lchown32",
            "utime",
            "utimes",
            "utimensat",
            "utimensat_time64",
            "futimesat",
            "getxattr",
            "lgetxattr",
            "fgetxattr",
            "setxattr",
            "lsetxattr",
            "fsetxattr",
            "listxattr",
            "llistxattr",
            "flistxattr",
            "removexattr",
            "lremovexattr",
            "fremovexattr",
            "name_to_handle_at",
            "inotify_init",
            "inotify_init1",
            "inotify_add_watch",
            "inotify_rm_watch",
        ],
    ),
    (
        "memory",
        &[
            "brk",
            "mmap",
            "mmap2",
            "munmap",
            "mremap",
            "mprotect",
            "pkey_alloc",
            "pkey_free",
            "pkey_mprotect",
            "madvise",
            "process_madvise",
            "mincore",
            "msync",
            "mlock",
            "mlock2",
            "mlockall",
            "munlock",
            "munlockall",
            "remap_file_pages",
            "membarrier",
            "memfd_create",
            "memfd_secret",
            "mseal",
            "map_shadow_stack",
            "set_mempolicy_home_node",
        ],
    ),
    (
        "processes and threads",
        &[
            "fork",
            "vfork",
            "execve",
            "execveat",
            "exit",
            "exit_group",
            "wait4",
            "waitid",
            "waitpid",
            "kill",
            "tkill",
            "tgkill",
            "pidfd_open",
            "pidfd_send_signal",
            "getpid",
            "getppid",
            "gettid",
            "getpgid",
            "getpgrp",
            "setpgid",
            "getsid",
            "setsid",
            "prctl",
            "arch_prctl",
            "set_tid_address",
            "set_thread_area",
            "get_thread_area",
            "set_tls",
            "modify_ldt",
            "rseq",
            "set_robust_list",
            "get_robust_list",
            "futex",
            "futex_time64",
            "futex_waitv",
            "futex_wait",
            "futex_wake",
            "futex_requeue",
            "sched_yield",
            "sched_getaffinity",
            "sched_setaffinity",
            "sched_getattr",
            "sched_setattr",
            "sched_getparam",
            "sched_setparam",
            "sched_getscheduler",
            "sched_setscheduler",
            "sched_get_priority_max",
            "sched_get_priority_min",
            "sched_rr_get_interval",
            "sched_rr_get_interval_time64",
            "getpriority",
            "setpriority",
            "ioprio_get",
            "ioprio_set",
            "getrlimit",
            "setrlimit",
            "ugetrlimit",
            "prlimit64",
            "getrusage",
            "times",
            "getcpu",
            "restart_syscall",
            "seccomp",
            "landlock_create_ruleset",
            "landlock_add_rule",
            "landlock_restrict_self",
        ],
    ),
    // Within the container: process numbers and users of others do not exist in it.
    ("tracing", &["ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"]),
    (
        "users and groups",
        &[
            "getuid",
            "getuid32",
            "geteuid",
            "geteuid32",
            "getgid",
            "getgid32",
            "getegid",
            "getegid32",
            "getresuid",
            "getresuid32",
            "getresgid",
            "getresgid32",
            "getgroups",
            "getgroups32",
            "setuid",
            "setuid32",
            "setgid",
            "setgid32",
            "setreuid",
            "setreuid32",
            "setregid",
            "setregid32",
            "setresuid",
            "setresuid32",
            "setresgid",
            "setresgid32",
            "setfsuid",
            "setfsuid32",
            "setfsgid",
            "setfsgid32",
            "setgroups",
            "setgroups32",
            "capget",
            "capset",
        ],
    ),
    (
        "signals",
        &[
            "rt_sigaction",
            "rt_sigprocmask",
            "rt_sigpending",
            "rt_sigqueueinfo",
            "rt_sigreturn",
            "rt_sigsuspend",
            "rt_sigtimedwait",
            "rt_sigtimedwait_time64",
            "rt_tgsigqueueinfo",
            "sigaction",
            "sigaltstack",
            "signal",
            "signalfd",
            "signalfd4",
            "sigpending",
            "sigprocmask",
            "sigreturn",
            "sigsuspend",
            "pause",
            "alarm",
        ],
    ),
    (
        "time",
        &[
            "time",
            "gettimeofday",
            "clock_gettime",
            "clock_gettime64",
            "clock_getres",
            "clock_getres_time64",
            "clock_nanosleep",
            "clock_nanosleep_time64",
            "nanosleep",
            "getitimer",
            "setitimer",
            "timer_create",
            "timer_delete",
            "timer_getoverrun",
            "timer_gettime",
            "timer_gettime64",
            "timer_settime",
            "timer_settime64",
            "timerfd_create",
            "timerfd_gettime",
            "timerfd_gettime64",
            "timerfd_settime",
            "timerfd_settime64",
        ],
    ),
    (
        "waiting for many things",
        &[
            "select",
            "_newselect",
            "pselect6",
            "pselect6_time64",
            "poll",
            "ppoll",
            "ppoll_time64",
            "epoll_create",
            "epoll_create1",
            "epoll_ctl",
            "epoll_ctl_old",
            "epoll_wait",
            "epoll_wait_old",
            "epoll_pwait",
            "epoll_pwait2",
            "eventfd",
            "eventfd2",
            "io_setup",
            "io_submit",
            "io_cancel",
            "io_getevents",
            "io_pgetevents",
            "io_pgetevents_time64",
            "io_destroy",
        ],
    ),
    (
        "open sockets",
        &[
            "socketpair",
            "bind",
            "connect",
            "listen",
            "accept",
            "accept4",
            "getsockname",
            "getpeername",
            "getsockopt",
            "setsockopt",
            "shutdown",
            "send",
            "sendto",
            "sendmsg",
            "sendmmsg",
            "recv",
            "recvfrom",
            "recvmsg",
            "recvmmsg",
            "recvmmsg_time64",
        ],
    ),
    // They have a namespace of the container's own.
    (
        "queues, semaphores and shared memory",
        &[
            "ipc",
            "msgctl",
            "msgget",
            "msgrcv",
            "msgsnd",
            "semctl",
            "semget",
            "semop",
            "semtimedop",
            "semtimedop_time64",
            "shmat",
            "shmctl",
            "shmdt",
            "shmget",
            "mq_open",
            "mq_unlink",
            "mq_notify",
            "mq_getsetattr",
            "mq_timedreceive",
            "mq_timedreceive_time64",
            "mq_timedsend",
            "mq_timedsend_time64",
        ],
    ),
    ("what the machine is", &["uname", "sysinfo", "getrandom", "cacheflush", "breakpoint"]),
];

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
