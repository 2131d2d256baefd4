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
/// The description names a technique, or a path of an internal API.
pub const META007: &str = "META007";
/// `answer` and `choices` do not make a mode.
pub const META008: &str = "META008";
/// `requires` names itself, an unknown question, or a cycle.
pub const META009: &str = "META009";
/// The description repeats the prompt of a question that is still locked.
pub const META010: &str = "META010";
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
/// A text that is blank, hides characters, or is too long to be shown.
pub const META023: &str = "META023";
/// A link of `entry_urls` that is not shown.
pub const META024: &str = "META024";
/// `choices` names a choice twice.
pub const META025: &str = "META025";
/// `exports` is malformed, or names what is not there.
pub const META026: &str = "META026";

/// The category needs `docker-compose.yml` and there is none.
pub const STRUCT001: &str = "STRUCT001";
/// `solution/exploit.py` is missing.
pub const STRUCT002: &str = "STRUCT002";
/// Something is built, and there is no folder `services/`.
pub const STRUCT003: &str = "STRUCT003";
/// A build context or its Dockerfile is missing or unusable.
pub const STRUCT004: &str = "STRUCT004";
/// A mounted path of the challenge does not exist.
pub const STRUCT005: &str = "STRUCT005";
/// Nobody says who gets the answers, or `flag-rotator` does not fit the questions.
pub const STRUCT006: &str = "STRUCT006";
/// Nobody waits for `flag-rotator`, and nobody shares a volume with it.
pub const STRUCT007: &str = "STRUCT007";
/// `flag-rotator` publishes ports.
pub const STRUCT008: &str = "STRUCT008";
/// A service wants an answer file that is never delivered.
pub const STRUCT009: &str = "STRUCT009";
/// The category needs a file in `attachments/` and there is none.
pub const STRUCT010: &str = "STRUCT010";
/// A dynamic question, and nothing runs that could hold its answer.
pub const STRUCT011: &str = "STRUCT011";
/// `ctfy.service.protocol` is neither `http` nor `tcp`.
pub const STRUCT012: &str = "STRUCT012";
/// `ctfy.service.protocol` on a service without `ports`.
pub const STRUCT013: &str = "STRUCT013";
/// A pwn challenge without a service that speaks raw TCP.
pub const STRUCT014: &str = "STRUCT014";
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
/// A compose file under a name that is not read.
pub const STRUCT026: &str = "STRUCT026";
/// More findings than are shown.
pub const STRUCT099: &str = "STRUCT099";

/// `docker-compose.yml` cannot be read as one YAML mapping.
pub const COMPOSE000: &str = "COMPOSE000";
/// `services` is missing, or no mapping.
pub const COMPOSE001: &str = "COMPOSE001";
/// The top-level key `version`.
pub const COMPOSE002: &str = "COMPOSE002";
/// No service publishes a port.
pub const COMPOSE003: &str = "COMPOSE003";
/// A Dockerfile that takes an answer at build time.
pub const COMPOSE004: &str = "COMPOSE004";
/// A build argument named `ANSWER_…`.
pub const COMPOSE005: &str = "COMPOSE005";
/// A service without limits.
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

/// `solution/exploit.py` cannot be read as Python 3.
pub const EXPLOIT001: &str = "EXPLOIT001";
/// The exploit does not import its tools by name.
pub const EXPLOIT002: &str = "EXPLOIT002";
/// There is no class `Exploit` with the right base and a method `run`.
pub const EXPLOIT003: &str = "EXPLOIT003";
/// Nothing starts the exploit.
pub const EXPLOIT004: &str = "EXPLOIT004";
/// The exploit knows where answers lie.
pub const EXPLOIT007: &str = "EXPLOIT007";

/// A literal flag in a source.
pub const SOURCE001: &str = "SOURCE001";
/// A comment names the weakness.
pub const SOURCE002: &str = "SOURCE002";
/// A text that players see names the weakness or an internal path.
pub const SOURCE003: &str = "SOURCE003";
/// A folder or route that only exists to explain the service.
pub const SOURCE004: &str = "SOURCE004";
/// Not everything was looked through.
pub const SOURCE020: &str = "SOURCE020";

/// A service without a health check.
pub const HEALTH001: &str = "HEALTH001";
/// A health check that is switched off.
pub const HEALTH020: &str = "HEALTH020";

/// An engagement without the service `openvpn`.
pub const NET001: &str = "NET001";
/// The gateway is not built on the base image of gateways.
pub const NET002: &str = "NET002";
/// The gateway does not publish 1194/udp.
pub const NET003: &str = "NET003";
/// The gateway has a build, which is not used.
pub const NET004: &str = "NET004";
/// A template of the gateway that is refused.
pub const NET005: &str = "NET005";

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
/// A way out to the internet.
pub const HARDEN023: &str = "HARDEN023";
/// A strict challenge with a service that may be root.
pub const HARDEN024: &str = "HARDEN024";

/// The description, a prompt or the name gives a static answer away.
pub const LEAK001: &str = "LEAK001";
/// An attachment gives a static answer away.
pub const LEAK002: &str = "LEAK002";
/// A source below `services/` holds a static answer.
pub const LEAK003: &str = "LEAK003";
/// A literal flag in an attachment or in the metadata.
pub const LEAK004: &str = "LEAK004";
/// An image is built from the solution too.
pub const LEAK005: &str = "LEAK005";
/// A literal flag in the compose file.
pub const LEAK006: &str = "LEAK006";

/// A Dockerfile that no engine reads.
pub const BUILD001: &str = "BUILD001";
/// A Dockerfile without a base image.
pub const BUILD002: &str = "BUILD002";
/// A file that the engine itself would fetch.
pub const BUILD003: &str = "BUILD003";
/// A foreign or experimental frontend, which is ignored.
pub const BUILD004: &str = "BUILD004";
/// A step that asks for privileges, devices or the network of the node.
pub const BUILD005: &str = "BUILD005";
/// A step that asks for a secret or an SSH agent.
pub const BUILD006: &str = "BUILD006";
/// Files from something that is neither a stage nor a pinned image.
pub const BUILD007: &str = "BUILD007";
/// An image of the platform, built for some challenge.
pub const BUILD008: &str = "BUILD008";
/// `ONBUILD`.
pub const BUILD009: &str = "BUILD009";
/// A secret in an argument or a variable of the image.
pub const BUILD010: &str = "BUILD010";
/// A base image without a version.
pub const BUILD011: &str = "BUILD011";
/// What engines before Docker 23.0 do not know.
pub const BUILD012: &str = "BUILD012";
/// A Dockerfile over its budget.
pub const BUILD013: &str = "BUILD013";
/// A user, folder, signal or port that no engine takes.
pub const BUILD014: &str = "BUILD014";
/// `VOLUME`.
pub const BUILD015: &str = "BUILD015";
/// `EXPOSE` of very many ports.
pub const BUILD016: &str = "BUILD016";
/// A base image for another platform.
pub const BUILD017: &str = "BUILD017";
/// A build target that does not exist.
pub const BUILD018: &str = "BUILD018";
/// An image without a command.
pub const BUILD019: &str = "BUILD019";
/// A label that steers programs of the node.
pub const BUILD020: &str = "BUILD020";

/// A template that is no template.
pub const TEMPLATE001: &str = "TEMPLATE001";
/// A template that uses a variable that does not exist.
pub const TEMPLATE002: &str = "TEMPLATE002";
/// A template that is not UTF-8, or too large.
pub const TEMPLATE003: &str = "TEMPLATE003";
/// A file and a template of one name.
pub const TEMPLATE004: &str = "TEMPLATE004";
/// A template that uses nothing of the instance.
pub const TEMPLATE005: &str = "TEMPLATE005";
/// A template that does too much.
pub const TEMPLATE006: &str = "TEMPLATE006";
/// A filter, function or include that is not there.
pub const TEMPLATE008: &str = "TEMPLATE008";

/// A file ending `.age` that is no age file.
pub const SECRET001: &str = "SECRET001";
/// A file ending `.age` that no node can decrypt.
pub const SECRET002: &str = "SECRET002";
/// An encrypted file beside its own plaintext.
pub const SECRET003: &str = "SECRET003";
/// An encrypted file that checks would have to read.
pub const SECRET004: &str = "SECRET004";
/// An age identity in the repository.
pub const SECRET005: &str = "SECRET005";

/// A folder or name that cannot be a challenge.
pub const REPO001: &str = "REPO001";
/// Two challenges with one id.
pub const REPO002: &str = "REPO002";
/// A link or submodule where challenges are looked for.
pub const REPO003: &str = "REPO003";
/// A Git LFS pointer in place of a file.
pub const REPO004: &str = "REPO004";
/// Settings of submodules or of Git LFS.
pub const REPO005: &str = "REPO005";
/// A repository over its budget.
pub const REPO006: &str = "REPO006";
/// A folder that looks like a challenge and is none.
pub const REPO007: &str = "REPO007";
/// A file or folder of flagops under a name or at a place that is not read.
pub const REPO008: &str = "REPO008";

/// A competition file that cannot be read as one YAML mapping.
pub const EVENT000: &str = "EVENT000";
/// A field of a competition is missing, or has the wrong type.
pub const EVENT001: &str = "EVENT001";
/// A key that competitions do not have.
pub const EVENT002: &str = "EVENT002";
/// The times of a competition are out of order.
pub const EVENT003: &str = "EVENT003";
/// A selector that selects no challenge.
pub const EVENT004: &str = "EVENT004";
/// A selected challenge is invalid at this revision.
pub const EVENT005: &str = "EVENT005";
/// The name of a competition file is not `<id>.yaml`.
pub const EVENT006: &str = "EVENT006";
/// A challenge that is selected twice, in different ways.
pub const EVENT007: &str = "EVENT007";
/// A number of a competition is out of bounds.
pub const EVENT008: &str = "EVENT008";

/// `audit-allowlist.yaml` or an entry of it cannot be used.
pub const ALLOW001: &str = "ALLOW001";
/// An entry of the allowlist that waives nothing.
pub const ALLOW002: &str = "ALLOW002";
/// An entry of the allowlist for a finding that cannot be waived.
pub const ALLOW003: &str = "ALLOW003";
