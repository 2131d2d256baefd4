//! `flagops recover`: what the engine has and the database does not know.

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Request};
use super::failure::{Ending, Failure};
use super::output::{self, Format};
use super::settings::Global;
use super::wire::Fields as _;

/// Show, and on request adopt or remove, what bears our label and no row of the database knows
///
/// After a database was lost or an older one was restored, containers may run that nobody can reach
/// through the server any more. They are left alone until somebody has looked. What is adopted gets
/// its row again, from what its containers tell: the same id, team, ports, network and answers, and
/// a whole lease; nothing of it is stopped or started anew. A team that the database does not know
/// either is called `recovered-…`; `flagops token create` gives it a token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flagops recover
  flagops recover --adopt-all
  flagops recover --adopt 3f2a0000-0000-4000-8000-000000000001
  flagops recover --remove 3f2a0000-0000-4000-8000-000000000002
  flagops recover --accept       the loss is understood: nothing is held back for it any more

Exit codes: 0 done; 1 something that was named could not be adopted.")]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    wish: Wish,
    /// Who says so, for the record of `--accept`
    #[arg(long, value_name = "NAME", env = "USER", default_value = "an organizer")]
    by: String,
}

/// What to do; nothing lists.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Wish {
    /// Give these instances rows again
    #[arg(long, value_name = "INSTANCE", num_args = 1..)]
    adopt: Vec<String>,
    /// Give rows again to all that are listed now and can be adopted
    #[arg(long)]
    adopt_all: bool,
    /// Remove what is left of these instances
    #[arg(long, value_name = "INSTANCE", num_args = 1..)]
    remove: Vec<String>,
    /// Remove what is left of all that are listed now
    #[arg(long)]
    remove_all: bool,
    /// Accept that the database was lost
    #[arg(long)]
    accept: bool,
}

/// Shows, adopts, removes or accepts.
pub(crate) async fn run(global: &Global, args: &RecoverArgs) -> Result<Ending, Failure> {
    let client = global.client()?;
    let wish = &args.wish;
    if wish.adopt_all || !wish.adopt.is_empty() {
        return adopt(global, &client, wish).await;
    }
    let answer = if wish.accept {
        let request = Request::to(&["gitops", "recover", "accept"]);
        client.post(request, Some(&json!({ "who": args.by }))).await?
    } else if wish.remove_all || !wish.remove.is_empty() {
        let ids = match wish.remove_all {
            true => listed(&client, |_| true).await?,
            false => wish.remove.clone(),
        };
        let answer = client.post(recover(), Some(&json!({ "instance_ids": ids }))).await?;
        return show(global, &answer, &render_removed(answer.list("items")));
    } else {
        client.get(recover()).await?
    };
    show(global, &answer, &render(&answer))
}

fn recover() -> Request<'static> {
    Request::to(&["gitops", "recover"])
}

/// Ids of the listed items that are meant.
async fn listed(client: &Client, is_meant: fn(&Value) -> bool) -> Result<Vec<String>, Failure> {
    let listed = client.get(recover()).await?;
    let items = listed.list("items").iter().filter(|item| is_meant(item));
    Ok(items.map(|item| item.text("instance_id").to_owned()).collect())
}

async fn adopt(global: &Global, client: &Client, wish: &Wish) -> Result<Ending, Failure> {
    let ids = match wish.adopt_all {
        true => listed(client, |item| item["adoptable"] == true).await?,
        false => wish.adopt.clone(),
    };
    let request = Request::to(&["gitops", "recover", "adopt"]);
    let answer = client.post(request, Some(&json!({ "instance_ids": ids }))).await?;
    show(global, &answer, &render_adopted(&answer))?;
    Ok(if answer.list("refused").is_empty() { Ending::Fine } else { Ending::Findings })
}

fn show(global: &Global, answer: &Value, table: &str) -> Result<Ending, Failure> {
    match global.format() {
        Format::Json => output::print_json(answer)?,
        Format::Table => output::print(table)?,
    }
    Ok(Ending::Fine)
}

fn render_adopted(answer: &Value) -> String {
    let mut lines = Vec::new();
    for id in answer.list("adopted").iter().filter_map(Value::as_str) {
        lines.push(format!("{} is adopted", output::clean(id)));
    }
    for refused in answer.list("refused") {
        let (id, reason) = (refused.text("instance_id"), refused.text("reason"));
        lines.push(format!("{} is not: {}", output::clean(id), output::clean(reason)));
    }
    if lines.is_empty() {
        lines.push("nothing was adopted: none of them can be, see `flagops recover`".to_owned());
    }
    lines.join("\n")
}

fn render_removed(items: &[Value]) -> String {
    match items {
        [] => "nothing was removed: none of them is unknown".to_owned(),
        items => format!("{}\n\nremoved", render_rows(items)),
    }
}

fn render(answer: &Value) -> String {
    let unknown = match answer.list("items") {
        [] => "everything that bears our label belongs to an instance".to_owned(),
        items => format!(
            "{}\n\nlook at them with `docker ps --all --filter label=flagops.instance=INSTANCE`; `flagops recover --adopt INSTANCE` gives them rows again, `--remove INSTANCE` removes them",
            render_rows(items)
        ),
    };
    match answer["database_lost"].as_str() {
        Some(lost) => format!("The database was lost: {}\n\n{unknown}", output::clean(lost)),
        None => unknown,
    }
}

fn render_rows(items: &[Value]) -> String {
    let row = |item: &Value| {
        let is_adoptable = item["adoptable"] == true;
        let what = match is_adoptable {
            true => item.text("challenge_id").to_owned(),
            false => format!("cannot be adopted: {}", item.text("reason")),
        };
        vec![
            output::clean(item.text("instance_id")),
            item["running"].to_string(),
            item.list("containers").len().to_string(),
            item.list("volumes").len().to_string(),
            output::clean(item.text("created_at")),
            output::clean(&what),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    output::table(&["INSTANCE", "RUNNING", "CONTAINERS", "VOLUMES", "CREATED", "WHAT"], &rows)
}
