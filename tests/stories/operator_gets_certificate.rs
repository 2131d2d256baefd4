//! An operator lets flagops get the certificate of the door, from an authority that checks the DNS.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{Challenge, Daemon, Finished, PATIENCE, Stage, free_port, until};

const DOMAIN: &str = "ctf.test";
const NODE: &str = "node/local";
const KIND: &str = "CertificateValid";

/// An authority of its own (Pebble), and the name server that it asks; gone when dropped.
struct Authority {
    folder: PathBuf,
    api: u16,
    management: u16,
    names: u16,
    records: u16,
    children: Vec<Child>,
}

impl Authority {
    /// Its folder and ports; nothing runs yet.
    fn new(folder: PathBuf) -> Self {
        fs::create_dir(&folder).expect("a folder can be made");
        let [api, management, names, records] = [(); 4].map(|()| free_port());
        make_tls(&folder);
        Self { folder, api, management, names, records, children: Vec::new() }
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.api)
    }

    fn start(&mut self) {
        let program = std::env::var_os("FLAGOPS_TEST_PEBBLE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".run/pebble/usr/bin/pebble"),
            PathBuf::from,
        );
        assert!(
            program.is_file(),
            "{} is missing: `scripts/test` fetches it, or name one in FLAGOPS_TEST_PEBBLE",
            program.display()
        );
        let config = self.folder.join("pebble.json");
        let text = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.api),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": self.folder.join("cert.pem"),
            "privateKey": self.folder.join("key.pem"),
            "httpPort": 1,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        fs::write(&config, text.to_string()).expect("it can be written");
        let mut names = Command::new(program.with_file_name("pebble-challtestsrv"));
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &format!("127.0.0.1:{}", self.names)]);
        names.args(["-management", &format!("127.0.0.1:{}", self.records)]);
        let mut authority = Command::new(&program);
        authority.arg("-config").arg(&config).arg("-strict");
        authority.args(["-dnsserver", &format!("127.0.0.1:{}", self.names)]);
        authority.env("PEBBLE_VA_NOSLEEP", "1");
        for mut command in [names, authority] {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.children.push(command.spawn().expect("it can be run"));
        }
    }

    fn end(&mut self) {
        for mut child in self.children.drain(..) {
            // One that is over cannot be killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A hook that writes records into its name server, and what it did into a file beside it.
    fn hook(&self) -> String {
        format!(
            "#!/bin/sh
set -eu
echo \"$1 $2\" >> {}/calls
case $1 in
    present) path=set-txt body=\"{{\\\"host\\\":\\\"$2\\\",\\\"value\\\":\\\"$3\\\"}}\" ;;
    cleanup) path=clear-txt body=\"{{\\\"host\\\":\\\"$2\\\"}}\" ;;
esac
curl -fsS -d \"$body\" http://127.0.0.1:{}/$path
",
            self.folder.display(),
            self.records
        )
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.join("calls")).unwrap_or_default()
    }

    /// The root that its certificates hang on, in a file.
    fn root(&self) -> PathBuf {
        let mut command = Command::new("curl");
        command.args(["-sS", "--cacert"]).arg(self.folder.join("ca.pem"));
        command.arg(format!("https://127.0.0.1:{}/roots/0", self.management));
        let root = self.folder.join("root.pem");
        fs::write(&root, Finished::of(&mut command).fine()).expect("it can be written");
        root
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the authority itself speaks TLS with: `cert.pem` and `key.pem`, below `ca.pem`.
fn make_tls(folder: &Path) {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        Finished::of(command.current_dir(folder).args(arguments.split(' '))).fine();
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.pem"));
    openssl(&format!("req {key} -subj /CN=authority -keyout key.pem -out request.pem"));
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").expect("it can be written");
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem",
    );
}

/// The clock of the daemon, which a file sets forward.
struct Ahead {
    file: PathBuf,
    millis: i64,
}

impl Ahead {
    fn by_minutes(&mut self, minutes: i64) {
        self.millis += minutes * 60_000;
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, self.millis.to_string()).expect("it can be written");
        fs::rename(&fresh, &self.file).expect("it can be put there");
    }
}

fn put_hook(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).expect("it can be written");
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o700)).expect("it is ours");
    fs::rename(&fresh, path).expect("it can be put there");
}

/// Waits until the message of the condition has `words`.
async fn told(daemon: &Daemon, words: &str) {
    until(&format!("it is told `{words}`"), PATIENCE, || async {
        let row = daemon.admin().condition(NODE, KIND).await?;
        let message = row["message"].as_str().unwrap_or_default();
        if message.contains(words) { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_comes_from_an_authority_and_is_renewed() {
    let stage = Stage::with(&[Challenge::web("WEB-872", "one")]).await;
    let mut authority = Authority::new(stage.path("authority"));
    let mut clock = Ahead { file: stage.path("clock"), millis: 0 };
    let (hook, port) = (stage.path("hook"), free_port());
    let settings = stage
        .settings()
        .text("ingress.domain", DOMAIN)
        .text("ingress.listen", &format!("127.0.0.1:{port}"))
        .text("ingress.acme.hook", &hook.display().to_string())
        .text("ingress.acme.directory", &authority.directory())
        .text("ingress.acme.ca_file", &authority.folder.join("ca.pem").display().to_string())
        .number("ingress.acme.propagation_secs", 0)
        .variable("FLAGOPS_TEST_CLOCK", &clock.file.display().to_string());
    let mut daemon = Daemon::start(settings).await;

    // The authority does not answer: everything else works, and it is told.
    daemon.admin().stated(NODE, KIND, "False", "OrderFailed").await;
    told(&daemon, &authority.directory()).await;

    // It answers, and the hook fails: its own words are told.
    authority.start();
    put_hook(&hook, "#!/bin/sh\necho 'zone ctf.test: REFUSED' >&2\nexit 3\n");
    clock.by_minutes(3);
    told(&daemon, "failed with status 3: zone ctf.test: REFUSED").await;

    // A hook that writes nothing: the authority says what it misses.
    put_hook(&hook, "#!/bin/sh\nexit 0\n");
    clock.by_minutes(5);
    told(&daemon, "does not accept the record _acme-challenge.ctf.test.").await;

    put_hook(&hook, &authority.hook());
    clock.by_minutes(9);
    daemon.admin().stated(NODE, KIND, "True", "Ok").await;
    let name = "_acme-challenge.ctf.test.";
    assert_eq!(authority.calls(), format!("present {name}\ncleanup {name}\n"));
    let root = authority.root();
    let served = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]);
        curl.arg(&root).arg("--resolve").arg(format!("any.{DOMAIN}:{port}:127.0.0.1"));
        Finished::of(curl.arg(format!("https://any.{DOMAIN}:{port}/"))).fine()
    };
    assert_eq!(served(), "404", "a name that nobody has, behind a certificate that is trusted");
    let folder = stage.path("data/acme").join(format!("127.0.0.1-{}-dir", authority.api));
    let file = folder.join(format!("{DOMAIN}.pem"));
    let first = fs::read_to_string(&file).expect("it is kept");
    for kept in [&file, &folder.join("account.json")] {
        let mode = fs::metadata(kept).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600, "{}", kept.display());
    }

    // A restart serves what is there, and asks nobody.
    authority.end();
    daemon.kill9();
    daemon.restart().await;
    daemon.admin().stated(NODE, KIND, "True", "Ok").await;
    assert_eq!(served(), "404");
    assert_eq!(fs::read_to_string(&file).expect("it is kept"), first);

    // Four years on it is renewed: an authority that has lost everything in between gets a new account.
    authority.start();
    clock.by_minutes(4 * 365 * 24 * 60);
    until("it is renewed", PATIENCE, || async {
        let now = fs::read_to_string(&file).unwrap_or_default();
        if now == first { Err("it is the first one".to_owned()) } else { Ok(()) }
    })
    .await;
    // By that clock the new one is old already: that is told, and not asked for again at once.
    told(&daemon, "is the clock of this machine right?").await;
    assert_eq!(authority.calls().lines().count(), 4, "{}", authority.calls());
}
