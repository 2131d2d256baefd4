//! The door with real sockets: a client that says anything, a service that answers anything.

mod limits;
mod passing;
mod smuggling;
mod stage;
