//! A bare repository that is served as a folder, by `git http-backend`, or by an `sshd` of its own;
//! and every way in which a server fails.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::forge::certify;
use super::{Remote, Settings, python, repository_root};

/// How far an answer goes while the server dies in the middle of it.
const CUT_BYTES: &str = "200000";

/// How a repository is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// As a folder of this machine.
    Folder,
    /// Over HTTPS, by `git http-backend`; only with a token.
    Https,
    /// Over SSH, by an `sshd` on loopback; only with a key.
    Ssh,
}

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not there.
    Down,
    /// It dies in the middle of a pack; of a folder, its largest object is gone.
    MidPack,
    /// It does not let the daemon in any more.
    Login,
    /// Somebody else answers in its place.
    Impostor,
}

/// It. Ends with the value.
#[derive(Debug)]
pub(crate) struct Served {
    transport: Transport,
    bare: PathBuf,
    folder: PathBuf,
    url: String,
    port: u16,
    process: Option<Child>,
    /// Files that a fault moved away, and where to.
    aside: Vec<(PathBuf, PathBuf)>,
}

impl Served {
    /// Serves `remote` from now on; its author pushes the same way as the daemon reads. Keys and
    /// certificates are put into `folder`.
    pub(crate) fn open(transport: Transport, remote: &Remote, folder: &Path) -> Self {
        let folder = folder.join("server");
        fs::create_dir_all(&folder).expect("a folder can be made");
        let mut served = Self {
            transport,
            bare: remote.bare().to_owned(),
            folder,
            url: remote.url(),
            port: 0,
            process: None,
            aside: Vec::new(),
        };
        match transport {
            Transport::Folder => (),
            Transport::Https => served.open_https(remote),
            Transport::Ssh => served.open_ssh(remote),
        }
        remote.author(&["remote", "set-url", "origin", &served.url]);
        served
    }

    /// What a daemon has to be told to get in.
    pub(crate) fn settings(&self, settings: Settings) -> Settings {
        let settings = settings.text("source.repo", &self.url);
        match self.transport {
            Transport::Folder => settings,
            Transport::Https => settings
                .text("source.token_file", &self.shown("daemon.token"))
                .variable("SSL_CERT_FILE", &self.shown("ca.crt")),
            Transport::Ssh => settings
                .text("source.ssh_key", &self.shown("daemon"))
                .text("source.known_hosts", &self.shown("known_hosts")),
        }
    }

    /// Lets it fail in a way; the daemon's next look sees that.
    pub(crate) fn fail(&mut self, fault: Fault) {
        match (fault, self.transport) {
            (Fault::Down, Transport::Folder) => self.take_away(&self.bare.clone()),
            (Fault::Down, _) => self.end(),
            (Fault::MidPack, Transport::Folder) => {
                let object = largest_object(&self.bare);
                self.take_away(&object);
            }
            (Fault::MidPack, _) => self.write("cut", CUT_BYTES),
            (Fault::Login, Transport::Folder) => lock(&self.bare),
            (Fault::Login, Transport::Https) => self.write("tokens", "TOKEN-OF-AUTHOR\n"),
            (Fault::Login, Transport::Ssh) => {
                fs::copy(self.path("author.pub"), self.path("authorized_keys"))
                    .expect("a file can be copied");
            }
            (Fault::Impostor, Transport::Folder) => panic!("a folder does not say who it is"),
            (Fault::Impostor, _) => {
                self.end();
                let place = self.folder.join("impostor");
                self.start(&place);
            }
        }
    }

    /// Everything is as it was.
    pub(crate) fn mend(&mut self) {
        for (from, to) in std::mem::take(&mut self.aside) {
            fs::rename(to, from).expect("a file can be moved");
        }
        match self.transport {
            Transport::Folder => {
                unlock(&self.bare);
                return;
            }
            Transport::Https => self.write("tokens", "TOKEN-OF-AUTHOR TOKEN-OF-DAEMON\n"),
            Transport::Ssh => {
                let keys = ["author.pub", "daemon.pub"].map(|name| self.path(name));
                let keys = keys.map(|path| fs::read_to_string(path).expect("a key was made"));
                self.write("authorized_keys", &keys.concat());
            }
        }
        let _ = fs::remove_file(self.path("cut"));
        self.end();
        let place = self.folder.clone();
        self.start(&place);
    }

    fn open_https(&mut self, remote: &Remote) {
        for place in [self.folder.clone(), self.folder.join("impostor")] {
            fs::create_dir_all(&place).expect("a folder can be made");
            certify(&place);
        }
        fs::copy(self.path("forge.crt"), self.path("ca.crt")).expect("a file can be copied");
        self.write("daemon.token", "TOKEN-OF-DAEMON\n");
        // The one way in of the author: `author:TOKEN-OF-AUTHOR`.
        let header = "Authorization: Basic YXV0aG9yOlRPS0VOLU9GLUFVVEhPUg==";
        remote.author(&["config", "http.extraHeader", header]);
        remote.author(&["config", "http.sslCAInfo", &self.shown("ca.crt")]);
        remote.author(&["config", "http.proxy", ""]);
        // One request with its length in front, whatever its size.
        remote.author(&["config", "http.postBuffer", "100000000"]);
        self.mend();
        let name = self.bare.file_name().expect("it has a name").to_string_lossy();
        self.url = format!("https://127.0.0.1:{}/{name}", self.port);
    }

    fn open_ssh(&mut self, remote: &Remote) {
        fs::create_dir_all(self.path("impostor")).expect("a folder can be made");
        for name in ["author", "daemon", "host", "impostor/host"] {
            make_key(&self.path(name));
        }
        // Whoever has a key may do these two things and no other.
        let path = std::env::var("PATH").unwrap_or_default();
        let cut = self.shown("cut");
        let script = format!(
            "#!/bin/sh
PATH='{path}'; export PATH
GIT_CONFIG_NOSYSTEM=1; GIT_CONFIG_GLOBAL=/dev/null; export GIT_CONFIG_NOSYSTEM GIT_CONFIG_GLOBAL
case $SSH_ORIGINAL_COMMAND in
git-upload-pack\\ *) [ ! -e '{cut}' ] || exec sh -c \"$SSH_ORIGINAL_COMMAND\" | stdbuf -o0 head -c \"$(cat '{cut}')\" ;;
git-receive-pack\\ *) ;;
*) exit 128 ;;
esac
[ -e '{cut}' ] || exec sh -c \"$SSH_ORIGINAL_COMMAND\"
"
        );
        self.write("door", &script);
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path("door"), mode).expect("it is ours");
        self.mend();
        let host_key = fs::read_to_string(self.path("host.pub")).expect("a key was made");
        self.write("known_hosts", &format!("[127.0.0.1]:{} {host_key}", self.port));
        let command = format!(
            "ssh -F /dev/null -i '{}' -o IdentitiesOnly=yes -o IdentityAgent=none -o UserKnownHostsFile='{}' -o \
             StrictHostKeyChecking=yes",
            self.shown("author"),
            self.shown("known_hosts")
        );
        remote.author(&["config", "core.sshCommand", &command]);
        let user = user();
        self.url = format!("ssh://{user}@127.0.0.1:{}{}", self.port, self.bare.display());
    }

    /// Starts the server with the identity of `place`, where it listened before.
    fn start(&mut self, place: &Path) {
        let (process, port) = match self.transport {
            Transport::Folder => return,
            Transport::Https => self.start_https(place),
            Transport::Ssh => self.start_ssh(place),
        };
        self.process = Some(process);
        self.port = port;
    }

    fn start_https(&self, place: &Path) -> (Child, u16) {
        let mut process = Command::new(python())
            .arg(repository_root().join("tests/stories/fixtures/git_http.py"))
            .args([place.join("forge.crt"), place.join("forge.key")])
            .arg(self.bare.parent().expect("it is inside of a folder"))
            .args([self.path("tokens"), self.path("cut")])
            .arg(self.port.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be run");
        let mut said = String::new();
        let stdout = process.stdout.as_mut().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("it says where it listens");
        (process, said.trim().parse().expect("it says a port"))
    }

    fn start_ssh(&self, place: &Path) -> (Child, u16) {
        if rustix::process::getuid().is_root() {
            // Only an `sshd` of root wants it, and only a boot makes it.
            fs::create_dir_all("/run/sshd").expect("root can make a folder");
        }
        let port = if self.port == 0 { free_port() } else { self.port };
        let lines = [
            format!("Port {port}"),
            "ListenAddress 127.0.0.1".to_owned(),
            format!("HostKey {}", place.join("host").display()),
            format!("AuthorizedKeysFile {}", self.shown("authorized_keys")),
            format!("ForceCommand {}", self.shown("door")),
            "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no".to_owned(),
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n".to_owned(),
        ];
        self.write("sshd_config", &lines.join("\n"));
        let log = File::options().create(true).append(true).open(self.path("sshd.log"));
        // It insists on its whole path.
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(self.path("sshd_config"))
            .stdin(Stdio::null())
            .stderr(log.expect("the log can be written"))
            .spawn()
            .expect("sshd is installed; `scripts/setup-host` does that");
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = fs::read_to_string(self.path("sshd.log")).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(20), "sshd does not listen: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
        (process, port)
    }

    fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn take_away(&mut self, path: &Path) {
        let to = self.path("away");
        fs::rename(path, &to).expect("a file can be moved");
        self.aside.push((path.to_owned(), to));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a file can be written");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a key pair `path`, `path.pub` without passphrase.
pub(crate) fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "story", "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Root may read every file, but git trusts no repository of another user.
pub(crate) fn lock(folder: &Path) {
    if std::os::unix::fs::chown(folder, Some(65_534), None).is_err() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o000)).expect("it is ours");
    }
}

/// Takes [`lock`] back.
pub(crate) fn unlock(folder: &Path) {
    let user = rustix::process::getuid().as_raw();
    std::os::unix::fs::chown(folder, Some(user), None).expect("it was ours");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn largest_object(bare: &Path) -> PathBuf {
    let folders = fs::read_dir(bare.join("objects")).expect("it is a repository");
    let folders = folders.map(|entry| entry.expect("its entries can be read").path());
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files = files.map(|entry| entry.expect("its entries can be read").path());
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
    files.filter(|path| path.is_file()).max_by_key(size).expect("it holds an object")
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    taken.local_addr().expect("it is bound").port()
}

fn user() -> String {
    let said = Command::new("id").arg("-un").output().expect("`id` is installed").stdout;
    String::from_utf8_lossy(&said).trim().to_owned()
}
