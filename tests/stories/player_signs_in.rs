//! A player signs in from a terminal, with a code that a person lets in.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Client, Daemon, Finished, Stage, command};

/// `flagops …` against `daemon`, as somebody whose configuration is in `home`.
fn flagops(daemon: &Daemon, home: &Path, arguments: &[&str]) -> Command {
    let mut command = command(&[]);
    command.env("FLAGOPS_URL", daemon.url()).env("XDG_CONFIG_HOME", home).current_dir(home);
    command.args(arguments);
    command
}

/// A program that asks to be let in, and the code that it shows.
fn asking(daemon: &Daemon, home: &Path, arguments: &[&str]) -> (Child, String) {
    let mut login = flagops(daemon, home, arguments);
    login.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = login.spawn().expect("the program can be run");
    let mut line = String::new();
    let stderr = child.stderr.as_mut().expect("it is piped");
    BufReader::new(stderr).read_line(&mut line).expect("it says something");
    assert!(line.contains(&format!("{}/device?user_code=", daemon.url())), "{line}");
    let code = line.trim().split_once("let the code ").expect("it shows a code").1;
    (child, code.trim_end_matches(" in").to_owned())
}

fn ended(mut child: Child) -> Finished {
    let mut stderr = String::new();
    let pipe = child.stderr.as_mut().expect("it is piped");
    pipe.read_to_string(&mut stderr).expect("it can be read");
    let output = child.wait_with_output().expect("it ends");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Finished { code: output.status.code(), stdout, stderr }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_let_in_knows_who_it_is_and_signs_out_for_good() {
    let stage = Stage::with(&[]).await;
    let daemon = Daemon::start(stage.settings()).await;
    let home = stage.path("home");
    std::fs::create_dir_all(&home).expect("a folder can be made");
    let account = json!({"email": "ada@example.org", "password": "a long password of hers",
        "display_name": "Ada"});
    let registered = daemon.anonymous().post("/auth/register", account).await.expect_status(200);
    let ada = Client::new(&daemon.url().replace("http://", ""), &registered.text("token"));

    // Before anybody let it in, nobody is signed in.
    let nobody = Finished::of(&mut flagops(&daemon, &home, &["whoami"]));
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("sign in with `flagops login`"), "{nobody:?}");

    let (child, code) = asking(&daemon, &home, &["login", "--format", "json"]);
    ada.post("/auth/device/approve", json!({"user_code": code})).await.expect_status(200);
    let login = ended(child);
    assert_eq!(login.code, Some(0), "{login:?}");
    let answer: Value = serde_json::from_str(&login.stdout).expect("it is JSON");
    assert_eq!(
        (&answer["email"], &answer["url"]),
        (&json!("ada@example.org"), &json!(daemon.url()))
    );
    let kept = std::path::PathBuf::from(answer["token_file"].as_str().expect("it says where"));
    assert!(kept.starts_with(&home), "{}", kept.display());
    assert_eq!(kept.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&kept).expect("it can be read").trim().to_owned();
    assert!(!format!("{login:?}").contains(&token) && !daemon.log().contains(&token));

    let who = Finished::of(&mut flagops(&daemon, &home, &["whoami"])).fine();
    assert!(
        who.contains("ada@example.org (super_admin), by the token of `flagops login`"),
        "{who}"
    );
    Finished::of(&mut flagops(&daemon, &home, &["users", "ls"])).fine();

    // Signed out, the token is good for nobody, wherever it was copied to.
    Finished::of(&mut flagops(&daemon, &home, &["logout"])).fine();
    assert!(!kept.exists());
    let copied = Client::new(&daemon.url().replace("http://", ""), &token);
    assert_eq!(copied.get("/me").await.status, 403);
    let again = Finished::of(&mut flagops(&daemon, &home, &["logout"]));
    assert!(again.code == Some(1) && again.stderr.contains("nobody is signed in"), "{again:?}");
    assert_eq!(ada.get("/me").await.status, 200, "only that one was taken back");

    // Who opens the page may say no.
    let (child, code) = asking(&daemon, &home, &["login"]);
    ada.post("/auth/device/deny", json!({"user_code": code})).await.expect_status(200);
    let login = ended(child);
    assert_eq!(login.code, Some(1), "{login:?}");
    assert!(login.stderr.contains("did not let this program in"), "{login:?}");
    assert!(!kept.exists());
}
