//! The name by which the ingress knows an endpoint of an instance.

use super::answers::AnswerKey;
use crate::model::{InstanceId, ServiceName};

/// Separates these codes from any other use of the key, and versions them.
const PURPOSE: &[u8] = b"ingress1";

/// Length of a label: 85 bits.
const LEN: usize = 17;

/// What a label is made of: five bits each, and nothing that a host name cannot hold.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The first label of the host name of `port` of `service` on `instance`.
///
/// Whoever lacks the key cannot guess it, and it need not be stored: it is the same after a restart,
/// and with a lost database.
pub fn label(key: &AnswerKey, instance: InstanceId, service: &ServiceName, port: u16) -> String {
    let seed = key.derive(PURPOSE, instance, &[service.as_str(), &port.to_string()]);
    let bit = |nth: usize| usize::from(seed[nth / 8] >> (7 - nth % 8) & 1);
    let symbol = |nth: usize| (nth * 5..nth * 5 + 5).fold(0, |value, at| value << 1 | bit(at));
    (0..LEN).map(|nth| char::from(ALPHABET[symbol(nth)])).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn of(key: u8, instance: u128, service: &str, port: u16) -> String {
        let instance = InstanceId::new(Uuid::from_u128(instance));
        label(&AnswerKey::new([key; 32]), instance, &service.parse().unwrap(), port)
    }

    #[test]
    fn a_label_never_changes() {
        // Running instances are known by it: an upgrade must give the same.
        assert_eq!(of(7, 42, "web", 80), "luuxwka7o433tul35");
    }

    #[test]
    fn everything_that_it_is_made_from_counts() {
        let labels: BTreeSet<_> = [
            of(1, 1, "web", 80),
            of(2, 1, "web", 80),
            of(1, 2, "web", 80),
            of(1, 1, "api", 80),
            of(1, 1, "web", 81),
            // A digit cannot move from the name to the port.
            of(1, 1, "web8", 0),
        ]
        .into();
        assert_eq!(labels.len(), 6);
    }

    proptest! {
        #[test]
        fn a_label_is_seventeen_characters_of_a_host_name(
            key in any::<u8>(), instance in any::<u128>(), port in any::<u16>(),
        ) {
            let label = of(key, instance, "web", port);
            prop_assert_eq!(label.len(), 17);
            prop_assert!(label.bytes().all(|it| ALPHABET.contains(&it)));
        }
    }
}
