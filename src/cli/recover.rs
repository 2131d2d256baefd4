//! `flagops recover`: what the engine has and the database does not know.

use clap::Args;
use serde_json::{Value, json};

use super::client::Request;
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Show, and on request remove, what bears our label and belongs to no instance of the database
///
/// After a database was lost or an older one was restored, containers may run that nobody can reach
/// through the server any more. They are left alone until somebody has looked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops recover
  flagops recover --remove 3f2a0000-0000-4000-8000-000000000001
  flagops recover --remove-all")]
pub(crate) struct RecoverArgs {
    /// Remove what is left of these instances
    #[arg(long, value_name = "INSTANCE", num_args = 1.., conflicts_with = "remove_all")]
    remove: Vec<String>,
    /// Remove what is left of all that are listed now
    #[arg(long)]
    remove_all: bool,
}

/// Shows or removes.
pub(crate) async fn run(global: &Global, args: &RecoverArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let request = || Request::to(&["gitops", "recover"]);
    let listed = client.get(request()).await?;
    let ids: Vec<String> = if args.remove_all {
        listed.list("items").iter().map(|item| item.text("instance_id").to_owned()).collect()
    } else {
        args.remove.clone()
    };
    let is_removal = args.remove_all || !args.remove.is_empty();
    let answer = if is_removal {
        client.post(request(), Some(&json!({ "instance_ids": ids }))).await?
    } else {
        listed
    };
    match global.format() {
        Format::Json => output::print_json(&answer)?,
        Format::Table if is_removal => output::print(&render_removed(answer.list("items")))?,
        Format::Table => output::print(&render_unknown(answer.list("items")))?,
    }
    Ok(Ending::Fine)
}

fn render_removed(items: &[Value]) -> String {
    match items {
        [] => "nothing was removed: none of them is unknown".to_owned(),
        items => format!("{}\n\nremoved", render_rows(items)),
    }
}

fn render_unknown(items: &[Value]) -> String {
    match items {
        [] => "everything that bears our label belongs to an instance".to_owned(),
        items => format!(
            "{}\n\nlook at them with `docker logs`; `flagops recover --remove INSTANCE` removes them",
            render_rows(items)
        ),
    }
}

fn render_rows(items: &[Value]) -> String {
    let names = |item: &Value, key: &str| {
        let names: Vec<_> = item.list(key).iter().filter_map(Value::as_str).collect();
        output::cut(&output::clean(&names.join(", ")), 100)
    };
    let rows: Vec<_> = items
        .iter()
        .map(|item| {
            vec![
                output::clean(item.text("instance_id")),
                item["running"].to_string(),
                names(item, "containers"),
                names(item, "volumes"),
            ]
        })
        .collect();
    output::table(&["INSTANCE", "RUNNING", "CONTAINERS", "VOLUMES"], &rows)
}
