//! Which host name leads where: made from the rows of instances, kept in memory, replaced as a whole.
//!
//! # Invariants
//! * A name leads to an instance of this node, on a loopback address, and to no other.
//! * Who asks for an instance that is ready by its row is led there, however old the table is:
//!   [`Table::settled`] waits for a newer one before it says that it is not.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::model::{EndpointKind, Instance, InstanceId, InstanceStatus, NodeId};

/// How long somebody waits for a newer table.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a host name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Whose connections they are.
    pub instance: InstanceId,
    /// Where the service is published on this machine.
    pub target: SocketAddr,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Whether it may be used.
    pub reach: Reach,
}

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// As HTTP, request by request.
    Http,
    /// With whatever comes out of the TLS that ends here.
    Stream,
    /// With the bytes as they come: it has a certificate of its own.
    OwnTls,
}

/// Whether an instance may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not yet.
    Starting,
    /// Now.
    Ready,
}

/// Every name of this node.
pub type Routes = HashMap<String, Route>;

/// The names that the instances of `rows` have.
pub fn routes(rows: &[Instance]) -> Routes {
    let local = NodeId::local();
    let mut routes = Routes::new();
    for row in rows.iter().filter(|row| row.node == local) {
        let reach = match row.status() {
            InstanceStatus::Starting => Reach::Starting,
            InstanceStatus::Ready => Reach::Ready,
            InstanceStatus::Stopped | InstanceStatus::Error => continue,
        };
        for endpoint in row.surface.iter().filter(|it| it.door.is_some() && it.port != 0) {
            let protocol = match endpoint.kind {
                EndpointKind::Http => Protocol::Http,
                EndpointKind::Https => Protocol::OwnTls,
                EndpointKind::Tcp | EndpointKind::Ssh => Protocol::Stream,
                EndpointKind::Vpn => continue,
            };
            let target = SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.port));
            let route = Route { instance: row.id, target, protocol, reach };
            routes.insert(endpoint.host.clone(), route);
        }
    }
    routes
}

/// The names, shared between who keeps them and who serves.
#[derive(Debug)]
pub struct Table {
    routes: RwLock<Arc<Routes>>,
    /// Passes over the rows: begun, and done.
    passes: watch::Sender<(u64, u64)>,
    /// Rings when rows changed; heard up to the last pass that began.
    bell: Mutex<Option<watch::Receiver<()>>>,
    wanted: Notify,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            routes: RwLock::default(),
            passes: watch::Sender::new((0, 0)),
            bell: Mutex::default(),
            wanted: Notify::new(),
        }
    }
}

impl Table {
    /// Takes the bell that rings when rows changed.
    pub fn follow(&self, bell: watch::Receiver<()>) {
        *self.bell() = Some(bell);
    }

    fn bell(&self) -> MutexGuard<'_, Option<watch::Receiver<()>>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the rows are about to be read; returns what [`Table::replace`] takes.
    pub fn begin(&self) -> u64 {
        if let Some(bell) = self.bell().as_mut() {
            bell.mark_unchanged();
        }
        let mut pass = 0;
        self.passes.send_modify(|(begun, _)| {
            *begun += 1;
            pass = *begun;
        });
        pass
    }

    /// Takes the names that the rows read in `pass` give.
    pub fn replace(&self, pass: u64, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
        self.passes.send_modify(|(_, done)| *done = pass);
    }

    /// Waits until somebody needs a newer table.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Where `host` leads, as far as the table knows.
    pub fn get(&self, host: &str) -> Option<Route> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(host).copied()
    }

    /// Where `host` leads. Before it is said that a name leads nowhere, or not yet, rows that changed are
    /// looked at: they may be newer. While nothing changes, names that nobody has cost nothing.
    pub async fn settled(&self, host: &str) -> Option<Route> {
        let route = self.get(host);
        let mut passes = self.passes.subscribe();
        let (begun, done) = *passes.borrow_and_update();
        let has_changed =
            || self.bell().as_ref().is_some_and(|bell| bell.has_changed().unwrap_or(false));
        let enough = match route.map(|route| route.reach) {
            Some(Reach::Ready) => return route,
            Some(Reach::Starting) => begun + 1,
            // After a start nothing is known before the first look.
            None if done == 0 => 1,
            None if has_changed() => begun + 1,
            None if begun > done => begun,
            None => return None,
        };
        if enough > begun {
            self.wanted.notify_one();
        }
        let newer = passes.wait_for(|(_, done)| *done >= enough);
        let _ = tokio::time::timeout(PATIENCE, newer).await;
        self.get(host)
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
