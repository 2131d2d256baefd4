//! What one row of a quiz data set says: a question, its options, and which of them is right.
//!
//! Each data set names its columns differently (`contract/challenges.md` §11.5); the challenge
//! that comes out has one shape.
//!
//! # Invariants
//! * No reason names the content of a row: it holds the answer.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::lists;
use crate::cli::new::yaml;
use crate::model::Difficulty;

/// The letters of the options.
const LETTERS: [char; 4] = ['A', 'B', 'C', 'D'];
/// Words and characters of a name.
const MAX_NAME: (usize, usize) = (8, 60);

/// One of the public data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum DataSet {
    /// SecQA: question, columns A to D, answer
    #[value(name = "secqa")]
    SecQa,
    /// MMLU computer security: question, list of choices, answer
    #[value(name = "mmlu_cs")]
    MmluCs,
    /// CTI-MCQ of CTIBench: question, columns `Option A` to `Option D`, GT
    #[value(name = "cti_mcq")]
    CtiMcq,
}

impl DataSet {
    /// The bucket that its challenges go to.
    pub(super) fn bucket(self) -> &'static str {
        match self {
            Self::SecQa => "SECQA",
            Self::MmluCs => "MMLU-CS",
            Self::CtiMcq => "CTI-MCQ",
        }
    }

    /// How hard its questions are.
    pub(super) fn difficulty(self) -> Difficulty {
        match self {
            Self::SecQa => Difficulty::Easy,
            Self::MmluCs | Self::CtiMcq => Difficulty::Medium,
        }
    }

    /// Its name, and the licence that its footer names.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::SecQa => ("SecQA", "CC-BY-NC-4.0"),
            Self::MmluCs => ("MMLU computer_security", "MIT"),
            Self::CtiMcq => ("CTI-MCQ", "academic-use-only"),
        }
    }

    fn tags(self) -> &'static [&'static str] {
        match self {
            Self::SecQa => &["benchmark_secqa", "qa", "mcq", "cybersecurity"],
            Self::MmluCs => &["benchmark_mmlu_cs", "qa", "mcq", "cybersecurity"],
            Self::CtiMcq => {
                &["benchmark_cti_mcq", "qa", "mcq", "cybersecurity", "threat_intelligence"]
            }
        }
    }
}

/// One question with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    question: String,
    options: Vec<String>,
    /// Which option is right.
    right: usize,
}

impl Item {
    /// Reads a row.
    ///
    /// # Errors
    /// What the row lacks, as a sentence without its content.
    pub(super) fn read(set: DataSet, row: &Map<String, Value>) -> Result<Self, String> {
        let question = match set {
            DataSet::SecQa => first_text(row, &["Question", "question"])?,
            DataSet::MmluCs => first_text(row, &["question"])?,
            DataSet::CtiMcq => first_text(row, &["Question", "question", "prompt"])?,
        };
        let options = match set {
            DataSet::SecQa => {
                letters(row, |c| [c.to_string(), c.to_ascii_lowercase().to_string()])?
            }
            DataSet::MmluCs => listed(row, &["choices"], 4)?,
            DataSet::CtiMcq => match letters(row, |c| {
                [format!("Option {c}"), format!("option_{}", c.to_ascii_lowercase())]
            }) {
                Ok(options) => options,
                Err(_) if has_any(row, &["choices", "options"]) => {
                    listed(row, &["choices", "options"], 2)?
                }
                Err(reason) => return Err(reason),
            },
        };
        if let Some((first, second)) = twins(&options) {
            let (first, second) = (LETTERS[first], LETTERS[second]);
            return Err(format!("options {first} and {second} are the same"));
        }
        let answer = match set {
            DataSet::SecQa => given(row, &["Answer", "answer"])?,
            DataSet::MmluCs => given(row, &["answer"])?,
            DataSet::CtiMcq => filled(row, &["GT", "answer", "correct"])?,
        };
        let right = index(answer.1).ok_or_else(|| {
            format!("`{}` is neither a letter nor the index of an option", answer.0)
        })?;
        if right >= options.len() {
            return Err(format!("`{}` names none of the {} options", answer.0, options.len()));
        }
        Ok(Self { question, options, right })
    }

    /// The `metadata.yaml` of the challenge; `row` counts from 0, as upstream does.
    pub(super) fn metadata(
        &self,
        set: DataSet,
        id: &str,
        row: usize,
        difficulty: Difficulty,
    ) -> String {
        let tags: Vec<String> = set.tags().iter().map(|tag| (*tag).to_owned()).collect();
        let letters: Vec<String> =
            LETTERS[..self.options.len()].iter().map(char::to_string).collect();
        format!(
            "name: {}\ndescription: {}\ndifficulty: {difficulty}\ncategory: misc\ntags: {}\n\
             questions:\n  - id: answer\n    prompt: Select the correct option (letter A/B/C/D).\n    \
             answer: {}\n    choices: {}\n",
            yaml::scalar(&format!("{id}: {}", short(&self.question))),
            yaml::block(&self.description(set, row)),
            yaml::list(&tags),
            LETTERS[self.right],
            yaml::list(&letters),
        )
    }

    fn description(&self, set: DataSet, row: usize) -> String {
        let options: Vec<String> = (self.options.iter().zip(LETTERS))
            .map(|(option, letter)| format!("{letter}) {option}"))
            .collect();
        let (name, licence) = set.source();
        let question = &self.question;
        format!("{question}\n\n{}\n\n[source: {name} row{row}, {licence}]\n", options.join("\n"))
    }
}

/// The first words of a question, as a name.
fn short(question: &str) -> String {
    let words: Vec<&str> = question
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(MAX_NAME.0)
        .collect();
    let short: String = words.join(" ").chars().take(MAX_NAME.1).collect();
    if short.is_empty() { "question".to_owned() } else { short.trim_end().to_owned() }
}

/// The text of the first of `keys` that says something.
fn first_text(row: &Map<String, Value>, keys: &[&str]) -> Result<String, String> {
    let given = || keys.iter().filter_map(|key| Some((*key, row.get(*key)?)));
    let Some((key, value)) = given().find(|(_, value)| !is_empty(value)).or_else(|| given().next())
    else {
        return Err(format!("there is no {}", either(keys)));
    };
    match value.as_str().map(str::trim) {
        _ if is_empty(value) => Err(format!("`{key}` is empty")),
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("`{key}` is no text")),
    }
}

/// One option per letter, each in a column of one of two names.
fn letters(
    row: &Map<String, Value>,
    names: impl Fn(char) -> [String; 2],
) -> Result<Vec<String>, String> {
    LETTERS
        .into_iter()
        .map(|letter| {
            let names = names(letter);
            option(names.iter().find_map(|name| row.get(name)))
                .ok_or_else(|| format!("the column `{}` is missing or no text", names[0]))
        })
        .collect()
}

/// The options of the first of `keys` that holds at least `least` and at most four.
fn listed(row: &Map<String, Value>, keys: &[&str], least: usize) -> Result<Vec<String>, String> {
    let lists: Vec<Cow<'_, [Value]>> =
        keys.iter().filter_map(|key| row.get(*key)).filter_map(list_of).collect();
    let Some(first) = lists.first() else {
        return Err(format!("{} is missing or no list", either(keys)));
    };
    let fits = |list: &&Cow<'_, [Value]>| (least..=LETTERS.len()).contains(&list.len());
    let Some(list) = lists.iter().find(fits) else {
        let wanted = if least == LETTERS.len() { "four" } else { "two to four" };
        let (n, s) = (first.len(), if first.len() == 1 { "" } else { "s" });
        return Err(format!("{} has {n} option{s}, not {wanted}", either(keys)));
    };
    let options: Option<Vec<String>> = list.iter().map(|value| option(Some(value))).collect();
    options.ok_or_else(|| format!("an option in {} is blank or no text", either(keys)))
}

/// A list as JSON has it, or as the cell of a table spells it.
fn list_of(value: &Value) -> Option<Cow<'_, [Value]>> {
    match value {
        Value::Array(list) => Some(Cow::Borrowed(list)),
        Value::String(cell) => lists::parse(cell).map(Cow::Owned),
        _ => None,
    }
}

/// The first two options that players could not tell apart.
fn twins(options: &[String]) -> Option<(usize, usize)> {
    let second_of =
        |at: usize| (at + 1..options.len()).find(|other| options[*other] == options[at]);
    (0..options.len()).find_map(|at| Some((at, second_of(at)?)))
}

fn option(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The first of `keys` that is there, with its name.
fn given<'r>(
    row: &'r Map<String, Value>,
    keys: &[&'static str],
) -> Result<(&'static str, &'r Value), String> {
    let found = keys.iter().find_map(|key| Some((*key, row.get(*key)?)));
    found.ok_or_else(|| format!("there is no {}", either(keys)))
}

/// The first of `keys` that says something, with its name.
fn filled<'r>(
    row: &'r Map<String, Value>,
    keys: &[&'static str],
) -> Result<(&'static str, &'r Value), String> {
    let found = keys.iter().find_map(|key| Some((*key, row.get(*key)?)));
    let said =
        keys.iter().find_map(|key| Some((*key, row.get(*key).filter(|value| !is_empty(value))?)));
    said.or(found).ok_or_else(|| format!("there is no {}", either(keys)))
}

fn has_any(row: &Map<String, Value>, keys: &[&str]) -> bool {
    keys.iter().any(|key| row.get(*key).and_then(list_of).is_some())
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// A letter, or an index that counts from 0, as a number or as text.
fn index(answer: &Value) -> Option<usize> {
    if let Some(number) = answer.as_u64() {
        return usize::try_from(number).ok();
    }
    let text = answer.as_str()?.trim();
    let mut chars = text.chars();
    if let (Some(letter), None) = (chars.next(), chars.next())
        && let Some(at) = LETTERS.iter().position(|known| known.eq_ignore_ascii_case(&letter))
    {
        return Some(at);
    }
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn either(keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    keys.join(" or ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(set: DataSet, row: &Value) -> Result<Item, String> {
        Item::read(set, row.as_object().unwrap())
    }

    #[test]
    fn rows_of_every_data_set_are_understood() {
        let abcd = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned(), "d".to_owned()];
        for (set, row, n_options, right) in [
            (
                DataSet::SecQa,
                json!({"Question":"q","A":"a","B":"b","C":"c","D":"d","Answer":"C"}),
                4,
                2,
            ),
            (
                DataSet::SecQa,
                json!({"question":"q","a":"a","b":"b","c":"c","d":"d","answer":"1"}),
                4,
                1,
            ),
            (
                DataSet::MmluCs,
                json!({"question":" q ","choices":["a"," b ","c","d"],"answer":3}),
                4,
                3,
            ),
            (
                DataSet::MmluCs,
                json!({"question":"q","choices":["a","b","c","d"],"answer":" b "}),
                4,
                1,
            ),
            (
                DataSet::CtiMcq,
                json!({"Question":"q","Option A":"a","Option B":"b","option_c":"c","option_d":"d","GT":"A"}),
                4,
                0,
            ),
            (
                DataSet::MmluCs,
                json!({"question":"q","choices":"['a', 'b', 'c', 'd']","answer":"2"}),
                4,
                2,
            ),
            (DataSet::CtiMcq, json!({"prompt":"q","options":["a","b"],"correct":1}), 2, 1),
            (DataSet::CtiMcq, json!({"prompt":"q","options":"[\"a\", \"b\"]","correct":0}), 2, 0),
            (
                DataSet::CtiMcq,
                json!({"Question":"","question":"q","options":[],"choices":["a","b"],"GT":"","answer":"B"}),
                2,
                1,
            ),
        ] {
            let item = read(set, &row).unwrap();
            assert_eq!(item.question, "q", "{row}");
            assert_eq!(item.options, abcd()[..n_options], "{row}");
            assert_eq!(item.right, right, "{row}");
        }
    }

    #[test]
    fn a_bad_row_is_told_what_it_lacks_and_never_shown() {
        let choices = json!(["secret1", "secret2", "secret3", "secret4"]);
        for (set, row, reason) in [
            (DataSet::MmluCs, json!({"choices": choices, "answer": 1}), "there is no `question`"),
            (DataSet::MmluCs, json!({"question": " ", "choices": choices}), "`question` is empty"),
            (DataSet::SecQa, json!({"Question": "", "A": "secret"}), "`Question` is empty"),
            (DataSet::SecQa, json!({"question": null}), "`question` is empty"),
            (
                DataSet::SecQa,
                json!({"Question": "q", "A": "secret", "B": " secret ", "C": "c", "D": "d"}),
                "options A and B are the same",
            ),
            (
                DataSet::MmluCs,
                json!({"question": "q", "choices": "secret, b"}),
                "`choices` is missing or no list",
            ),
            (DataSet::MmluCs, json!({"question": 5, "choices": choices}), "`question` is no text"),
            (DataSet::MmluCs, json!({"question": "q"}), "`choices` is missing or no list"),
            (
                DataSet::MmluCs,
                json!({"question": "q", "choices": ["secret"]}),
                "`choices` has 1 option, not four",
            ),
            (
                DataSet::MmluCs,
                json!({"question": "q", "choices": ["secret", "b", "c", 4]}),
                "an option in `choices` is blank or no text",
            ),
            (DataSet::MmluCs, json!({"question": "q", "choices": choices}), "there is no `answer`"),
            (
                DataSet::MmluCs,
                json!({"question": "q", "choices": choices, "answer": "secret1"}),
                "`answer` is neither a letter nor the index of an option",
            ),
            (
                DataSet::MmluCs,
                json!({"question": "q", "choices": choices, "answer": true}),
                "`answer` is neither a letter nor the index of an option",
            ),
            (
                DataSet::MmluCs,
                json!({"question": "q", "choices": choices, "answer": 4}),
                "`answer` names none of the 4 options",
            ),
            (
                DataSet::CtiMcq,
                json!({"question": "q", "choices": ["secret", "b"], "GT": "D"}),
                "`GT` names none of the 2 options",
            ),
            (
                DataSet::SecQa,
                json!({"Question": "q", "A": "secret", "B": "", "C": "c", "D": "d"}),
                "the column `B` is missing or no text",
            ),
        ] {
            assert_eq!(read(set, &row).unwrap_err(), reason, "{row}");
        }
    }

    #[test]
    fn a_name_is_the_first_words_of_the_question() {
        for (question, name) in [
            ("What does TCP/IP stand for, really?", "What does TCP IP stand for really"),
            (
                "one two three four five six seven eight nine",
                "one two three four five six seven eight",
            ),
            ("???", "question"),
            ("漢字", "question"),
        ] {
            assert_eq!(short(question), name);
        }
        assert_eq!(short(&"x".repeat(70)), "x".repeat(60));
    }

    #[test]
    fn a_challenge_has_the_shape_of_the_contract() {
        let row = json!({"question":"Which port?","choices":["21","22","23","25"],"answer":1});
        let item = read(DataSet::MmluCs, &row).unwrap();
        let metadata = item.metadata(DataSet::MmluCs, "MMLU-CS-0007", 11, Difficulty::Medium);
        insta::assert_snapshot!(metadata, @r#"
        name: "MMLU-CS-0007: Which port"
        description: |
          Which port?

          A) 21
          B) 22
          C) 23
          D) 25

          [source: MMLU computer_security row11, MIT]
        difficulty: medium
        category: misc
        tags: [benchmark_mmlu_cs, qa, mcq, cybersecurity]
        questions:
          - id: answer
            prompt: Select the correct option (letter A/B/C/D).
            answer: B
            choices: [A, B, C, D]
        "#);
    }
}
