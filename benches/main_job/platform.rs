//! A real `flagops serve` on a real bare remote, asked over HTTP.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Process;

/// What every container of the benchmark runs, ours and the floor's.
pub(crate) const COMMAND: &[&str] = &["httpd", "-f", "-p", "8080", "-h", "/etc"];

/// Between two questions of a waiting client.
const POLL: Duration = Duration::from_millis(10);

/// A running daemon with its remote, removed with everything it made.
pub(crate) struct Platform {
    // Dropped first: what it made is removed by what is in the directory.
    process: Process,
    dir: tempfile::TempDir,
    base: String,
    client: reqwest::Client,
    token: String,
}

/// An instance that became ready.
pub(crate) struct Started {
    /// Its id.
    pub(crate) id: String,
    /// From the request until its first HTTP answer.
    pub(crate) took: Duration,
}

impl Platform {
    /// Serves challenges of `(id, number of services)` and waits until all are live.
    pub(crate) async fn start(challenges: &[(&str, usize)]) -> Result<Self> {
        Self::start_with(challenges, &[]).await
    }

    /// The same with other settings.
    pub(crate) async fn start_with(
        challenges: &[(&str, usize)],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let remote = dir.path().join("remote.git");
        commit(&remote, dir.path(), challenges)?;
        Self::serve(dir, &remote, challenges.len(), variables).await
    }

    /// Serves one challenge whose metadata say `more`.
    pub(crate) async fn start_saying(id: &str, more: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let remote = dir.path().join("remote.git");
        let folder = dir.path().join("work").join("BENCH").join(id);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("metadata.yaml"), format!("{METADATA}{more}"))?;
        std::fs::write(folder.join("docker-compose.yml"), compose(1))?;
        push(&dir.path().join("work"), &remote)?;
        Self::serve(dir, &remote, 1, &[]).await
    }

    /// A platform that runs no instances, and its one node, which builds what goes live; and what the
    /// two show each other.
    pub(crate) async fn start_apart(
        challenges: &[(&str, usize)],
        of_node: &[(&str, &str)],
    ) -> Result<(Self, Process, String)> {
        let dir = tempfile::tempdir()?;
        let remote = dir.path().join("remote.git");
        commit(&remote, dir.path(), challenges)?;
        let alone = [("FLAGOPS_NODES__LOCAL", "false"), ("FLAGOPS_NETWORK__POOL", "10.98.0.0/16")];
        let mut platform = Self::begin(dir, &remote, &alone)?;
        platform.until("it to serve", || async { Ok(platform.is_alive().await) }).await?;
        let (node, token) = platform.add_node(of_node).await?;
        platform.wait_until_live(challenges.len()).await?;
        platform.token = platform.token_of("bench".to_owned()).await?;
        Ok((platform, node, token))
    }

    /// Serves one engagement: a gateway, and one service behind it.
    pub(crate) async fn start_engagement(id: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let remote = dir.path().join("remote.git");
        let folder = dir.path().join("work").join("NET").join(id);
        std::fs::create_dir_all(&folder)?;
        let metadata = format!("{METADATA}network_topology: engagement\n");
        std::fs::write(folder.join("metadata.yaml"), metadata)?;
        std::fs::write(folder.join("docker-compose.yml"), compose(1) + GATEWAY)?;
        push(&dir.path().join("work"), &remote)?;
        Self::serve(dir, &remote, 1, &[]).await
    }

    async fn serve(
        dir: tempfile::TempDir,
        remote: &Path,
        n_challenges: usize,
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let mut platform = Self::begin(dir, remote, variables)?;
        platform.wait_until_live(n_challenges).await?;
        platform.token = platform.token_of("bench".to_owned()).await?;
        Ok(platform)
    }

    fn begin(dir: tempfile::TempDir, remote: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let process = Process::serve(remote, &dir.path().join("data"), variables)?;
        let base = process.url();
        Ok(Self { process, dir, base, client: reqwest::Client::new(), token: String::new() })
    }

    async fn is_alive(&self) -> bool {
        let ready = self.client.get(format!("{}/healthz", self.base)).send().await;
        ready.is_ok_and(|answer| answer.status().is_success())
    }

    /// A node of it, once it follows what is live, and what it is shown by its platform.
    async fn add_node(&self, variables: &[(&str, &str)]) -> Result<(Process, String)> {
        let admin = self.process.admin_token()?;
        let invited = self.client.post(format!("{}/api/v1/nodes/invites", self.base));
        let invited = invited.bearer_auth(&admin).json(&serde_json::json!({"ttl_seconds": 600}));
        let invite: Value = invited.send().await?.error_for_status()?.json().await?;
        let invite = invite["registration_token"].as_str().context("no invite")?;
        let data = self.dir.path().join("node");
        let node = Process::node(&self.base, invite, &data, variables)?;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(120) {
            let nodes = self.client.get(format!("{}/api/v1/nodes", self.base));
            let nodes: Value = nodes.bearer_auth(&admin).send().await?.json().await?;
            if nodes["items"][0]["generation"].as_u64() > Some(0) {
                let identity = std::fs::read(data.join("node.json"))?;
                let identity: Value = serde_json::from_slice(&identity)?;
                let token = identity["token"].as_str().context("no token")?;
                return Ok((node, token.to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the node did not follow within 120 s")
    }

    /// Ends the daemon; what it started keeps running.
    pub(crate) async fn stop_daemon(&mut self) -> Result<()> {
        self.process.end().await
    }

    /// Starts it again on the same data, without waiting.
    pub(crate) fn start_daemon_again(&mut self) -> Result<()> {
        self.process.start_again()
    }

    /// Whether it serves, its engine is proved, and it has nothing to do.
    pub(crate) async fn is_converged(&self) -> Result<bool> {
        let ready = self.client.get(format!("{}/readyz", self.base)).send().await;
        if !ready.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(false);
        }
        let admin = self.process.admin_token()?;
        let plan = self.client.get(format!("{}/api/v1/gitops/plan", self.base));
        let plan: Value = plan.bearer_auth(&admin).send().await?.error_for_status()?.json().await?;
        Ok(plan["items"].as_array().is_some_and(Vec::is_empty))
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// The administrator's token.
    pub(crate) fn admin_token(&self) -> Result<String> {
        self.process.admin_token()
    }

    /// What its own node has built: the state by key.
    pub(crate) async fn builds(&self) -> Result<Value> {
        let builds = self.client.get(format!("{}/api/v1/gitops/builds", self.base));
        let builds = builds.bearer_auth(self.admin_token()?).send().await?.error_for_status()?;
        let builds: Value = builds.json().await?;
        let items = builds["items"].as_array().context("a list of builds")?;
        let key = |it: &Value| Some((it["key"].as_str()?.to_owned(), Value::from("built")));
        Ok(Value::Object(items.iter().filter_map(key).collect()))
    }

    /// A token of the team of this name.
    pub(crate) async fn token_of(&self, team: String) -> Result<String> {
        let order = serde_json::json!({"team": team});
        let answer = self.ask_as(&self.admin_token()?, "/api/v1/admin/tokens", &order).await?;
        Ok(answer["token"].as_str().context("no token in the answer")?.to_owned())
    }

    /// Posts as whoever has `token`.
    pub(crate) async fn ask_as(&self, token: &str, path: &str, body: &Value) -> Result<Value> {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth(token);
        let answer = request.json(body).send().await?;
        if !answer.status().is_success() {
            bail!("{path}: {} {}", answer.status(), answer.text().await?);
        }
        Ok(answer.json().await?)
    }

    /// Instances that are ready, whoever has them.
    pub(crate) async fn n_ready(&self) -> Result<usize> {
        let all =
            self.client.get(format!("{}/api/v1/admin/instances?status=ready&limit=1", self.base));
        let all = all.bearer_auth(self.admin_token()?).send().await?.error_for_status()?;
        let all: Value = all.json().await?;
        Ok(usize::try_from(all["total"].as_u64().context("a total")?)?)
    }

    /// The processor time that it took so far.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
        // utime and stime, in hundredths: fields 14 and 15 of proc(5).
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }

    /// Waits until `look` says so, two minutes at most.
    pub(crate) async fn until<F: Future<Output = Result<bool>>>(
        &self,
        what: &str,
        look: impl Fn() -> F,
    ) -> Result<()> {
        let begin = Instant::now();
        while !look().await? {
            if begin.elapsed() > Duration::from_secs(120) {
                bail!("waited 120 s for {what}");
            }
            // Not often: what is asked for takes time from what is measured.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn wait_until_live(&self, n: usize) -> Result<()> {
        let is_live = || async {
            let page = self.get("/api/v1/challenges?limit=10000").await;
            Ok(page.is_ok_and(|page| page["total"].as_u64() == Some(n as u64)))
        };
        self.until("the challenges to be live", is_live).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.token);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Starts an instance and waits until it is ready and answers on its real host port.
    pub(crate) async fn start_instance(&self, challenge: &str) -> Result<Started> {
        // Ten clients that ask all the time would take the cores from the engine.
        self.start_and_look(challenge, POLL).await
    }

    /// The same, with a look every `poll`.
    pub(crate) async fn start_and_look(&self, challenge: &str, poll: Duration) -> Result<Started> {
        let begin = Instant::now();
        let answer: Value = self
            .client
            .post(format!("{}/api/v1/instances", self.base))
            .bearer_auth(&self.token)
            .json(&serde_json::json!({"challenge_id": challenge}))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        let id = answer["id"].as_str().context("no id in the answer")?.to_owned();
        loop {
            let status = self.get(&format!("/api/v1/instances/{id}/status")).await?;
            match status["status"].as_str() {
                Some("ready") => {
                    // Behind a gateway nothing is published: our probe has asked it.
                    if let Some(port) = status["attack_surface"]["services"][0]["port"].as_u64() {
                        super::floor::answer(u16::try_from(port)?).await?;
                    }
                    return Ok(Started { id, took: begin.elapsed() });
                }
                Some("starting") => tokio::time::sleep(poll).await,
                _ => bail!("instance {id} failed: {}", status["error"]),
            }
        }
    }

    /// Stops an instance and waits until no container of it is left.
    pub(crate) async fn stop_instance(&self, id: &str) -> Result<Duration> {
        let begin = Instant::now();
        self.client
            .delete(format!("{}/api/v1/instances/{id}", self.base))
            .bearer_auth(&self.token)
            .send()
            .await?
            .error_for_status()?;
        while containers(&format!("flagops.instance={id}"))? > 0 {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        Ok(begin.elapsed())
    }

    /// Starts `n` instances at once; the time until all answer. Stops them afterwards.
    pub(crate) async fn start_many(&self, challenge: &str, n: usize) -> Result<Duration> {
        let begin = Instant::now();
        let started =
            futures_util::future::try_join_all((0..n).map(|_| self.start_instance(challenge)))
                .await?;
        let took = begin.elapsed();
        for one in started {
            self.stop_instance(&one.id).await?;
        }
        Ok(took)
    }
}

fn containers(label: &str) -> Result<usize> {
    let output = Command::new("docker")
        .args(["ps", "-aq", "--filter", &format!("label={label}")])
        .output()?;
    Ok(output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count())
}

/// A bare remote whose one commit holds the challenges.
fn commit(remote: &Path, dir: &Path, challenges: &[(&str, usize)]) -> Result<()> {
    let work = dir.join("work");
    for (id, n_services) in challenges {
        let folder = work.join("BENCH").join(id);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("metadata.yaml"), METADATA)?;
        std::fs::write(folder.join("docker-compose.yml"), compose(*n_services))?;
    }
    push(&work, remote)
}

/// What every challenge of the benchmark says of itself.
pub(crate) const METADATA: &str = "name: Bench\ndescription: Answers as fast as it can.\ndifficulty: easy\ntags: [bench]\ncategory: web\n";

/// The gateway of an engagement.
const GATEWAY: &str = "  openvpn:
    image: ctfy/openvpn-base:1
    ports: [1194/udp]
    healthcheck: {test: [CMD, 'true']}
    mem_limit: 128m
    cpus: 0.5
";

/// Services as the floor runs them. The health interval is what authors write: 10 s.
fn compose(n_services: usize) -> String {
    let command: Vec<_> = COMMAND.iter().map(|arg| format!("'{arg}'")).collect();
    let command = command.join(", ");
    let service = |nth| {
        format!(
            "  web{nth}:
    image: busybox:latest
    command: [{command}]
    ports: [8080]
    mem_limit: 64m
    cpus: 0.5
    pids_limit: 64
    healthcheck:
      test: [CMD, wget, -q, -O, /dev/null, 'http://127.0.0.1:8080/hosts']
      interval: 10s
"
        )
    };
    let services: String = (0..n_services).map(service).collect();
    format!("services:\n{services}")
}

/// Commits everything in `work` and pushes it to the bare repository `remote`.
pub(crate) fn push(work: &Path, remote: &Path) -> Result<()> {
    let git = |dir: &Path, args: &[&str]| -> Result<()> {
        let status = Command::new("git")
            .current_dir(dir)
            .args(["-c", "user.name=bench", "-c", "user.email=bench@example.invalid"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("git {} failed in {}", args.join(" "), dir.display());
        }
        Ok(())
    };
    if !remote.exists() {
        std::fs::create_dir_all(remote)?;
        git(remote, &["init", "--bare", "--initial-branch=main", "."])?;
    }
    if !work.join(".git").exists() {
        git(work, &["init", "--initial-branch=main", "."])?;
    }
    git(work, &["add", "-A"])?;
    git(work, &["commit", "--allow-empty", "-m", "bench"])?;
    git(work, &["push", "--force", remote.to_str().context("a path in UTF-8")?, "main"])
}
