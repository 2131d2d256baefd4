//! The engine, shut in: no loader, few filters, fuel, a capped output, errors without values.

use std::collections::BTreeMap;
use std::io;

use minijinja::machinery::Span;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::bounds::{self, Role};
use super::{Facts, RenderError, Template, Trouble, filters};

/// Most instructions of one rendering.
const FUEL: u64 = 100_000;
/// Deepest nesting of blocks and includes.
const MAX_RECURSION: usize = 100;
/// Most files that one template includes.
const MAX_INCLUDES: usize = 16;

/// Renders `template` with what is `given`; see [`super::render`].
pub(in crate::render) fn render(
    template: Template<'_>,
    include: &dyn Fn(&str) -> Option<String>,
    given: &Given,
    max_output_bytes: usize,
) -> Result<String, RenderError> {
    let uses = bounds::check(template, given.n_bytes, Role::Main)?;
    let mut sources = BTreeMap::from([(template.name.to_owned(), template.source.to_owned())]);
    for (name, line, column) in &uses.includes {
        let fail = |trouble| RenderError {
            template: template.name.to_owned(),
            line: *line,
            column: *column,
            trouble,
        };
        if name == template.name {
            return Err(fail(Trouble::Unsupported { what: "an `include` of the file itself" }));
        }
        if sources.contains_key(name) {
            continue;
        }
        if sources.len() > MAX_INCLUDES {
            let what = format!("it includes more than {MAX_INCLUDES} files");
            return Err(fail(Trouble::TooMuch { what }));
        }
        let missing =
            || fail(Trouble::Missing { kind: "file in `attachments/`", name: name.clone() });
        let source = include(name).ok_or_else(missing)?;
        bounds::check(Template { name, source: &source }, given.n_bytes, Role::Included)?;
        sources.insert(name.clone(), source);
    }
    run(template, sources, given, max_output_bytes)
}

/// The variables of one rendering.
pub(in crate::render) struct Given {
    /// A mapping: what each name stands for.
    pub(in crate::render) values: Value,
    /// What all of it needs when it is printed.
    pub(in crate::render) n_bytes: u64,
}

impl Given {
    pub(super) fn of(facts: &Facts) -> Self {
        Self { values: context(facts), n_bytes: bounds::context_bytes(facts) }
    }
}

fn run(
    template: Template<'_>,
    sources: BTreeMap<String, String>,
    given: &Given,
    max_output_bytes: usize,
) -> Result<String, RenderError> {
    let mut env = Environment::empty();
    env.set_syntax(syntax());
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_formatter(print);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(MAX_RECURSION);
    // Without it an error does not know which variable is undefined, nor its column.
    env.set_debug(true);
    filters::add(&mut env);
    let failed = |error: &Error| from_engine(template, &sources, error);
    for (name, source) in &sources {
        env.add_template(name, source).map_err(|error| failed(&error))?;
    }
    let compiled = env.get_template(template.name).map_err(|error| failed(&error))?;
    let mut output = Capped { bytes: Vec::new(), limit: max_output_bytes, is_full: false };
    let rendered = compiled.render_captured_to(given.values.clone(), &mut output).map(drop);
    if output.is_full {
        let what = format!("the output has more than {max_output_bytes} bytes");
        return Err(error_at(template, None, Trouble::TooMuch { what }));
    }
    rendered.map_err(|error| failed(&error))?;
    // The engine writes text only; a character is never cut, for the writer takes all or nothing.
    String::from_utf8(output.bytes)
        .map_err(|_| error_at(template, None, Trouble::Failed { what: "the output is no text" }))
}

/// Jinja's own delimiters; a newline at the end stays.
pub(in crate::render) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .build()
        .expect("the default delimiters are valid")
}

fn context(facts: &Facts) -> Value {
    let map = |pairs: Vec<(&str, Value)>| -> Value {
        let map: BTreeMap<String, Value> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Value::from(map)
    };
    let answers: BTreeMap<String, Value> =
        facts.answers.iter().map(|(id, it)| (id.clone(), it.clone().into())).collect();
    let named = |key: &'static str, it: &super::Named| {
        map(vec![("id", it.id.clone().into()), (key, it.name.clone().into())])
    };
    let services: BTreeMap<String, Value> = facts
        .services
        .iter()
        .map(|(name, it)| {
            let address = map(vec![("host", it.host.clone().into()), ("port", it.port.into())]);
            (name.clone(), address)
        })
        .collect();
    map(vec![
        ("answer", Value::from(answers)),
        ("instance", map(vec![("id", facts.instance_id.clone().into())])),
        ("team", named("name", &facts.team)),
        ("challenge", named("name", &facts.challenge)),
        ("event", named("title", &facts.event)),
        ("service", Value::from(services)),
    ])
}

/// Prints text and numbers, as they are.
fn print(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match value.kind() {
        ValueKind::String => match value.as_str() {
            Some(text) => out.write_str(text),
            None => out.write_fmt(format_args!("{value}")),
        },
        ValueKind::Number | ValueKind::Bool | ValueKind::None => {
            out.write_fmt(format_args!("{value}"))
        }
        _ => return Err(Error::new(ErrorKind::NonPrimitive, "only text and numbers are printed")),
    };
    written.map_err(|_| Error::from(ErrorKind::WriteFailure))
}

/// Takes at most `limit` bytes.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl io::Write for Capped {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buf.len() > self.limit {
            self.is_full = true;
            return Err(io::Error::other("the output is full"));
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error at `span` of `template`.
pub(super) fn error_at(
    template: Template<'_>,
    span: Option<Span>,
    trouble: Trouble,
) -> RenderError {
    let (line, column) =
        span.map_or((0, 0), |it| (u32::from(it.start_line), u32::from(it.start_col) + 1));
    RenderError { template: template.name.to_owned(), line, column, trouble }
}

/// What the engine says, without the values that its words may hold.
pub(super) fn from_engine(
    template: Template<'_>,
    sources: &BTreeMap<String, String>,
    error: &Error,
) -> RenderError {
    // An error of an included file lies below the `include`.
    let mut deepest = error;
    while let Some(below) =
        std::error::Error::source(deepest).and_then(|it| it.downcast_ref::<Error>())
    {
        deepest = below;
    }
    let name = deepest.name().unwrap_or(template.name);
    let source = sources.get(name).map_or(template.source, String::as_str);
    let line = u32::try_from(deepest.line().unwrap_or(0)).unwrap_or(u32::MAX);
    let column = deepest.range().map_or(0, |range| column(source, range.start));
    RenderError { template: name.to_owned(), line, column, trouble: trouble(deepest) }
}

/// The column of byte `offset`, in characters.
fn column(source: &str, offset: usize) -> u32 {
    let before = source.get(..offset).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    u32::try_from(line.chars().count() + 1).unwrap_or(u32::MAX)
}

fn trouble(error: &Error) -> Trouble {
    let detail = error.detail().unwrap_or_default();
    let missing = |kind, name: &str| Trouble::Missing { kind, name: name.to_owned() };
    let second_word = || detail.split(' ').nth(1).unwrap_or_default();
    let too_much = |what: &str| Trouble::TooMuch { what: what.to_owned() };
    match error.kind() {
        _ if detail.contains("recursion") => too_much("it is nested too deep"),
        ErrorKind::SyntaxError | ErrorKind::BadEscape | ErrorKind::InvalidDelimiter => {
            Trouble::Syntax { reason: format!("this is no template: {detail}") }
        }
        ErrorKind::UndefinedError => {
            let name = detail.strip_suffix(" is undefined").unwrap_or("a variable");
            Trouble::Undefined { name: name.to_owned() }
        }
        ErrorKind::UnknownFilter => missing("filter", second_word()),
        ErrorKind::UnknownTest => missing("test", second_word()),
        ErrorKind::UnknownFunction => {
            missing("function", detail.split(' ').next().unwrap_or_default())
        }
        ErrorKind::UnknownMethod => {
            missing("method", detail.rsplit(' ').next().unwrap_or_default())
        }
        ErrorKind::TemplateNotFound => missing("file in `attachments/`", ""),
        ErrorKind::OutOfFuel if detail.is_empty() => too_much("it takes too many steps"),
        ErrorKind::OutOfFuel => too_much("a value has more than 64 KiB"),
        ErrorKind::WriteFailure => too_much("the output is too large"),
        ErrorKind::NonPrimitive => Trouble::Failed {
            what: "this prints a list or a mapping; only text and numbers are printed",
        },
        ErrorKind::TooManyArguments => Trouble::Failed { what: "this has too many arguments" },
        ErrorKind::MissingArgument => Trouble::Failed { what: "this lacks an argument" },
        ErrorKind::CannotUnpack => Trouble::Failed { what: "this cannot be unpacked" },
        _ => Trouble::Failed { what: "this cannot be done with these values" },
    }
}
