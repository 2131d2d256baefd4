//! What the daemon's database says, read past the daemon.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

/// The rows that outlive a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// Instances that are neither stopped nor failed, with their phase.
    pub(crate) live: Vec<(String, String)>,
    /// Networks in the stock, by name.
    pub(crate) stocked: Vec<String>,
    /// Networks that an instance holds, by name. A mere intent is none: what a crash or an engine
    /// that was away left of one is forgotten after two minutes.
    pub(crate) held: Vec<String>,
    /// Host ports that belong to an instance.
    pub(crate) ports: Vec<String>,
    /// Images that are being built.
    pub(crate) building: Vec<String>,
}

impl Rows {
    /// Removes the instances.
    pub(crate) fn forget_instances(data_dir: &Path) {
        let database = Connection::open(data_dir.join("flagops.db")).expect("it can be opened");
        database.execute("DELETE FROM instances", []).expect("nothing holds them");
    }

    /// Reads them out of a data directory, of a daemon that runs or not.
    pub(crate) fn of(data_dir: &Path) -> Self {
        let database = Connection::open_with_flags(
            data_dir.join("flagops.db"),
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .expect("the database can be opened");
        let texts = |sql: &str| -> Vec<String> {
            let mut statement = database.prepare(sql).expect("the tables are as expected");
            let rows = statement.query_map([], |row| row.get(0)).expect("rows can be read");
            rows.map(|row| row.expect("a row can be read")).collect()
        };
        let live = texts(
            "SELECT id || ' ' || phase FROM instances
             WHERE phase NOT IN ('stopped', 'failed') ORDER BY seq",
        );
        let pair = |text: &String| {
            let (id, phase) = text.split_once(' ').expect("an id has no blank");
            (id.to_owned(), phase.to_owned())
        };
        Self {
            live: live.iter().map(pair).collect(),
            stocked: texts("SELECT name FROM networks WHERE state = 'ready' ORDER BY name"),
            held: texts("SELECT name FROM networks WHERE state = 'used' ORDER BY name"),
            ports: texts(
                "SELECT CAST(port AS TEXT) FROM ports WHERE instance IS NOT NULL ORDER BY port",
            ),
            building: texts("SELECT key FROM builds WHERE state = 'building' ORDER BY key"),
        }
    }
}
