//! The command line as a whole explains itself, and the client keeps its promises.

mod docs;

use std::time::Duration;

use clap::CommandFactory as _;
use serde_json::json;
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::client::{Client, ClientError, Request, TokenOrigin, is_local};
use super::failure::Failure;
use super::*;
use crate::config::Secret;

fn client(url: &str) -> Client {
    let token = Some(Secret::new("pt_secret".to_owned()));
    Client::new(url, token, TokenOrigin::Given, Duration::from_millis(500)).unwrap()
}

fn shown(error: ClientError) -> String {
    Failure::from(error).to_string()
}

async fn answering(status: u16, body: serde_json::Value) -> MockServer {
    let server = MockServer::start().await;
    let answer = ResponseTemplate::new(status).set_body_json(body);
    Mock::given(path("/api/v1/meta")).respond_with(answer).mount(&server).await;
    server
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_a_summary_and_every_leaf_has_examples() {
    fn walk(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} has no summary");
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        // What is hidden is for the server itself.
        if !command.has_subcommands() && !command.is_hide_set() {
            assert!(examples.contains("Examples:"), "{path} has no examples");
            assert!(
                examples.contains("  flagops")
                    || examples.contains("| flagops")
                    || examples.contains("&& flagops"),
                "{path}"
            );
        }
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
        }
        for inner in command.get_subcommands() {
            walk(inner, &path);
        }
    }
    walk(&Cli::command(), "");
}

/// What a shell makes of a line without variables: words, of which `"` keeps some together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars().chain([' ']) {
        match letter {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|it| !it.is_empty()));
            }
            letter => word.push(letter),
        }
    }
    words
}

#[test]
fn every_example_of_the_help_parses() {
    fn walk(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples =
            help.lines().filter(|line| line.starts_with("  ") && line.contains("flagops "));
        for line in examples {
            // The part that the shell hands to us: no comment, pipe, redirection or variable.
            let line = &line[line.find("flagops ").unwrap()..];
            let end = ["   ", " | ", " > ", " >> ", " && "]
                .iter()
                .filter_map(|mark| line.find(mark))
                .min();
            let words = words(&line[..end.unwrap_or(line.len())]);
            if line.contains("COMMAND") {
                continue;
            }
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Cli::command());
}

#[test]
fn every_next_command_of_a_notice_parses() {
    use crate::model::{ConditionType, InstanceId, NodeId, NoticeKind, Scope};
    let scopes = [
        Scope::Repo,
        Scope::Challenge("WEB-001".parse().unwrap()),
        Scope::Node(NodeId::local()),
        Scope::Instance(InstanceId::new(uuid::Uuid::nil())),
    ];
    for kind in [NoticeKind::Failure, NoticeKind::Reminder, NoticeKind::Recovery] {
        for about in ConditionType::WORDS.iter().filter_map(|it| ConditionType::from_word(it)) {
            let one = scopes.iter().map(|scope| crate::notify::next_command(kind, about, scope));
            for command in one.chain([format!("flagops events --kind {about}")]) {
                if let Err(error) = Cli::try_parse_from(command.split_whitespace()) {
                    panic!("{command}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_token_is_sent_and_the_answer_decoded() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/base/api/v1/challenges/WEB-001"))
        .and(header("authorization", "Bearer pt_secret"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"id": "WEB-001"})))
        .mount(&server)
        .await;
    let client = client(&format!("{}/base/", server.uri()));
    let answer = client.get(Request::to(&["challenges", "WEB-001"])).await.unwrap();
    assert_eq!(answer, json!({"id": "WEB-001"}));
}

#[tokio::test]
async fn every_page_is_read() {
    let server = MockServer::start().await;
    for (offset, n) in [("0", 500), ("500", 500), ("1000", 3)] {
        let items: Vec<_> = (0..n).map(|i| json!({ "id": i })).collect();
        Mock::given(query_param("offset", offset))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(json!({"items": items, "total": 1003})),
            )
            .expect(1)
            .mount(&server)
            .await;
    }
    let rows = client(&server.uri()).list(Request::to(&["gitops", "builds"])).await.unwrap();
    assert_eq!(rows.len(), 1003);
}

#[tokio::test]
async fn an_id_that_would_change_the_path_is_never_sent() {
    let server = MockServer::start().await;
    Mock::given(method("DELETE"))
        .respond_with(ResponseTemplate::new(200))
        .expect(0)
        .mount(&server)
        .await;
    for id in ["", ".", ".."] {
        let error =
            client(&server.uri()).delete(Request::to(&["instances", id])).await.unwrap_err();
        assert!(matches!(error, ClientError::NotFlagops { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_slash_in_an_id_stays_inside_of_its_segment() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/instances/a%2F..%2F..%3Fx"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!(1)))
        .expect(1)
        .mount(&server)
        .await;
    let answer = client(&server.uri()).get(Request::to(&["instances", "a/../..?x"])).await;
    assert_eq!(answer.unwrap(), json!(1));
}

#[tokio::test]
async fn a_refusal_names_the_url_the_wish_the_words_and_the_next_command() {
    let server =
        answering(404, json!({"code": "challenge_not_found", "detail": "Challenge X not found"}))
            .await;
    let error = client(&server.uri()).get(Request::to(&["meta"])).await.unwrap_err();
    assert_eq!(error.status(), Some(404));
    assert_eq!(
        shown(error).replace(&server.uri(), "URL"),
        "error: the server at URL refused GET /api/v1/meta: Challenge X not found \
         (challenge_not_found)\n next: `flagops challenges` lists what there is"
    );
}

#[tokio::test]
async fn a_denied_token_is_named_by_its_origin_and_never_shown() {
    let server = answering(
        403,
        json!({"code": "not_registered", "detail": {"message": "You are not registered"}}),
    )
    .await;
    let error = client(&server.uri()).get(Request::to(&["meta"])).await.unwrap_err();
    let shown = shown(error);
    assert!(
        shown.contains("with the token from `--token` or FLAGOPS_TOKEN: You are not registered")
    );
    assert!(!shown.contains("pt_secret"), "{shown}");
}

#[tokio::test]
async fn what_is_not_our_server_is_said_to_be_another() {
    let server = MockServer::start().await;
    Mock::given(path("/api/v1/meta"))
        .respond_with(ResponseTemplate::new(200).set_body_string("<html>"))
        .mount(&server)
        .await;
    let client = client(&server.uri());
    let error = client.get(Request::to(&["meta"])).await.unwrap_err();
    assert!(shown(error).contains("the answer is not JSON"));
    let error = client.get(Request::to(&["nothing"])).await.unwrap_err();
    assert!(shown(error).contains("HTTP status 404 Not Found without our error envelope"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_our_token() {
    let target = answering(200, json!({})).await;
    let server = MockServer::start().await;
    let location = format!("{}/api/v1/meta", target.uri());
    Mock::given(path("/api/v1/meta"))
        .respond_with(ResponseTemplate::new(307).insert_header("location", location.as_str()))
        .mount(&server)
        .await;
    assert!(client(&server.uri()).get(Request::to(&["meta"])).await.is_err());
    assert!(target.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(5));
    Mock::given(path("/api/v1/meta")).respond_with(slow).mount(&server).await;
    let error = client(&server.uri()).get(Request::to(&["meta"])).await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error}");
    // A port that was free a moment ago: nobody listens.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).get(Request::to(&["meta"])).await.unwrap_err();
    let shown = shown(error);
    assert!(shown.starts_with(&format!("error: no server answers at {url} (")), "{shown}");
    assert!(shown.contains("next: start one with `flagops serve"), "{shown}");
}

#[tokio::test]
async fn logs_come_as_text_or_inside_of_json() {
    for (answer, logs) in [
        (ResponseTemplate::new(200).set_body_string("a\nb\n"), "a\nb\n"),
        (ResponseTemplate::new(200).set_body_json(json!("a\nb")), "a\nb"),
        (ResponseTemplate::new(200).set_body_json(json!({"logs": "a\nb"})), "a\nb"),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(answer).mount(&server).await;
        let text = client(&server.uri()).get_text(Request::to(&["logs"])).await.unwrap();
        assert_eq!(text, logs);
    }
}

#[test]
fn a_url_that_cannot_be_meant_is_refused() {
    for url in ["", "127.0.0.1:8100", "ftp://a", "http://u:p@a", "http://a?x=1", "unix:///a"] {
        let token = Some(Secret::new("pt_secret".to_owned()));
        let made = Client::new(url, token, TokenOrigin::Given, Duration::from_secs(1));
        assert!(made.is_err(), "{url}");
    }
}

#[test]
fn only_this_machine_gets_the_token_of_the_data_directory() {
    for url in
        ["http://127.0.0.1:8100", "http://localhost", "http://[::1]:1", "https://127.9.9.9/x"]
    {
        assert!(is_local(url), "{url}");
    }
    for url in ["http://ctf.example", "http://10.0.0.1", "http://127.0.0.1.example", "nonsense"] {
        assert!(!is_local(url), "{url}");
    }
}
