//! What containers and probes said last, for people: with the answers of the instance masked.

use super::executor::Job;
use crate::planner::{Observed, ServiceState};

/// How much of a container's last output goes into the operators' condition.
const LAST_WORDS_CHARS: usize = 1500;

/// What probes of services that are not usable said last, and the ends of the output of their
/// containers, for operators.
pub(crate) async fn of(job: &Job, observed: &Observed) -> String {
    let mut text = String::new();
    for (name, doubt) in job.shared.doubts.of(job.instance.id) {
        text.push_str("\nlast probe of `");
        text.push_str(name.as_str());
        text.push_str("`: ");
        text.push_str(&masked(job, doubt.check.to_string()));
    }
    for (name, seen) in &observed.services {
        if seen.state == ServiceState::Usable {
            continue;
        }
        let words = of_container(job, &seen.container).await;
        if !words.is_empty() {
            text.push_str("\nlast output of `");
            text.push_str(name.as_str());
            text.push_str("`:\n");
            text.push_str(&words);
        }
    }
    text
}

/// The end of the output of one container, with the instance's answers masked; empty when it said
/// nothing or cannot be asked.
pub(crate) async fn of_container(job: &Job, container: &str) -> String {
    let Ok(output) = job.shared.engine.logs(container, 20).await else {
        return String::new();
    };
    let output = masked(job, output);
    let n_extra = output.chars().count().saturating_sub(LAST_WORDS_CHARS);
    output.chars().skip(n_extra).collect::<String>().trim().to_owned()
}

/// `text` of a container without the instance's answers.
pub(crate) fn masked(job: &Job, text: String) -> String {
    without(job.answers().values(), text)
}

/// `text` with these answers masked.
pub(crate) fn without<'a>(answers: impl Iterator<Item = &'a String>, mut text: String) -> String {
    for answer in answers {
        let body = answer.strip_prefix("FLAG{").and_then(|it| it.strip_suffix('}'));
        text = text.replace(body.unwrap_or(answer), "[answer]");
    }
    text
}
