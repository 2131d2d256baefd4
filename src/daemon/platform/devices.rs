//! Letting a program in: it shows a code, a person types it where they are signed in.
//!
//! # Invariants
//! * The token is made when the program fetches it, and given out once.
//! * A code is good for ten minutes, and its person sees from where it was asked for.

use super::tokens::{Origin, fresh_token, hash, public_id, random};
use super::{Denial, Outcome, Platform};
use crate::model::Account;
use crate::store::{DeviceRow, DeviceState};

/// How long a code is good for, in seconds.
pub const DEVICE_CODE_SECS: u32 = 600;

/// What user codes are made of: nothing that looks like another.
const ALPHABET: &[u8; 31] = b"ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/// The codes of a new request.
#[derive(Clone)]
pub struct DeviceCodes {
    /// What the program keeps.
    pub device_code: String,
    /// What the person types.
    pub user_code: String,
}

/// What the program is told. Its `Debug` is not derived, since it carries the token.
#[derive(Clone, PartialEq, Eq)]
pub enum DeviceAnswer {
    /// Nobody has said anything yet.
    Pending,
    /// They were let in: the token, this once.
    Approved(String),
    /// They were refused.
    Denied,
    /// The time is over, or there was no such request.
    Expired,
}

/// What a person says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceVerdict {
    /// Let it in.
    Approve,
    /// Do not.
    Deny,
}

impl Platform {
    /// Begins a request.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn request_device(&self, origin: Origin) -> Outcome<DeviceCodes> {
        let codes = DeviceCodes { device_code: fresh_token("")?, user_code: user_code()? };
        let now = self.now();
        let row = DeviceRow {
            user_code: codes.user_code.clone(),
            state: DeviceState::Pending,
            requested_at: now,
            expires_at: now.plus_secs(i64::from(DEVICE_CODE_SECS)),
            address: origin.address,
            user_agent: origin.user_agent.chars().take(200).collect(),
        };
        self.shared.store.add_device(hash(&codes.device_code), row).await?;
        Ok(codes)
    }

    /// How far a request is, for the program that waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn device_answer(&self, device_code: &str, origin: Origin) -> Outcome<DeviceAnswer> {
        let (token, id) = (fresh_token("pt_")?, public_id()?);
        let (platform, secret) = (self.clone(), token.clone());
        let make = move |user| platform.session(user, &secret, id, origin);
        let state = self.shared.store.redeem_device(hash(device_code), self.now(), make).await?;
        Ok(match state {
            None => DeviceAnswer::Expired,
            Some(DeviceState::Pending) => DeviceAnswer::Pending,
            Some(DeviceState::Denied) => DeviceAnswer::Denied,
            Some(DeviceState::Approved(_)) => DeviceAnswer::Approved(token),
        })
    }

    /// The request behind a user code.
    ///
    /// # Errors
    /// `device_code_invalid`.
    pub async fn device(&self, user_code: &str) -> Outcome<DeviceRow> {
        let code = normal(user_code);
        let found = self.shared.store.device_by_user_code(&code, self.now()).await?;
        found.ok_or_else(|| invalid().into())
    }

    /// Lets the program behind a user code in, or refuses it.
    ///
    /// # Errors
    /// `device_code_invalid`.
    pub async fn answer_device(
        &self,
        account: &Account,
        user_code: &str,
        verdict: DeviceVerdict,
    ) -> Outcome<DeviceRow> {
        let approved_by = (verdict == DeviceVerdict::Approve).then_some(account.id);
        let (code, now) = (normal(user_code), self.now());
        let found = self.shared.store.answer_device(&code, approved_by, now).await?;
        found.ok_or_else(|| invalid().into())
    }

    /// As [`Platform::answer_device`], for somebody who shows address and password instead of a
    /// token.
    ///
    /// # Errors
    /// `invalid_credentials`, `device_code_invalid`.
    pub async fn answer_device_as(
        &self,
        (email, password): (&str, String),
        user_code: &str,
        verdict: DeviceVerdict,
    ) -> Outcome<DeviceRow> {
        let account = self.recognize(email, password).await?;
        self.answer_device(&account, user_code, verdict).await
    }
}

fn invalid() -> Denial {
    let message = "this code is unknown or over: ask the program for another";
    Denial::not_found("device_code_invalid", message)
}

/// The code as it is kept.
fn normal(text: &str) -> String {
    text.trim().to_uppercase().chars().take(64).collect()
}

/// Eight characters in two groups. 256 is no multiple of 31, so bytes beyond the last whole
/// multiple are drawn again.
fn user_code() -> Outcome<String> {
    let mut code = String::new();
    while code.len() < 9 {
        for byte in random::<16>()? {
            if code.len() == 4 {
                code.push('-');
            }
            if byte < 248 && code.len() < 9 {
                code.push(char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_code_has_two_groups_without_look_alikes() {
        for _ in 0..200 {
            let code = user_code().unwrap();
            let (first, second) = code.split_once('-').unwrap();
            assert_eq!((first.len(), second.len()), (4, 4), "{code}");
            assert!(code.chars().all(|c| c == '-' || ALPHABET.contains(&(c as u8))), "{code}");
            assert!(!code.contains(['0', '1', 'I', 'L', 'O']), "{code}");
        }
        assert_eq!(normal("  nrqy-7xpb "), "NRQY-7XPB");
    }
}
