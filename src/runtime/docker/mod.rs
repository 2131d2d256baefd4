//! The Docker engine. Stands in until the real one is merged.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::time::Duration;

use super::*;
use crate::model::InstallationId;

/// A Docker engine that never answers.
#[derive(Debug)]
pub struct Docker(String);

impl Docker {
    /// Connects.
    ///
    /// # Errors
    /// Never.
    pub fn connect(endpoint: &str, installation: InstallationId) -> Result<Self, EngineError> {
        let _ = installation;
        Ok(Self(endpoint.to_owned()))
    }
    fn no<T>(&self) -> Result<T, EngineError> {
        Err(EngineError::Unavailable { endpoint: self.0.clone(), reason: "stand-in".to_owned() })
    }
}

macro_rules! absent {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Engine for Docker {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out, EngineError> { $(let _ = $arg;)* self.no() })+
            async fn build(&self, _: BuildRequest, _: LogSink) -> Result<ImageSeen, BuildError> { Ok(self.no()?) }
        }
    };
}
absent! {
    info() -> EngineInfo; prove() -> (); image(a: &str) -> Option<ImageSeen>; images() -> Vec<ImageSeen>;
    pull(a: &str) -> ImageSeen; remove_image(a: &str) -> (); create_network(a: &NetworkSpec) -> String;
    remove_network(a: &str) -> (); networks() -> Vec<NetworkSeen>; create_volume(a: &str, b: InstanceId) -> ();
    remove_volume(a: &str) -> (); volumes() -> Vec<VolumeSeen>; create_container(a: &ContainerSpec) -> String;
    upload(a: &str, b: &str, c: Bytes) -> (); start(a: &str) -> (); stop(a: &str, b: Duration) -> ();
    remove_container(a: &str) -> (); container(a: &str) -> Option<ContainerSeen>;
    containers(a: Option<InstanceId>) -> Vec<ContainerSeen>;
    exec(a: &str, b: &HealthTest, c: Duration) -> ExecOutcome; logs(a: &str, b: u32) -> String;
    events() -> BoxStream<'static, EngineEvent>;
}
