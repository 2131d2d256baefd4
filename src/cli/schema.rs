//! `flagops schema`: the JSON Schemas of files that people write, for their editors.

use clap::{Args, ValueEnum};

use crate::{catalog, config};

use super::failure::{Ending, Failure};
use super::output;

/// Print the JSON Schema of a file, for your editor
///
/// With it an editor completes keys, explains them and marks mistakes while you type. The schemas
/// of the newest version are in the folder `schema` of the repository; `docs/editor.md` says how to
/// use them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops schema metadata > metadata.schema.json
  flagops schema competition > competition.schema.json
  flagops schema config > flagops.schema.json")]
pub(crate) struct SchemaArgs {
    /// Which file
    #[arg(value_enum)]
    file: SchemaFile,
}

/// A file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SchemaFile {
    /// `metadata.yaml` of a challenge
    Metadata,
    /// `competitions/*.yaml`
    Competition,
    /// `flagops.toml`
    Config,
}

/// Prints the schema.
pub(crate) fn run(args: &SchemaArgs) -> Result<Ending, Failure> {
    let schema = match args.file {
        SchemaFile::Metadata => catalog::schema::metadata(),
        SchemaFile::Competition => catalog::schema::competition(),
        SchemaFile::Config => config::schema(),
    };
    output::print_json(&schema)?;
    Ok(Ending::Fine)
}
