//! What is read and written of every message, and that a node and a platform one minor version apart
//! understand each other.

use serde::de::DeserializeOwned;

use super::*;

#[test]
fn a_reply_to_joining_is_read_in_every_spelling() {
    let check = |text: &str| {
        let reply: RegisterReply = serde_json::from_str(text).unwrap();
        reply.identity().map(|(id, token)| format!("{id} {token}"))
    };
    assert_eq!(check(r#"{"id":"n","node_token":"t"}"#).as_deref(), Some("n t"));
    assert_eq!(check(r#"{"node_id":"n","token":"t"}"#).as_deref(), Some("n t"));
    let both = r#"{"id":"n","node_id":"n","node_token":"t","token":"t","capacity":3}"#;
    assert_eq!(check(both).as_deref(), Some("n t"));
    assert_eq!(check(r#"{"id":"n"}"#), None);
}

#[test]
fn a_beat_of_the_reference_is_read() {
    let text = r#"{"node_id":"n","running":2,"capacity":9,"cpu_percent":1.5,"sampled_at":7}"#;
    let beat: Heartbeat = serde_json::from_str(text).unwrap();
    assert_eq!((beat.report.running, beat.capacity, beat.beat), (2, 9, 0));
    assert!(beat.report.builds.is_empty());
}

/// Messages of an earlier version, by name. A version that is published never changes its file; the next
/// one gets a file of its own.
fn messages_of_0_1() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("../../../tests/golden/wire/0.1.json")).unwrap()
}

/// What today's type reads of `said` and writes again.
fn echo<T: Serialize + DeserializeOwned>(name: &str, said: &Value) -> Value {
    let read: T = serde_json::from_value(said.clone())
        .unwrap_or_else(|error| panic!("`{name}` of 0.1 is not understood any more: {error}"));
    serde_json::to_value(read).unwrap()
}

/// [`echo`] by the name of the message.
fn echo_of(name: &str, said: &Value) -> Value {
    let echo = match name {
        "register" => echo::<RegisterOrder>,
        "source offer" => echo::<SourceOffer>,
        "heartbeat" => echo::<Heartbeat>,
        "heartbeat reply" => echo::<HeartbeatReply>,
        "live" => echo::<LiveReply>,
        "start" => echo::<StartOrder>,
        "reset" => echo::<ResetOrder>,
        "renew" => echo::<RenewOrder>,
        "admit" => echo::<VpnOrder>,
        "shell" => echo::<ShellOrder>,
        "instance" => echo::<InstanceState>,
        "health" => echo::<Health>,
        "instance health" => echo::<InstanceHealth>,
        "files" => echo::<FileList>,
        "agent runtime" => echo::<AgentRuntime>,
        "logs" => echo::<Logs>,
        "container" => echo::<Container>,
        "vpn sessions" => echo::<VpnSessions>,
        "rescan" => echo::<RescanReply>,
        "build" => echo::<BuildReply>,
        "build all" => echo::<BuildAllReply>,
        "build states" => echo::<BuildStates>,
        other => panic!("a message without a type: {other}"),
    };
    echo(name, said)
}

/// Panics unless everything in `said` is in `written` with the same value; more may be there.
fn assert_within(at: &str, said: &Value, written: &Value) {
    match (said, written) {
        (Value::Object(said), Value::Object(written)) => {
            for (key, value) in said {
                let other = written.get(key);
                let other = other.unwrap_or_else(|| panic!("`{at}.{key}` is not said any more"));
                assert_within(&format!("{at}.{key}"), value, other);
            }
        }
        (Value::Array(said), Value::Array(written)) => {
            assert_eq!(said.len(), written.len(), "{at}");
            for (nth, (value, other)) in said.iter().zip(written).enumerate() {
                assert_within(&format!("{at}[{nth}]"), value, other);
            }
        }
        (said, written) => assert_eq!(said, written, "`{at}` is said in another way"),
    }
}

#[test]
fn what_0_1_says_is_understood_and_what_it_needs_is_still_said() {
    for (name, said) in messages_of_0_1() {
        assert_within(&name, &said, &echo_of(&name, &said));
    }
}

/// Maps of what authors and builds name; everything else has members that a version decides.
const MAPS: [&str; 6] = ["labels", "builds", "exports", "answers", "challenges", "manifest"];

/// `said`, where every object has a member more than is known.
fn of_the_future(said: &Value) -> Value {
    match said {
        Value::Object(members) => {
            let mut more: serde_json::Map<_, _> = members
                .iter()
                .map(|(key, value)| {
                    let is_map = MAPS.contains(&key.as_str());
                    (key.clone(), if is_map { value.clone() } else { of_the_future(value) })
                })
                .collect();
            more.insert("of_the_future".to_owned(), serde_json::json!({"of": ["the", "future"]}));
            Value::Object(more)
        }
        Value::Array(items) => items.iter().map(of_the_future).collect(),
        other => other.clone(),
    }
}

#[test]
fn members_that_only_a_later_version_knows_are_passed_over() {
    for (name, said) in messages_of_0_1() {
        assert_within(&name, &said, &echo_of(&name, &of_the_future(&said)));
    }
}
