//! The tables of [`super::allowed`]: which directives of OpenVPN a template of a repository may give, with
//! which words, and what is said of well-known others. Pure data.
//!
//! # Not here
//! Reading a configuration and comparing it with the tables (`allowed`).

/// The ciphers of ours.
pub(super) const CIPHERS: [&str; 3] = ["AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305"];

/// What the words after a directive may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words {
    /// What our own template gives, and it has to be there.
    Ours,
    /// Nothing.
    Flag,
    /// That many numbers within these bounds.
    Numbers(&'static [(u32, u32)]),
    /// `1.2` or `1.3`, and it has to be there.
    TlsVersion,
    /// Some of our ciphers, and it has to be there.
    Ciphers,
    /// At most as many as there is room for.
    Clients,
    /// `infinite`, or a number of seconds.
    Patience,
    /// A network of the instance.
    Route,
    /// An option for players in quotes, from [`PUSHED`].
    Push,
    /// `FRIENDLY_NAME`, and a name.
    Name,
}

/// A directive and its words.
pub(super) type Row = (&'static str, Words);

const MTU: Words = Words::Numbers(&[(576, 1500)]);
const BUFFER: Words = Words::Numbers(&[(0, 4 << 20)]);
const PING: Words = Words::Numbers(&[(1, 60)]);
const PING_RESTART: Words = Words::Numbers(&[(2, 300)]);

/// What both sides may say.
pub(super) const BOTH: &[Row] = &[
    ("auth-nocache", Words::Flag),
    ("data-ciphers", Words::Ciphers),
    ("explicit-exit-notify", Words::Numbers(&[(0, 2)])),
    ("fast-io", Words::Flag),
    ("hand-window", Words::Numbers(&[(10, 300)])),
    ("mssfix", Words::Numbers(&[(0, 1500)])),
    ("mute", Words::Numbers(&[(0, 1000)])),
    ("proto", Words::Ours),
    ("rcvbuf", BUFFER),
    ("remote-cert-tls", Words::Ours),
    ("reneg-sec", Words::Numbers(&[(60, 86_400)])),
    ("sndbuf", BUFFER),
    ("tls-timeout", Words::Numbers(&[(1, 30)])),
    ("tls-version-min", Words::TlsVersion),
    ("tran-window", Words::Numbers(&[(60, 86_400)])),
    ("tun-mtu", MTU),
    ("verb", Words::Numbers(&[(0, 4)])),
];

/// What only the gateway may say.
pub(super) const SERVER: &[Row] = &[
    ("ca", Words::Ours),
    ("ccd-exclusive", Words::Ours),
    ("cert", Words::Ours),
    ("client-config-dir", Words::Ours),
    ("connect-freq", Words::Numbers(&[(1, 1000), (1, 60)])),
    ("connect-freq-initial", Words::Numbers(&[(1, 100), (10, 60)])),
    ("dev", Words::Ours),
    ("dev-type", Words::Ours),
    ("dh", Words::Ours),
    ("disable-dco", Words::Ours),
    ("duplicate-cn", Words::Flag),
    ("group", Words::Ours),
    ("inactive", Words::Numbers(&[(60, 86_400)])),
    ("keepalive", Words::Numbers(&[(1, 60), (2, 300)])),
    ("key", Words::Ours),
    ("management", Words::Ours),
    ("max-clients", Words::Clients),
    ("persist-key", Words::Ours),
    ("persist-tun", Words::Ours),
    ("port", Words::Ours),
    ("push", Words::Push),
    ("server", Words::Ours),
    ("session-timeout", Words::Numbers(&[(60, 604_800)])),
    ("tls-crypt-v2", Words::Ours),
    ("topology", Words::Ours),
    ("txqueuelen", Words::Numbers(&[(0, 10_000)])),
    ("user", Words::Ours),
    ("verify-client-cert", Words::Ours),
];

/// What only a profile may say.
pub(super) const CLIENT: &[Row] = &[
    ("client", Words::Ours),
    ("connect-retry", Words::Numbers(&[(1, 60), (1, 300)])),
    ("connect-timeout", Words::Numbers(&[(5, 300)])),
    ("dev", Words::Ours),
    ("nobind", Words::Ours),
    ("persist-key", Words::Flag),
    ("persist-tun", Words::Flag),
    ("ping", PING),
    ("ping-restart", PING_RESTART),
    ("remote", Words::Ours),
    ("resolv-retry", Words::Patience),
    ("route", Words::Route),
    ("setenv", Words::Name),
    ("verify-x509-name", Words::Ours),
];

/// What the gateway may push to players.
pub(super) const PUSHED: &[Row] = &[
    ("explicit-exit-notify", Words::Numbers(&[(0, 2)])),
    ("inactive", Words::Numbers(&[(60, 86_400)])),
    ("ping", PING),
    ("ping-restart", PING_RESTART),
    ("route", Words::Route),
    ("tun-mtu", MTU),
];

/// Directives of their own kind, for a better word than "not on the list".
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    (
        "runs a program",
        &[
            "auth-user-pass-verify",
            "client-connect",
            "client-crresponse",
            "client-disconnect",
            "down",
            "down-pre",
            "ipchange",
            "iproute",
            "learn-address",
            "route-pre-down",
            "route-up",
            "script-security",
            "tls-crypt-v2-verify",
            "tls-verify",
            "up",
            "up-delay",
            "up-restart",
        ],
    ),
    ("loads code", &["engine", "pkcs11-providers", "plugin", "providers"]),
    (
        "reads or writes a file",
        &[
            "askpass",
            "auth-gen-token-secret",
            "auth-user-pass",
            "capath",
            "cd",
            "chroot",
            "config",
            "crl-verify",
            "extra-certs",
            "http-proxy",
            "ifconfig-pool-persist",
            "log",
            "log-append",
            "pkcs12",
            "replay-persist",
            "secret",
            "status",
            "tls-auth",
            "tls-crypt",
            "tmp-dir",
            "writepid",
        ],
    ),
    (
        "weakens the tunnel",
        &[
            "allow-compression",
            "allow-deprecated-insecure-static-crypto",
            "auth",
            "cipher",
            "comp-lzo",
            "compress",
            "data-ciphers-fallback",
            "ecdh-curve",
            "ncp-disable",
            "no-replay",
            "opt-verify",
            "providers-legacy",
            "replay-window",
            "tls-cert-profile",
            "tls-cipher",
            "tls-ciphersuites",
            "tls-groups",
            "tls-version-max",
            "username-as-common-name",
            "verify-hash",
        ],
    ),
    (
        "leads elsewhere",
        &[
            "block-outside-dns",
            "client-nat",
            "client-to-client",
            "dhcp-option",
            "dns",
            "ifconfig",
            "ifconfig-push",
            "iroute",
            "local",
            "lport",
            "multihome",
            "port-share",
            "redirect-gateway",
            "redirect-private",
            "route-gateway",
            "route-ipv6",
            "route-metric",
            "rport",
            "server-bridge",
            "server-ipv6",
            "socks-proxy",
        ],
    ),
];
