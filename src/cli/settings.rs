//! Options that every command shares: which server, which token, which configuration, which format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::config::{Config, Need, Overrides, Secret};

use super::client::{Client, TokenOrigin, is_local};
use super::failure::Failure;
use super::login;
use super::output::{Format, Shape};

/// The file that is read when none is named and it exists.
const DEFAULT_FILE: &str = "flagops.toml";
/// The administrator's token inside the data directory, written by the daemon.
const ADMIN_TOKEN: &str = "admin.token";

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Server to ask
    #[arg(
        long,
        global = true,
        env = "FLAGOPS_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8100"
    )]
    pub(crate) url: String,

    /// Token to use; a file is safer, since arguments can be seen by others [env: FLAGOPS_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN", conflicts_with = "token_file")]
    pub(crate) token: Option<String>,

    /// File with the token [env: FLAGOPS_TOKEN_FILE] [default: that of `flagops login`; for a server on
    /// this machine also admin.token in the data directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,

    /// Seconds to wait for one answer of the server
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    pub(crate) timeout: u64,

    /// Configuration file [default: flagops.toml in the working directory, if there is one]
    #[arg(long, global = true, env = "FLAGOPS_CONFIG", value_name = "PATH")]
    pub(crate) config: Option<PathBuf>,

    /// Data directory [default: ./flagops-data]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) data_dir: Option<PathBuf>,

    /// How to show results
    #[arg(
        id = "format",
        long = "format",
        global = true,
        value_parser = Shape::of_every_command(),
        value_name = "FORMAT",
        default_value = "table"
    )]
    shape: Shape,
}

impl Global {
    /// How to show the result.
    pub(crate) fn format(&self) -> Format {
        self.shape.into()
    }

    /// The configuration from the file, the variables and `flags`.
    pub(crate) fn load(&self, need: Need, flags: Overrides) -> Result<Config, Failure> {
        let default = Path::new(DEFAULT_FILE);
        let file = self.config.as_deref().or_else(|| default.is_file().then_some(default));
        let data_dir = self.data_dir.as_ref().map(|path| path.display());
        let flags = flags.with("data_dir", "--data-dir", data_dir);
        Ok(Config::load_for(need, file, variables(), &flags)?)
    }

    /// A client of the server, with the token that was named or that this machine has.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let (token, origin) = self.find_token()?;
        self.client_with(token, origin)
    }

    /// A client of the server with this token.
    pub(crate) fn client_with(
        &self,
        token: Option<Secret<String>>,
        origin: TokenOrigin,
    ) -> Result<Client, Failure> {
        Ok(Client::new(&self.url, token, origin, Duration::from_secs(self.timeout))?)
    }

    /// A client without a token, which does not wait long.
    pub(crate) fn anonymous(&self) -> Result<Client, Failure> {
        let origin = TokenOrigin::None("this needs none".to_owned());
        Ok(Client::new(&self.url, None, origin, Duration::from_secs(self.timeout.min(3)))?)
    }

    /// The first of: `--token`, `--token-file`, their variables, `flagops login`, the data directory. A
    /// variable never contradicts a flag, since it may be set for everything.
    fn find_token(&self) -> Result<(Option<Secret<String>>, TokenOrigin), Failure> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let given = self.token.clone().or_else(|| match self.token_file {
            Some(_) => None,
            None => variable("FLAGOPS_TOKEN"),
        });
        if let Some(token) = given {
            let token = token.trim();
            if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
                return Err(Failure::usage("`--token` is not a token", "copy it without blanks"));
            }
            return Ok((Some(Secret::new(token.to_owned())), TokenOrigin::Given));
        }
        let file = variable("FLAGOPS_TOKEN_FILE").map(PathBuf::from);
        if let Some(path) = self.token_file.clone().or(file) {
            return Ok((Some(Secret::read(&path)?), TokenOrigin::File(path)));
        }
        if let Some((token, path)) = login::kept_for(&self.url)? {
            return Ok((Some(token), TokenOrigin::Login(path)));
        }
        if !is_local(&self.url) {
            let reason = "nobody signed in with `flagops login`, and the one in the data directory stays \
                          on this machine";
            return Ok((None, TokenOrigin::None(reason.to_owned())));
        }
        let path = self.load(Need::Client, Overrides::new())?.data_dir.join(ADMIN_TOKEN);
        match Secret::read(&path) {
            Ok(token) => Ok((Some(token), TokenOrigin::DataDir(path))),
            // Some requests need none; the server's refusal will quote this reason.
            Err(error) => Ok((None, TokenOrigin::None(error.to_string()))),
        }
    }
}

/// The variables of this process; what is not Unicode cannot be a setting of ours.
fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
