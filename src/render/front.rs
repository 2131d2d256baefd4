//! The secret that a front's webhook calls are signed with.

use super::answers::AnswerKey;
use crate::model::id::hex;
use crate::model::{InstanceId, IntegrationId};

/// Separates these secrets from any other use of the key, and versions them.
const PURPOSE: &[u8] = b"webhook1";

/// The secret of an integration in its `epoch`: 64 hex digits, derived, so that none is stored.
pub fn webhook_secret(key: &AnswerKey, integration: IntegrationId, epoch: u32) -> String {
    let id = InstanceId::new(integration.as_uuid());
    hex(&key.derive(PURPOSE, id, &[&epoch.to_string()])[..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn of(key: u8, id: u128, epoch: u32) -> String {
        webhook_secret(&AnswerKey::new([key; 32]), IntegrationId::new(Uuid::from_u128(id)), epoch)
    }

    #[test]
    fn a_secret_stays_what_it_was_given_out_as() {
        insta::assert_snapshot!(of(1, 2, 0), @"cb3a992a461afd6cd08eb3aa01166b523def81d7410e796636fac3845012e352");
    }

    proptest! {
        #[test]
        fn another_key_integration_or_epoch_is_another_secret(
            key in 1..u8::MAX, id in 1..u128::MAX, epoch in 0..u32::MAX,
        ) {
            let own = of(key, id, epoch);
            prop_assert_eq!(own.len(), 64);
            for other in [of(key - 1, id, epoch), of(key, id - 1, epoch), of(key, id, epoch + 1)] {
                prop_assert_ne!(&own, &other);
            }
        }
    }
}
