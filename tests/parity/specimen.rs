//! Valid challenges of every kind, as values that mutations change.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::yaml::{self, Style};

/// A challenge before it is written.
#[derive(Debug, Clone)]
pub(crate) struct Specimen {
    /// What kind it is.
    pub(crate) kind: Kind,
    /// `metadata.yaml`.
    pub(crate) metadata: Value,
    /// `docker-compose.yml`, if there is one.
    pub(crate) compose: Option<Value>,
    /// Everything else, and files whose text is not made from the values above.
    pub(crate) files: BTreeMap<String, String>,
}

/// Kinds of challenges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Web,
    Pwn,
    Crypto,
    Reverse,
    Quiz,
    MiscService,
    Engagement,
}

impl Kind {
    pub(crate) const ALL: &'static [Self] = &[
        Self::Web,
        Self::Pwn,
        Self::Crypto,
        Self::Reverse,
        Self::Quiz,
        Self::MiscService,
        Self::Engagement,
    ];

    /// Whether something runs.
    pub(crate) fn has_compose(self) -> bool {
        !matches!(self, Self::Reverse | Self::Quiz)
    }
}

const EXPLOIT: &str = r#""""Reference solution."""
from ctfy.challenge.exploit import ExploitBase, run_exploit


class Exploit(ExploitBase):
    def run(self) -> dict[str, str]:
        page = self.session.get(f"{self.base_url}/").text
        return {"flag": self.match_flag(page)}


if __name__ == "__main__":
    run_exploit(Exploit)
"#;

const ROTATE: &str = "#!/bin/sh\nprintf %s \"${ANSWER_FLAG:-FLAG{samplemainanswer}}\" >/out/flag\n";

impl Specimen {
    /// A valid challenge of `kind`: neither we nor the reference find anything.
    pub(crate) fn new(kind: Kind) -> Self {
        let compose = kind.has_compose().then(|| compose(kind));
        let mut specimen = Self { kind, metadata: metadata(kind), compose, files: files(kind) };
        if kind == Kind::Quiz {
            specimen.files.clear();
        }
        specimen
    }

    /// The field `key` of the metadata.
    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.metadata[key] = value;
    }

    /// The services, unless an earlier mutation broke them.
    pub(crate) fn services(&mut self) -> Option<&mut Map<String, Value>> {
        self.compose.as_mut()?.get_mut("services")?.as_object_mut()
    }

    /// The service `name`, if it is still a mapping.
    pub(crate) fn named(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.services()?.get_mut(name)?.as_object_mut()
    }

    /// The service that players reach, or the one behind the gateway.
    pub(crate) fn service(&mut self) -> Option<&mut Map<String, Value>> {
        self.named("web")
    }

    /// The sidecar that writes answers.
    pub(crate) fn rotator(&mut self) -> Option<&mut Map<String, Value>> {
        self.named("flag-rotator")
    }

    /// The questions, if they are still a list.
    pub(crate) fn questions(&mut self) -> Option<&mut Vec<Value>> {
        self.metadata.get_mut("questions")?.as_array_mut()
    }

    /// The first question, if it is still a mapping.
    pub(crate) fn question(&mut self) -> Option<&mut Map<String, Value>> {
        self.questions()?.first_mut()?.as_object_mut()
    }

    /// Every file by path.
    pub(crate) fn written(&self, style: Style) -> BTreeMap<String, String> {
        let mut files = self.files.clone();
        let metadata = || yaml::document(&self.metadata, style);
        files.entry("metadata.yaml".to_owned()).or_insert_with(metadata);
        if let Some(compose) = &self.compose {
            let compose = || yaml::document(compose, style);
            files.entry("docker-compose.yml".to_owned()).or_insert_with(compose);
        }
        files
    }
}

fn metadata(kind: Kind) -> Value {
    let mut value = json!({
        "name": "Cookie jar",
        "description": "Find out what the owner keeps at the bottom of the jar.",
        "difficulty": "easy",
        "tags": ["beginner"],
        "questions": [{"id": "flag", "prompt": "What is at the bottom of the jar?"}],
    });
    let category = match kind {
        Kind::Web => return value,
        Kind::Engagement => {
            value["network_topology"] = json!("engagement");
            value["entry_urls"] = json!(["http://intranet.lab:8080/start"]);
            return value;
        }
        Kind::Pwn => "pwn",
        Kind::Crypto => "crypto",
        Kind::Reverse => "reverse",
        Kind::Quiz | Kind::MiscService => "misc",
    };
    value["category"] = json!(category);
    match kind {
        Kind::Reverse => value["questions"][0]["answer"] = json!("walrus"),
        Kind::Quiz => {
            value["questions"] = json!([
                {"id": "port", "prompt": "Which port does SSH use?", "answer": "22",
                 "choices": ["21", "22", "23"]},
                {"id": "all", "prompt": "Which of these are mail?", "answer": ["25", "143"],
                 "choices": ["22", "25", "143"]},
            ]);
        }
        Kind::Web | Kind::Engagement | Kind::Pwn | Kind::Crypto | Kind::MiscService => (),
    }
    value
}

fn compose(kind: Kind) -> Value {
    let limits = |cpus: &str, memory: &str| json!({"resources": {"limits": {"cpus": cpus, "memory": memory}}});
    let mut web = json!({
        "build": "./services/web",
        "ports": ["8080"],
        "depends_on": {"flag-rotator": {"condition": "service_completed_successfully"}},
        "volumes": ["answers:/answers:ro"],
        "healthcheck": {"test": ["CMD", "true"]},
        "deploy": limits("0.5", "64M"),
    });
    if kind == Kind::Pwn || kind == Kind::Crypto {
        web["labels"] = json!({"ctfy.service.protocol": "tcp"});
    }
    let mut services = json!({
        "web": web,
        "flag-rotator": {
            "build": {"context": "services/flag-rotator"},
            "environment": ["ANSWER_FLAG"],
            "volumes": ["answers:/out"],
            "restart": "no",
            "healthcheck": {"test": ["CMD", "test", "-s", "/out/flag"]},
            "deploy": limits("0.25", "32M"),
        },
    });
    if kind == Kind::Engagement {
        services["openvpn"] = json!({
            "build": "services/openvpn",
            "ports": ["1194/udp"],
            "healthcheck": {"test": ["CMD", "true"]},
            "deploy": limits("0.5", "64M"),
        });
        services["web"].as_object_mut().expect("it is one").remove("ports");
    }
    json!({"services": services, "volumes": {"answers": {}}})
}

fn files(kind: Kind) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut add = |path: &str, text: &str| drop(files.insert(path.to_owned(), text.to_owned()));
    add("solution/exploit.py", EXPLOIT);
    if kind.has_compose() {
        add("services/web/Dockerfile", "FROM busybox:1.36\nCOPY app.py /app.py\nCMD [\"true\"]\n");
        add("services/web/app.py", "print('ready')\n");
        add("services/flag-rotator/Dockerfile", "FROM busybox:1.36\nCOPY rotate.sh /\n");
        add("services/flag-rotator/rotate.sh", ROTATE);
    }
    if kind == Kind::Engagement {
        add("services/openvpn/Dockerfile", "FROM ctfy/openvpn-base:1.2\n");
    }
    if !matches!(kind, Kind::Web | Kind::Engagement) {
        add("attachments/handout.txt", "Everything you need.\n");
    }
    files
}
