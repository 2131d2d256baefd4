//! The client of this program, and what its errors say to a person.

pub(crate) use crate::client::{
    Client, ClientError, DeviceCode, DeviceStatus, InstanceView, Me, Request, StartWish,
    TokenOrigin, is_local,
};

use super::failure::Failure;
use super::output::clean;
use crate::config::SecretError;
use crate::telemetry::Chain;

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        // A server that is not ours may say anything.
        let (problem, next) = (clean(&error.to_string()), error.next());
        match error {
            ClientError::Address { .. } => Self::usage(problem, next),
            ClientError::Tls { .. }
            | ClientError::Unreachable { .. }
            | ClientError::TimedOut { .. }
            | ClientError::Denied { .. }
            | ClientError::Refused { .. }
            | ClientError::NotFlagops { .. } => Self::failed(problem, next),
        }
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::usage(Chain(&error).to_string(), "name a readable file with `--token-file`")
    }
}
