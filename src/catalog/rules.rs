//! The stable ids of every rule, one line each: what it finds.
//!
//! Ids of the families META, STRUCT and COMPOSE mean what the challenge contract says; HARDEN and
//! REPO are ours. An id is never used for something else later.

/// `metadata.yaml` cannot be read as one YAML mapping.
pub const META000: &str = "META000";
/// A required field is missing or has the wrong type.
pub const META002: &str = "META002";
/// `difficulty` is none of the three words.
pub const META003: &str = "META003";
/// `tags` is empty, or an element is no text.
pub const META004: &str = "META004";
/// A top-level key that does not exist, or was retired.
pub const META005: &str = "META005";
/// A question is malformed.
pub const META006: &str = "META006";
/// `answer` and `choices` do not make a mode.
pub const META008: &str = "META008";
/// `requires` names itself, an unknown question, or a cycle.
pub const META009: &str = "META009";
/// `category` is none of the five words.
pub const META011: &str = "META011";
/// `network_topology` is neither `simple` nor `engagement`.
pub const META012: &str = "META012";
/// `entry_urls` is no list of absolute http(s) URLs.
pub const META013: &str = "META013";
/// `instance` is malformed or out of bounds.
pub const META020: &str = "META020";
/// `scoring` is malformed.
pub const META021: &str = "META021";
/// `author` or `release_at` is malformed.
pub const META022: &str = "META022";

/// The category needs `docker-compose.yml` and there is none.
pub const STRUCT001: &str = "STRUCT001";
/// A build context or its Dockerfile is missing or unusable.
pub const STRUCT004: &str = "STRUCT004";
/// The environment of `flag-rotator` does not fit the questions.
pub const STRUCT006: &str = "STRUCT006";
/// `flag-rotator` publishes ports.
pub const STRUCT008: &str = "STRUCT008";
/// A service wants an answer file that is never delivered.
pub const STRUCT009: &str = "STRUCT009";
/// A dynamic question, and nothing runs that could hold its answer.
pub const STRUCT011: &str = "STRUCT011";
/// `ctfy.service.protocol` is neither `http` nor `tcp`.
pub const STRUCT012: &str = "STRUCT012";
/// A symbolic link inside a challenge.
pub const STRUCT020: &str = "STRUCT020";
/// A submodule inside a challenge.
pub const STRUCT021: &str = "STRUCT021";
/// A file name that is not UTF-8, or misleads.
pub const STRUCT022: &str = "STRUCT022";
/// A file or folder over its budget.
pub const STRUCT023: &str = "STRUCT023";
/// Two names that are one on some file systems.
pub const STRUCT024: &str = "STRUCT024";
/// An attachment that a template of the same name replaces.
pub const STRUCT025: &str = "STRUCT025";
/// More findings than are shown.
pub const STRUCT099: &str = "STRUCT099";

/// `docker-compose.yml` cannot be read as one YAML mapping.
pub const COMPOSE000: &str = "COMPOSE000";
/// `services` is missing, empty, or no mapping.
pub const COMPOSE001: &str = "COMPOSE001";
/// The top-level key `version`.
pub const COMPOSE002: &str = "COMPOSE002";
/// No service publishes a port.
pub const COMPOSE003: &str = "COMPOSE003";
/// A build argument named `ANSWER_…`.
pub const COMPOSE005: &str = "COMPOSE005";
/// A service without limits gets the defaults.
pub const COMPOSE006: &str = "COMPOSE006";
/// A value of the wrong type or shape.
pub const COMPOSE007: &str = "COMPOSE007";
/// A key that compose does not know.
pub const COMPOSE008: &str = "COMPOSE008";
/// A service, network or volume that is not declared, or a cycle.
pub const COMPOSE009: &str = "COMPOSE009";
/// A variable that has no value, or is malformed.
pub const COMPOSE010: &str = "COMPOSE010";
/// A port that cannot be published.
pub const COMPOSE011: &str = "COMPOSE011";

/// `privileged`.
pub const HARDEN001: &str = "HARDEN001";
/// A capability beyond the allowed set.
pub const HARDEN002: &str = "HARDEN002";
/// A namespace of the host or of another container.
pub const HARDEN003: &str = "HARDEN003";
/// Devices and cgroup placement.
pub const HARDEN004: &str = "HARDEN004";
/// Security profiles, runtimes, kernel settings.
pub const HARDEN005: &str = "HARDEN005";
/// A mount of the host, of another container, or over a protected path.
pub const HARDEN006: &str = "HARDEN006";
/// Names, addresses and resolvers that are ours to choose.
pub const HARDEN007: &str = "HARDEN007";
/// Networks and volumes of somebody else, or with a driver.
pub const HARDEN008: &str = "HARDEN008";
/// Files of the node, or of other compose files.
pub const HARDEN009: &str = "HARDEN009";
/// Logging drivers.
pub const HARDEN010: &str = "HARDEN010";
/// Out-of-memory, block device and scheduler settings.
pub const HARDEN011: &str = "HARDEN011";
/// Keys whose job is ours.
pub const HARDEN012: &str = "HARDEN012";
/// An answer where no answer may be.
pub const HARDEN013: &str = "HARDEN013";
/// A build that reaches outside its context.
pub const HARDEN014: &str = "HARDEN014";
/// A key of `deploy` beside limits.
pub const HARDEN015: &str = "HARDEN015";
/// Too many services, networks, volumes or ports.
pub const HARDEN016: &str = "HARDEN016";
/// A value above its ceiling; the effective one is named.
pub const HARDEN020: &str = "HARDEN020";
/// A key that is accepted and has no effect.
pub const HARDEN022: &str = "HARDEN022";

/// A folder or name that cannot be a challenge.
pub const REPO001: &str = "REPO001";
/// Two challenges with one id.
pub const REPO002: &str = "REPO002";
/// A link or submodule where challenges are looked for.
pub const REPO003: &str = "REPO003";
