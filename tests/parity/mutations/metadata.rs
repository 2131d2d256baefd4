//! Mistakes in `metadata.yaml`.

use serde_json::{Value, json};

use super::{Mutation, change};
use crate::specimen::Kind;

/// Tokens that a description must not hold, near misses among them.
const TOKENS: &[&str] = &[
    "SSRF",
    "ssti",
    "prototype pollution",
    "path  traversal",
    "deserialization",
    "SQLi",
    "NoSQLi",
    "race condition",
    "length extension",
    "length-extension",
    "zip slip",
    "zipslip",
    "vulnerable",
    "backdoors",
    "intentionally",
    "redirect_uri",
    "cache poisoning",
    "JWTs",
    "xssx",
    "RCE_",
    "_XXE_",
    "file upload",
    "attackers",
    "polyglot",
    "oauth2",
    "smuggling",
    "type\u{a0}confusion",
];

const PATHS: &[&str] =
    &["/api/users", "GET /api/v1/login", "x/api/y", "/API/users", "(/api/)", "/api/", "/apis/x"];

pub(super) const ALL: &[Mutation] = &[
    change("metadata is no YAML", |it, rng| {
        let text = *rng.pick(&["name: [", "name: 'x\n", "\tname: x\n", "a: b: c\n", "{a: 1\n"]);
        it.files.insert("metadata.yaml".to_owned(), text.to_owned());
        Some(())
    }),
    change("metadata is no mapping", |it, rng| {
        let text = *rng.pick(&["- a\n- b\n", "just text\n", "42\n"]);
        it.files.insert("metadata.yaml".to_owned(), text.to_owned());
        Some(())
    }),
    change("metadata is empty", |it, rng| {
        let text = *rng.pick(&["", "# nothing\n", "null\n"]);
        it.files.insert("metadata.yaml".to_owned(), text.to_owned());
        Some(())
    }),
    change("a required field is missing", |it, rng| {
        let key = *rng.pick(&["name", "description", "difficulty", "tags"]);
        it.metadata.as_object_mut()?.remove(key)?;
        Some(())
    }),
    change("a required field has the wrong type", |it, rng| {
        let (key, value) = rng
            .pick(&[
                ("name", json!(12)),
                ("name", json!(["a"])),
                ("description", json!({"a": 1})),
                ("description", json!(true)),
                ("difficulty", json!(3)),
                ("tags", json!("web")),
                ("tags", json!({"a": 1})),
                ("name", Value::Null),
                ("tags", Value::Null),
            ])
            .clone();
        it.set(key, value);
        Some(())
    }),
    change("difficulty is another word", |it, rng| {
        let word = *rng.pick(&["Easy", "insane", "", "medium ", "mediun"]);
        it.set("difficulty", json!(word));
        Some(())
    }),
    change("tags are empty or no texts", |it, rng| {
        let tags = rng
            .pick(&[
                json!([]),
                json!(["a", 1]),
                json!([null]),
                json!([["a"]]),
                json!([{"a": 1}, "b", true]),
            ])
            .clone();
        it.set("tags", tags);
        Some(())
    }),
    change("an unknown key", |it, rng| {
        let key = *rng.pick(&["points", "Name", "categroy", "hints", "x-note", "service"]);
        it.set(key, json!("something"));
        Some(())
    }),
    change("a retired key", |it, rng| {
        let key = *rng.pick(&[
            "flags",
            "vars",
            "public_vars",
            "flag_path",
            "flag_inject",
            "id",
            "origin",
            "provider",
            "provider_config",
            "hint_levels",
        ]);
        it.set(key, json!("something"));
        Some(())
    }),
    change("keys of our own", |it, rng| {
        let (key, value) = rng
            .pick(&[
                ("author", json!("Ada <ada@example.org>")),
                ("instance", json!({"ttl": "2h"})),
                ("scoring", json!({"value": 100})),
                ("release_at", json!("2027-03-01T12:00:00Z")),
            ])
            .clone();
        it.set(key, value);
        Some(())
    }),
    change("questions are no list", |it, rng| {
        let value = rng.pick(&[json!("flag"), json!({"flag": "x"}), json!(7)]).clone();
        it.set("questions", value);
        Some(())
    }),
    change("questions are an empty list", |it, _| {
        it.set("questions", json!([]));
        Some(())
    }),
    change("no questions", |it, rng| {
        match rng.below(2) {
            0 => drop(it.metadata.as_object_mut()?.remove("questions")),
            _ => it.set("questions", Value::Null),
        }
        Some(())
    }),
    change("a question is no mapping", |it, rng| {
        let value = rng.pick(&[json!("flag"), json!(["id"]), json!(1), Value::Null]).clone();
        it.questions()?.push(value);
        Some(())
    }),
    change("a question has an unknown key", |it, rng| {
        let key = *rng.pick(&["points", "Id", "hint"]);
        it.question()?.insert(key.to_owned(), json!("x"));
        it.question()?.insert("zzz".to_owned(), json!("x"));
        Some(())
    }),
    change("a question's id is wrong", |it, rng| {
        let id = rng
            .pick(&[json!("Flag"), json!("1st"), json!("a-b"), json!(""), json!(5), Value::Null])
            .clone();
        it.questions()?.push(json!({"prompt": "What?", "answer": "x"}));
        it.questions()?.last_mut()?["id"] = id;
        Some(())
    }),
    change("a question has no id", |it, _| {
        it.questions()?.push(json!({"prompt": "What?", "answer": "x"}));
        Some(())
    }),
    change("two questions have one id", |it, _| {
        let mut twin = Value::Object(it.question()?.clone());
        twin["prompt"] = json!("Again?");
        it.questions()?.push(twin);
        Some(())
    }),
    change("a prompt is missing, blank or no text", |it, rng| {
        let prompts = [None, Some(json!("  ")), Some(json!(4)), Some(json!(["a"]))];
        match rng.pick(&prompts).clone() {
            None => it.question()?.remove("prompt"),
            Some(prompt) => it.question()?.insert("prompt".to_owned(), prompt),
        };
        Some(())
    }),
    change("requires is no list of texts", |it, rng| {
        let requires =
            rng.pick(&[json!("flag"), json!([1]), json!({"a": 1}), json!([["a"]])]).clone();
        it.question()?.insert("requires".to_owned(), requires);
        Some(())
    }),
    change("requires is null", |it, _| {
        it.question()?.insert("requires".to_owned(), Value::Null);
        Some(())
    }),
    change("format is another word", |it, rng| {
        it.question()?.insert(
            "format".to_owned(),
            rng.pick(&[json!("hex"), json!("FLAG"), json!(1)]).clone(),
        );
        Some(())
    }),
    change("format is raw", |it, _| {
        it.question()?.insert("format".to_owned(), json!("raw"));
        Some(())
    }),
    change("the description gives the weakness away", |it, rng| {
        let token = rng.pick(TOKENS);
        it.set("description", json!(format!("Find the {token} and win.\nTwo {token}, even.")));
        Some(())
    }),
    change("the description names a route", |it, rng| {
        let path = rng.pick(PATHS);
        it.set("description", json!(format!("Look at {path} and win.")));
        Some(())
    }),
    change("an answer of the wrong type", |it, rng| {
        it.question()?.insert(
            "answer".to_owned(),
            rng.pick(&[json!(42), json!(true), json!({"a": 1}), json!(["a", 1]), json!(4.5)])
                .clone(),
        );
        Some(())
    }),
    change("an answer of several without choices", |it, _| {
        it.question()?.remove("choices");
        it.question()?.insert("answer".to_owned(), json!(["a", "b"]));
        Some(())
    }),
    change("choices without an answer", |it, rng| {
        it.question()?.remove("answer");
        it.question()?
            .insert("choices".to_owned(), rng.pick(&[json!(["a", "b"]), json!([])]).clone());
        Some(())
    }),
    change("choices are no texts", |it, rng| {
        it.question()?.insert("answer".to_owned(), json!("a"));
        it.question()?.insert(
            "choices".to_owned(),
            rng.pick(&[json!("a"), json!([1, "a"]), json!({"a": 1}), json!([null])]).clone(),
        );
        Some(())
    }),
    change("choices are empty", |it, rng| {
        it.question()?.insert("answer".to_owned(), rng.pick(&[json!("a"), json!(["a"])]).clone());
        it.question()?.insert("choices".to_owned(), json!([]));
        Some(())
    }),
    change("the answer is none of the choices", |it, rng| {
        it.question()?.insert(
            "answer".to_owned(),
            rng.pick(&[json!("z"), json!(["a", "z"]), json!(["z"])]).clone(),
        );
        it.question()?.insert("choices".to_owned(), json!(["a", "b"]));
        Some(())
    }),
    change("an empty or repeated set of answers", |it, rng| {
        it.question()?.insert(
            "answer".to_owned(),
            rng.pick(&[json!([]), json!(["a", "a"]), json!(["z", "z"])]).clone(),
        );
        it.question()?.insert("choices".to_owned(), json!(["a", "b"]));
        Some(())
    }),
    change("a question requires itself", |it, _| {
        let id = it.question()?.get("id")?.clone();
        it.question()?.insert("requires".to_owned(), json!([id]));
        Some(())
    }),
    change("a question requires an unknown one", |it, _| {
        it.question()?.insert("requires".to_owned(), json!(["nowhere"]));
        Some(())
    }),
    change("questions require each other", |it, rng| {
        let first = it.question()?.get("id")?.clone();
        it.question()?.insert("requires".to_owned(), json!(["second"]));
        let third = if rng.below(2) == 0 { json!(["third"]) } else { json!([first]) };
        let questions = it.questions()?;
        questions.push(json!({"id": "second", "prompt": "B?", "answer": "b", "requires": third}));
        questions.push(json!({"id": "third", "prompt": "C?", "answer": "c", "requires": [first]}));
        Some(())
    }),
    change("questions in a row", |it, _| {
        let first = it.question()?.get("id")?.clone();
        it.questions()?
            .push(json!({"id": "second", "prompt": "B?", "answer": "b", "requires": [first]}));
        Some(())
    }),
    change("the description tells a locked prompt", |it, rng| {
        let first = it.question()?.get("id")?.clone();
        let requires = if rng.below(3) == 0 { json!([]) } else { json!([first]) };
        it.questions()?.push(json!({
            "id": "second", "answer": "b", "requires": requires,
            "prompt": "Which deploy server holds the signing key vault today?"
        }));
        let text = *rng.pick(&[
            "Find the deploy-server that holds signing key vault secrets.",
            "The deploy server holds the SIGNING key vault.",
            "The deploy server holds nothing. The signing key is in a vault.",
            "A signing key vault today, and a deploy server.",
        ]);
        it.set("description", json!(text));
        Some(())
    }),
    change("category is no category", |it, rng| {
        it.set("category", rng.pick(&[json!("webs"), json!("Web"), json!(1), json!([])]).clone());
        Some(())
    }),
    change("category is another one", |it, rng| {
        it.set("category", json!(*rng.pick(&["web", "pwn", "reverse", "crypto", "misc"])));
        Some(())
    }),
    change("topology is no topology", |it, rng| {
        let value =
            rng.pick(&[json!("mesh"), json!("Simple"), json!(1), json!(["simple"])]).clone();
        it.set("network_topology", value);
        Some(())
    }),
    change("topology is engagement", |it, _| {
        it.set("network_topology", json!("engagement"));
        Some(())
    }),
    change("entry_urls is no list of URLs", |it, rng| {
        let value = rng
            .pick(&[
                json!("http://a"),
                json!(["ftp://a"]),
                json!(["http://"]),
                json!(["//a/b", "javascript:alert(1)", "http://good/x"]),
                json!([""]),
                json!([1, "https://ok"]),
                json!({"a": 1}),
                json!(["http:///x"]),
                json!(["https://ok/x?y#z", "http://[::1]:80/"]),
            ])
            .clone();
        it.set("entry_urls", value);
        Some(())
    }),
    change("quiz with an attachment or a minted question", |it, rng| {
        if it.kind != Kind::Quiz {
            return None;
        }
        match rng.below(2) {
            0 => drop(it.files.insert("attachments/a.txt".to_owned(), "a\n".to_owned())),
            _ => {
                let minted = json!({"id": "minted", "prompt": "What?"});
                it.questions()?.push(minted);
            }
        }
        Some(())
    }),
    change("a quiz tells its weakness", |it, _| {
        if it.kind != Kind::Quiz {
            return None;
        }
        it.set("description", json!("What is SSRF, and what is /api/x?"));
        Some(())
    }),
];
