//! Hints that a container of ours changed.

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Docker;
use super::connect::Call;
use crate::runtime::{EngineError, EngineEvent, labels};

/// What we want to hear of. Not `exec_*`: our own health commands would drown the rest.
const ACTIONS: [&str; 9] =
    ["create", "start", "die", "oom", "stop", "pause", "unpause", "destroy", "health_status"];

impl Docker {
    /// Subscribes, beginning at the engine's own present: the request is sent when the stream is
    /// first polled, and what happens until then is replayed.
    pub(super) async fn subscribe(&self) -> Result<BoxStream<'static, EngineEvent>, EngineError> {
        let info = self
            .connection
            .run(
                &Call::read("read the engine's clock"),
                |client| async move { client.info().await },
            )
            .await?;
        let since = info.system_time.as_deref().and_then(unix_time);
        let mut filters = labels::filter(&self.installation, labels::KIND_INSTANCE, &[]);
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        filters.insert("event".to_owned(), ACTIONS.map(str::to_owned).to_vec());
        let options = EventsOptions { since, until: None, filters: Some(filters) };
        let (_, client) = self.connection.pinned().await?;
        let events = async_stream(client, options);
        Ok(events)
    }
}

/// The client's stream with the client inside, ending at the first error.
fn async_stream(
    client: bollard::Docker,
    options: EventsOptions,
) -> BoxStream<'static, EngineEvent> {
    let events = client.events(Some(options));
    events
        .take_while(|event| std::future::ready(event.is_ok()))
        .filter_map(|event| std::future::ready(event.ok().and_then(as_event)))
        .boxed()
}

fn as_event(message: EventMessage) -> Option<EngineEvent> {
    let attributes = message.actor.and_then(|actor| actor.attributes);
    Some(EngineEvent { instance: labels::instance(attributes.as_ref()), action: message.action? })
}

/// RFC 3339 as `seconds.nanoseconds`, which is what the engine wants back.
fn unix_time(text: &str) -> Option<String> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(format!("{}.{:09}", at.unix_timestamp(), at.nanosecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_clock_is_understood() {
        let since = unix_time("2026-11-21T08:04:25.012345678Z").unwrap();
        assert_eq!(since, "1795248265.012345678");
        assert_eq!(unix_time("yesterday"), None);
    }
}
