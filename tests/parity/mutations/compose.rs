//! Mistakes in `docker-compose.yml` and in what it names.

use serde_json::{Value, json};

use super::{Mutation, change};
use crate::specimen::{Kind, Specimen};

/// The file `name` of the service that players reach.
fn dockerfile(it: &Specimen) -> Option<String> {
    it.files.get("services/web/Dockerfile").cloned()
}

fn set_dockerfile(it: &mut Specimen, text: String) {
    it.files.insert("services/web/Dockerfile".to_owned(), text);
}

pub(super) const ALL: &[Mutation] = &[
    change("no compose file", |it, _| {
        it.compose.take()?;
        Some(())
    }),
    change("a compose file where none is needed", |it, _| {
        if it.compose.is_some() {
            return None;
        }
        it.compose = Some(json!({"services": {"web": {
            "image": "busybox:1.36", "ports": ["80"], "healthcheck": {"test": ["CMD", "true"]},
            "deploy": {"resources": {"limits": {"cpus": "0.5", "memory": "64M"}}},
        }}}));
        Some(())
    }),
    change("no exploit", |it, _| {
        it.files.remove("solution/exploit.py")?;
        Some(())
    }),
    change("no attachments", |it, _| {
        it.files.remove("attachments/handout.txt")?;
        Some(())
    }),
    change("attachments only below", |it, _| {
        let text = it.files.remove("attachments/handout.txt")?;
        it.files.insert("attachments/deep/handout.txt".to_owned(), text);
        Some(())
    }),
    change("services elsewhere", |it, _| {
        it.compose.as_ref()?;
        let files = std::mem::take(&mut it.files);
        it.files = files
            .into_iter()
            .map(|(path, text)| (path.replace("services/", "containers/"), text))
            .collect();
        for service in it.services()?.values_mut() {
            if let Some(build) = service.get_mut("build") {
                let text = build.to_string().replace("services/", "containers/");
                *build = serde_json::from_str(&text).expect("it was JSON");
            }
        }
        Some(())
    }),
    change("services are gone", |it, _| {
        it.compose.as_ref()?;
        it.files.retain(|path, _| !path.starts_with("services/"));
        Some(())
    }),
    change("no Dockerfile", |it, _| {
        it.files.remove("services/web/Dockerfile")?;
        Some(())
    }),
    change("a Dockerfile of another name", |it, rng| {
        let text = it.files.remove("services/web/Dockerfile")?;
        let name = *rng.pick(&["Dockerfile.prod", "dockerfile"]);
        it.files.insert(format!("services/web/{name}"), text);
        if rng.below(2) == 0 {
            it.service()?
                .insert("build".to_owned(), json!({"context": "services/web", "dockerfile": name}));
        }
        Some(())
    }),
    change("a context that is no folder", |it, rng| {
        let context = *rng.pick(&["services/nowhere", "./services/web/app.py", "services/Web"]);
        it.service()?.insert("build".to_owned(), json!(context));
        Some(())
    }),
    change("an image instead of a build", |it, _| {
        let service = it.service()?;
        service.remove("build");
        service.insert("image".to_owned(), json!("nginx:1.27"));
        Some(())
    }),
    change("a volume from a missing path", |it, rng| {
        let value = rng
            .pick(&[
                json!(["./missing:/data"]),
                json!(["../missing:/data:ro"]),
                json!([{"type": "bind", "source": "./missing", "target": "/data"}]),
                json!([{"type": "volume", "source": "./missing", "target": "/data"}]),
                json!(["./services/web/app.py:/app.py"]),
            ])
            .clone();
        it.service()?.insert("volumes".to_owned(), value);
        Some(())
    }),
    change("no rotator", |it, _| {
        it.services()?.remove("flag-rotator")?;
        it.service()?.remove("depends_on");
        Some(())
    }),
    change("the rotator has another name", |it, _| {
        let services = it.services()?;
        let rotator = services.remove("flag-rotator")?;
        services.insert("flag_rotator".to_owned(), rotator);
        Some(())
    }),
    change("our own delivery", |it, _| {
        it.services()?.remove("flag-rotator")?;
        let service = it.service()?;
        service.remove("depends_on");
        service.remove("volumes");
        service.insert("x-answers".to_owned(), json!(["flag"]));
        Some(())
    }),
    change("the rotator lacks an answer", |it, rng| {
        it.rotator()?.insert(
            "environment".to_owned(),
            rng.pick(&[json!([]), json!(["OTHER=1"]), json!({"OTHER": "1"})]).clone(),
        );
        Some(())
    }),
    change("the rotator has no environment", |it, _| {
        it.rotator()?.remove("environment")?;
        Some(())
    }),
    change("the rotator's environment in another form", |it, rng| {
        it.rotator()?.insert(
            "environment".to_owned(),
            rng.pick(&[json!({"ANSWER_FLAG": null}), json!(["ANSWER_FLAG=${ANSWER_FLAG}"])])
                .clone(),
        );
        Some(())
    }),
    change("the rotator has an answer of a static question", |it, _| {
        it.rotator()?.insert("environment".to_owned(), json!(["ANSWER_FLAG", "ANSWER_PORT"]));
        it.questions()?.push(json!({"id": "port", "prompt": "Which?", "answer": "22"}));
        Some(())
    }),
    change("the rotator has an answer of nothing", |it, _| {
        it.rotator()?.insert(
            "environment".to_owned(),
            json!(["ANSWER_FLAG", "ANSWER_NOTHING", "ANSWER_flag"]),
        );
        Some(())
    }),
    change("two minted questions, one answer", |it, _| {
        it.rotator()?;
        it.questions()?.push(json!({"id": "user_flag", "prompt": "Also?"}));
        Some(())
    }),
    change("nobody waits for the rotator", |it, rng| {
        let service = it.service()?;
        service.remove("depends_on")?;
        match rng.below(4) {
            0 => drop(service.remove("volumes")),
            1 => drop(service.insert("volumes".to_owned(), json!(["other:/x", "./a:/b"]))),
            2 => drop(service.insert("depends_on".to_owned(), json!(["flag-rotator"]))),
            _ => (),
        }
        it.compose.as_mut()?["volumes"]["other"] = json!({});
        Some(())
    }),
    change("the rotator publishes a port", |it, rng| {
        it.rotator()?
            .insert("ports".to_owned(), rng.pick(&[json!(["99"]), json!([99]), json!([])]).clone());
        Some(())
    }),
    change("a static answer is mounted", |it, rng| {
        it.rotator()?;
        it.questions()?.push(json!({"id": "port", "prompt": "Which?", "answer": "22"}));
        it.service()?.insert(
            "volumes".to_owned(),
            rng.pick(&[
                json!(["answers:/answers/port:ro"]),
                json!([{"type": "volume", "source": "answers", "target": "/answers/port/",
                        "volume": {"subpath": "port"}}]),
            ])
            .clone(),
        );
        Some(())
    }),
    change("an answer of no question is mounted", |it, rng| {
        it.service()?.insert(
            "volumes".to_owned(),
            rng.pick(&[
                json!(["answers:/answers/nothing"]),
                json!([{"type": "volume", "source": "answers", "target": "/answers/nothing"}]),
                json!(["answers:/answers/Flag"]),
                json!(["answers:/answers/flag/deep"]),
            ])
            .clone(),
        );
        Some(())
    }),
    change("an answer is mounted by itself", |it, _| {
        it.service()?.insert(
            "volumes".to_owned(),
            json!([{"type": "volume", "source": "answers",
            "target": "/answers/flag", "volume": {"subpath": "flag"}, "read_only": true}]),
        );
        Some(())
    }),
    change("an unknown protocol", |it, rng| {
        it.service()?.insert(
            "labels".to_owned(),
            rng.pick(&[
                json!({"ctfy.service.protocol": "udp"}),
                json!(["ctfy.service.protocol=HTTP"]),
                json!({"ctfy.service.protocol": ""}),
                json!({"ctfy.service.protocol": 1}),
            ])
            .clone(),
        );
        Some(())
    }),
    change("a protocol without ports", |it, rng| {
        let service = it.service()?;
        service.insert("labels".to_owned(), json!(["other=1", "ctfy.service.protocol=tcp"]));
        match rng.below(2) {
            0 => drop(service.remove("ports")),
            _ => drop(service.insert("ports".to_owned(), json!([]))),
        }
        Some(())
    }),
    change("no protocol", |it, _| {
        it.service()?.remove("labels")?;
        Some(())
    }),
    change("tcp as a list", |it, _| {
        it.service()?.insert("labels".to_owned(), json!(["ctfy.service.protocol=tcp"]));
        Some(())
    }),
    change("services is no mapping", |it, rng| {
        it.compose.as_mut()?["services"] =
            rng.pick(&[json!([]), json!("web"), json!(["web"]), Value::Null]).clone();
        Some(())
    }),
    change("services is missing", |it, _| {
        it.compose.as_mut()?.as_object_mut()?.remove("services");
        Some(())
    }),
    change("a service is no mapping", |it, rng| {
        let value = rng.pick(&[Value::Null, json!("x"), json!([])]).clone();
        it.services()?.insert("extra".to_owned(), value);
        Some(())
    }),
    change("compose is no YAML", |it, rng| {
        it.compose.as_ref()?;
        let text = *rng.pick(&["services: [", "- a\n", "", "services:\n\tweb: 1\n"]);
        it.files.insert("docker-compose.yml".to_owned(), text.to_owned());
        Some(())
    }),
    change("a version", |it, rng| {
        it.compose.as_mut()?["version"] = rng.pick(&[json!("3.8"), json!(3), Value::Null]).clone();
        Some(())
    }),
    change("no ports", |it, rng| {
        let service = it.service()?;
        service.remove("ports")?;
        service.remove("labels");
        if rng.below(2) == 0 {
            service.insert("ports".to_owned(), json!([]));
        }
        Some(())
    }),
    change("an answer in the Dockerfile", |it, rng| {
        let line = *rng.pick(&[
            "ARG ANSWER_FLAG",
            "  ARG ANSWER_FLAG=x",
            "RUN echo $ANSWER_FLAG > /flag",
            "RUN echo \"$ANSWER_FLAG\" > /flag",
            "RUN echo '$ANSWER_FLAG'",
            "arg ANSWER_FLAG",
            "ARG  ANSWER_X1",
            "RUN printf $ANSWER_FLAG",
            "# ARG ANSWER_FLAG",
            "ARG ANSWER_flag",
        ]);
        let text = dockerfile(it)?;
        set_dockerfile(it, format!("{text}{line}\n"));
        Some(())
    }),
    change("an answer as a build argument", |it, rng| {
        let args = rng
            .pick(&[json!(["ANSWER_FLAG=x"]), json!({"ANSWER_FLAG": "x"}), json!(["ANSWER_FLAG"])])
            .clone();
        let name = if rng.below(2) == 0 { "web" } else { "flag-rotator" };
        let build = json!({"context": format!("services/{name}"), "args": args});
        it.named(name)?.insert("build".to_owned(), build);
        Some(())
    }),
    change("limits are missing", |it, rng| {
        let name = if rng.below(2) == 0 { "web" } else { "flag-rotator" };
        let service = it.named(name)?;
        let limits = [
            Value::Null,
            json!({}),
            json!({"cpus": "0.5"}),
            json!({"memory": "64M", "cpus": null}),
            json!({"cpus": "", "memory": ""}),
        ];
        match rng.pick(&limits) {
            Value::Null => service.remove("deploy"),
            limits => {
                let deploy = json!({"resources": {"limits": limits}});
                service.insert("deploy".to_owned(), deploy)
            }
        };
        Some(())
    }),
    change("limits as numbers", |it, _| {
        it.service()?.insert(
            "deploy".to_owned(),
            json!({"resources": {"limits": {"cpus": 0.5, "memory": 67108864}}}),
        );
        Some(())
    }),
    change("no healthcheck", |it, rng| {
        let name = if rng.below(2) == 0 { "web" } else { "flag-rotator" };
        it.named(name)?.remove("healthcheck")?;
        Some(())
    }),
    change("a disabled healthcheck", |it, _| {
        it.service()?.insert("healthcheck".to_owned(), json!({"disable": true}));
        Some(())
    }),
    change("no gateway", |it, _| {
        if it.kind != Kind::Engagement {
            return None;
        }
        it.services()?.remove("openvpn")?;
        Some(())
    }),
    change("the gateway has another name", |it, _| {
        if it.kind != Kind::Engagement {
            return None;
        }
        let services = it.services()?;
        let gateway = services.remove("openvpn")?;
        services.insert("vpn".to_owned(), gateway);
        Some(())
    }),
    change("the gateway has another base", |it, rng| {
        if it.kind != Kind::Engagement {
            return None;
        }
        let text = *rng.pick(&[
            "FROM debian:bookworm-slim\n",
            "FROM ctfy/openvpn-base-x:1\n",
            "FROM other/openvpn-base\n",
        ]);
        it.files.insert("services/openvpn/Dockerfile".to_owned(), text.to_owned());
        Some(())
    }),
    change("the gateway's base in another form", |it, rng| {
        if it.kind != Kind::Engagement {
            return None;
        }
        let text = *rng.pick(&[
            "FROM --platform=linux/amd64 ctfy/openvpn-base:1\n",
            "FROM registry.example.org/ctfy/openvpn-base:1\n",
            "from ctfy/openvpn-base\n",
            "FROM ctfy/openvpn-base@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n",
        ]);
        it.files.insert("services/openvpn/Dockerfile".to_owned(), text.to_owned());
        Some(())
    }),
    change("the gateway is only an image", |it, _| {
        if it.kind != Kind::Engagement {
            return None;
        }
        let gateway = it.named("openvpn")?;
        gateway.remove("build");
        gateway.insert("image".to_owned(), json!("debian:bookworm-slim"));
        Some(())
    }),
    change("the gateway publishes another port", |it, rng| {
        if it.kind != Kind::Engagement {
            return None;
        }
        it.named("openvpn")?.insert(
            "ports".to_owned(),
            rng.pick(&[
                json!(["1194"]),
                json!(["1194/tcp"]),
                json!(["1195/udp"]),
                json!(["1194:1195/udp"]),
                json!([{"target": 1194, "protocol": "tcp"}]),
                json!([1194]),
                json!([]),
            ])
            .clone(),
        );
        Some(())
    }),
    change("the gateway's port in another form", |it, rng| {
        if it.kind != Kind::Engagement {
            return None;
        }
        it.named("openvpn")?.insert(
            "ports".to_owned(),
            rng.pick(&[
                json!(["2000:1194/udp"]),
                json!(["127.0.0.1:2000:1194/udp"]),
                json!([{"target": 1194, "protocol": "udp"}]),
            ])
            .clone(),
        );
        Some(())
    }),
];
