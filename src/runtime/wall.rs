//! stub
use crate::model::InstallationId;
pub struct Wall;
pub enum WallState { Up, Unsupported { reason: String } }
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct WallError;
impl Wall {
    pub fn new(_: &InstallationId, _: ipnet::Ipv4Net) -> Self { Self }
    pub async fn ensure(&self) -> Result<WallState, WallError> { Ok(WallState::Unsupported { reason: "not there".into() }) }
}
