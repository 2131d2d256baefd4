//! The 24 rows: who asks whom, what should come of it, and what comes of it without us.

/// Where a row begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// The web server of the first instance.
    Web,
    /// Its database, which is on a network without a way out.
    Db,
    /// Another machine of the LAN.
    Lan,
    /// The node itself.
    Node,
}

/// Where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// The web server of the first instance, by its own address.
    Web,
    /// The database of the first instance.
    Db,
    /// The web server of the other instance.
    OtherWeb,
    /// Its database.
    OtherDb,
    /// A service on every address of the node, by this one.
    Service(Node),
    /// A service of the node on loopback only, by the gateway of the first instance.
    Loopback,
    /// What the other instance publishes, by this address of the node.
    Published(Node),
    /// What the first instance publishes, by the node's address.
    OwnPublished,
    /// `169.254.169.254`.
    Metadata,
    /// Another machine of the LAN.
    Lan,
    /// A machine of the internet.
    Internet,
}

/// An address of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// The gateway of the first instance's network.
    Gateway,
    /// That of its network without a way out.
    InnerGateway,
    /// The gateway of the other instance's network.
    OtherGateway,
    /// Its address on the LAN.
    Lan,
    /// `127.0.0.1`, as a hostile neighbour routes it.
    Localhost,
    /// The link-local IPv6 address of the first instance's bridge.
    LinkLocal,
}

/// What should come of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// An answer.
    Reached,
    /// None.
    Blocked,
}

/// What comes of it on an engine as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stock {
    /// An answer.
    Reached,
    /// None.
    Blocked,
    /// It depends on the version (moby#41872, moby#49981).
    Either,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) from: From,
    pub(super) to: To,
    pub(super) expected: Expected,
    pub(super) stock: Stock,
}

const fn open(what: &'static str, from: From, to: To) -> Row {
    Row { what, from, to, expected: Expected::Reached, stock: Stock::Reached }
}

/// Closed by us, and open without us.
const fn ours(what: &'static str, from: From, to: To) -> Row {
    Row { what, from, to, expected: Expected::Blocked, stock: Stock::Reached }
}

/// Closed by us, and by some engines.
const fn some(what: &'static str, from: From, to: To) -> Row {
    Row { what, from, to, expected: Expected::Blocked, stock: Stock::Either }
}

/// Closed by the engine already.
const fn both(what: &'static str, from: From, to: To) -> Row {
    Row { what, from, to, expected: Expected::Blocked, stock: Stock::Blocked }
}

/// The table.
pub(super) static MATRIX: [Row; 24] = [
    open("a service of the same instance", From::Web, To::Db),
    both("another instance's container", From::Web, To::OtherWeb),
    ours("the node, by the own gateway", From::Web, To::Service(Node::Gateway)),
    ours("the node, by another gateway", From::Web, To::Service(Node::OtherGateway)),
    ours("the node, by its address", From::Web, To::Service(Node::Lan)),
    both("the node, by its link-local address", From::Web, To::Service(Node::LinkLocal)),
    both("the node's loopback, by the gateway", From::Web, To::Loopback),
    some("another's published port, by the own gateway", From::Web, To::Published(Node::Gateway)),
    some("another's published port, by its gateway", From::Web, To::Published(Node::OtherGateway)),
    some("another's published port, by the node", From::Web, To::Published(Node::Lan)),
    some("the own published port, by the node", From::Web, To::OwnPublished),
    ours("metadata", From::Web, To::Metadata),
    ours("another machine of the LAN", From::Web, To::Lan),
    ours("the internet", From::Web, To::Internet),
    ours("the node, from a network without a way out", From::Db, To::Service(Node::InnerGateway)),
    both("another's inner network, from an inner one", From::Db, To::OtherDb),
    both("the internet, from a network without a way out", From::Db, To::Internet),
    open("a published port, from the LAN", From::Lan, To::Published(Node::Lan)),
    some("a container that is routed to, from the LAN", From::Lan, To::Web),
    both("an inner container that is routed to, from the LAN", From::Lan, To::Db),
    some("a gateway that is routed to, from the LAN", From::Lan, To::Service(Node::Gateway)),
    some("a loopback that is routed to, from the LAN", From::Lan, To::Published(Node::Localhost)),
    open("a container, from the node", From::Node, To::Web),
    open("an inner container, from the node", From::Node, To::Db),
];
