//! Mints the answers of dynamic questions and packs them for `/answers`.
//!
//! An answer is derived, never stored: HMAC-SHA-256 with the installation's key over instance and
//! question. After a crash, or with a lost database, the same instance gets the same answers again.
//!
//! # Invariants
//! * The same key, instance and question give the same answer; another instance or question gives
//!   another one. Golden tests pin the values: changing them breaks running instances.
//! * The key is never printed and does not outlive its owner in memory.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::id::hex;
use crate::model::{AnswerFormat, InstanceId, QuestionId};

/// Separates these codes from any other use of the key, and versions them. No other purpose begins
/// with it.
const PURPOSE: &[u8] = b"answer1";

/// Where the files of [`answers_tar`] are unpacked.
pub const ANSWERS_DIR: &str = "/answers";

/// The secret that all answers of this installation are derived from.
#[derive(Clone)]
pub struct AnswerKey([u8; 32]);

impl AnswerKey {
    /// Takes over 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl AnswerKey {
    /// 32 bytes for `purpose` on `instance`, told apart by `words`: keys that need not be stored.
    pub(super) fn derive(&self, purpose: &[u8], instance: InstanceId, words: &[&str]) -> Seed {
        let mut code =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        code.update(purpose);
        code.update(instance.to_string().as_bytes());
        for word in words {
            code.update(&(word.len() as u64).to_be_bytes());
            code.update(word.as_bytes());
        }
        Zeroizing::new(code.finalize().into_bytes().into())
    }
}

/// 32 secret bytes.
pub(super) type Seed = Zeroizing<[u8; 32]>;

impl fmt::Debug for AnswerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerKey(hidden)")
    }
}

impl Drop for AnswerKey {
    fn drop(&mut self) {
        self.0.fill(0);
        // Keeps the optimiser from dropping a write that nobody reads.
        std::hint::black_box(&self.0);
    }
}

/// The answer of `question` on `instance`: 128 bits, as `FLAG{32 hex}` or bare. `epoch` counts how
/// often the instance was given other answers.
pub fn mint(
    key: &AnswerKey,
    instance: InstanceId,
    epoch: u32,
    question: &QuestionId,
    format: AnswerFormat,
) -> String {
    let mut code = Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC accepts keys of any length");
    code.update(PURPOSE);
    // Always 36 characters, so no other instance and question give the same bytes.
    code.update(instance.to_string().as_bytes());
    code.update(&[0]);
    code.update(question.as_str().as_bytes());
    if epoch > 0 {
        // No question holds a NUL, so this is no other question's first answer.
        code.update(&[0]);
        code.update(&epoch.to_be_bytes());
    }
    let body = hex(&code.finalize().into_bytes()[..16]);
    match format {
        AnswerFormat::Flag => format!("FLAG{{{body}}}"),
        AnswerFormat::Raw => body,
    }
}

/// A tar of one file per answer: named by the question, holding exactly the answer (no newline),
/// readable by every user inside, owned by root. Equal answers give equal bytes.
///
/// A name that is no question id is left out, because it could name a place outside the folder.
pub fn answers_tar(answers: &BTreeMap<String, String>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, answer) in answers {
        if name.parse::<QuestionId>().is_err() {
            continue;
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(name).expect("a question id is a relative path of at most 64 bytes");
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(answer.len() as u64);
        header.set_mode(0o444);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, answer.as_bytes()).expect("writing to memory does not fail");
    }
    archive.into_inner().expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn key(byte: u8) -> AnswerKey {
        AnswerKey::new([byte; 32])
    }

    fn instance(n: u128) -> InstanceId {
        InstanceId::new(Uuid::from_u128(n))
    }

    fn question(id: &str) -> QuestionId {
        id.parse().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Vec<(String, String, u32, u64)> {
        let mut archive = tar::Archive::new(bytes);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                let name = entry.path().unwrap().display().to_string();
                let header = entry.header();
                (name, content, header.mode().unwrap(), header.uid().unwrap())
            })
            .collect()
    }

    #[test]
    fn answers_never_change_between_versions() {
        let mint = |q: &str, format| super::mint(&key(7), instance(1), 0, &question(q), format);
        insta::assert_snapshot!(mint("flag", AnswerFormat::Flag), @"FLAG{b9911d0afb27c935b896eb73ed7fc91d}");
        insta::assert_snapshot!(mint("flag", AnswerFormat::Raw), @"b9911d0afb27c935b896eb73ed7fc91d");
        insta::assert_snapshot!(mint("user_txt", AnswerFormat::Raw), @"c2a275ddf10c054dd0d8d675b88bb68b");
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", key(9)), "AnswerKey(hidden)");
    }

    #[test]
    fn answers_are_files_named_by_their_question() {
        let answers = BTreeMap::from([
            ("flag".to_owned(), "FLAG{00}".to_owned()),
            ("user_txt".to_owned(), "ff".to_owned()),
        ]);
        assert_eq!(
            unpack(&answers_tar(&answers)),
            [
                ("flag".to_owned(), "FLAG{00}".to_owned(), 0o444, 0),
                ("user_txt".to_owned(), "ff".to_owned(), 0o444, 0),
            ]
        );
        assert_eq!(answers_tar(&answers), answers_tar(&answers));
    }

    #[test]
    fn a_name_that_leaves_the_folder_is_left_out() {
        for name in ["../etc/passwd", "/etc/passwd", "", "a/b", "Flag", &"a".repeat(65)] {
            let answers = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            assert_eq!(unpack(&answers_tar(&answers)), [], "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_instance_question_and_key_has_its_own_answer(
            a in (any::<u128>(), 0_u32..3, "[a-z][a-z0-9_]{0,20}", any::<u8>()),
            b in (any::<u128>(), 0_u32..3, "[a-z][a-z0-9_]{0,20}", any::<u8>()),
        ) {
            let mint = |(n, e, q, k): &(u128, u32, String, u8)| {
                super::mint(&key(*k), instance(*n), *e, &question(q), AnswerFormat::Raw)
            };
            prop_assert_eq!(mint(&a) == mint(&b), a == b);
        }

        #[test]
        fn a_minted_answer_has_the_promised_shape(n in any::<u128>()) {
            let flag = mint(&key(1), instance(n), 0, &question("flag"), AnswerFormat::Flag);
            let raw = mint(&key(1), instance(n), 0, &question("flag"), AnswerFormat::Raw);
            prop_assert_eq!(flag, format!("FLAG{{{raw}}}"));
            prop_assert_eq!(raw.len(), 32);
            prop_assert!(raw.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        }
    }
}
