//! The table of names: what rows give, and that nobody is told "not yet" by an old one.

use std::sync::Arc;

use super::*;
use crate::model::compose::Transport;
use crate::model::{Door, Endpoint, InstancePhase, ObjectId, Revision, TeamId, Timestamp, TreeId};

fn endpoint(host: &str, kind: EndpointKind, port: u16) -> Endpoint {
    Endpoint {
        service: "web".parse().unwrap(),
        kind,
        host: host.to_owned(),
        port,
        target: 80,
        transport: Transport::Tcp,
        door: Some(Door { kind: EndpointKind::Https, port: 443 }),
    }
}

fn row(n: u128, phase: InstancePhase, surface: Vec<Endpoint>) -> Instance {
    let nothing = ObjectId::from_bytes([0; 20]);
    let now = Timestamp::from_millis(0);
    Instance {
        id: InstanceId::new(uuid::Uuid::from_u128(n)),
        challenge: "WEB-001".parse().unwrap(),
        team: TeamId::new(uuid::Uuid::from_u128(1)),
        competition: String::new(),
        node: NodeId::local(),
        revision: Revision(nothing),
        tree: TreeId(nothing),
        phase,
        error: None,
        stop_reason: None,
        surface,
        created_at: now,
        started_at: now,
        stopped_at: None,
        ttl_secs: 60,
        expires_at: now,
        n_restarts: 0,
        n_resets: 0,
        answer_epoch: 0,
        last_death: None,
    }
}

#[test]
fn only_what_is_behind_the_door_of_this_node_and_not_over_has_a_name() {
    let direct = Endpoint { door: None, ..endpoint("direct.test", EndpointKind::Tcp, 4) };
    let mut elsewhere =
        row(3, InstancePhase::Ready, vec![endpoint("far.test", EndpointKind::Http, 5)]);
    elsewhere.node = "11111111-1111-4111-8111-111111111111".parse().unwrap();
    let rows = [
        row(
            1,
            InstancePhase::Ready,
            vec![
                endpoint("http.test", EndpointKind::Http, 1),
                endpoint("https.test", EndpointKind::Https, 2),
                endpoint("tcp.test", EndpointKind::Tcp, 3),
                endpoint("unpublished.test", EndpointKind::Tcp, 0),
                direct,
            ],
        ),
        row(2, InstancePhase::Probing, vec![endpoint("soon.test", EndpointKind::Http, 6)]),
        elsewhere,
        row(4, InstancePhase::Failed, vec![endpoint("failed.test", EndpointKind::Http, 7)]),
        row(5, InstancePhase::Removing, vec![endpoint("going.test", EndpointKind::Http, 8)]),
        row(6, InstancePhase::Stopped, vec![endpoint("gone.test", EndpointKind::Http, 9)]),
    ];
    let mut found: Vec<_> = routes(&rows)
        .into_iter()
        .map(|(host, it)| (host, it.target.port(), it.protocol, it.reach))
        .collect();
    found.sort_by_key(|(_, port, ..)| *port);
    let ready = |host: &str, port, protocol| (host.to_owned(), port, protocol, Reach::Ready);
    assert_eq!(
        found,
        [
            ready("http.test", 1, Protocol::Http),
            ready("https.test", 2, Protocol::OwnTls),
            ready("tcp.test", 3, Protocol::Stream),
            ("soon.test".to_owned(), 6, Protocol::Http, Reach::Starting),
        ]
    );
    assert!(routes(&rows).values().all(|route| route.target.ip().is_loopback()));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_an_instance_that_is_ready_by_its_row_waits_for_the_table() {
    let table = Arc::new(Table::default());
    let of = |phase| routes(&[row(1, phase, vec![endpoint("a.test", EndpointKind::Http, 1)])]);
    let pass = table.begin();
    table.replace(pass, of(InstancePhase::Probing));
    // A pass whose rows were read before anybody asked proves nothing.
    let old = table.begin();
    let asked = Arc::clone(&table);
    let asking = async move { asked.settled("a.test").await.map(|it| it.reach) };
    let keeping = async {
        table.wanted().await;
        table.replace(old, of(InstancePhase::Probing));
        let new = table.begin();
        table.replace(new, of(InstancePhase::Ready));
    };
    let (reach, ()) = tokio::join!(asking, keeping);
    assert_eq!(reach, Some(Reach::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_new_is_looked_for_when_rows_changed_and_only_then() {
    let table = Table::default();
    let bell = watch::Sender::new(());
    table.follow(bell.subscribe());
    let pass = table.begin();
    table.replace(pass, Routes::new());
    let begin = tokio::time::Instant::now();
    assert_eq!(table.settled("a.test").await, None);
    bell.send_replace(());
    let rows = [row(1, InstancePhase::Ready, vec![endpoint("a.test", EndpointKind::Http, 1)])];
    let keeping = async {
        table.wanted().await;
        let pass = table.begin();
        table.replace(pass, routes(&rows));
    };
    let (found, ()) = tokio::join!(table.settled("a.test"), keeping);
    assert_eq!(found.map(|it| it.reach), Some(Reach::Ready));
    // Nothing changed since: whoever guesses costs no look.
    assert_eq!(table.settled("b.test").await, None);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn after_a_start_names_are_waited_for() {
    let table = Table::default();
    let rows = [row(1, InstancePhase::Ready, vec![endpoint("a.test", EndpointKind::Http, 1)])];
    let keeping = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let pass = table.begin();
        table.replace(pass, routes(&rows));
    };
    let (found, ()) = tokio::join!(table.settled("a.test"), keeping);
    assert_eq!(found.map(|it| it.reach), Some(Reach::Ready));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_name_that_is_unknown_or_for_long() {
    let table = Table::default();
    let pass = table.begin();
    table.replace(pass, Routes::new());
    let begin = tokio::time::Instant::now();
    assert_eq!(table.settled("nobody.test").await, None);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let pass = table.begin();
    let rows = [row(1, InstancePhase::Queued, vec![endpoint("a.test", EndpointKind::Http, 1)])];
    table.replace(pass, routes(&rows));
    assert_eq!(table.settled("a.test").await.unwrap().reach, Reach::Starting);
    assert_eq!(begin.elapsed(), PATIENCE);
}
