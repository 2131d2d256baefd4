//! Bounds what a template can do, before it runs.
//!
//! The engine meters instructions, not what one instruction makes: `a ~ a` twenty times is a few
//! instructions and a gigabyte. And its parser builds chains as deep as they are long, on which its
//! compiler overflows the stack. So the length of every tag is bounded by its tokens, and the size of
//! every value by a walk over the syntax tree.
//!
//! # Invariants
//! * A template that passes makes no value of more than a few times [`MAX_VALUE`].
//! * The work is linear in the source.

use std::collections::BTreeMap;

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{Span, Token, parse, tokenize};

use super::sandbox::{error_at, from_engine, syntax};
use super::{Facts, MAX_SOURCE_BYTES, RenderError, Template, Trouble};

/// Largest value that filters and methods make, in bytes.
pub(super) const MAX_VALUE: u64 = 64 << 10;
/// Most tokens of one tag; the depth of every chain is below it.
const MAX_TAG_TOKENS: usize = 256;
/// Most `elif` of one file: each is nested in the one before.
const MAX_ELIF: usize = 64;
/// Room for any number that is printed.
const NUMBER: u64 = 400;
/// The names that the platform gives.
const ROOTS: &[&str] = &["answer", "challenge", "event", "instance", "service", "team"];

/// Whether a template may include others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It is what is rendered.
    Main,
    /// It is included, and includes nothing.
    Included,
}

/// What a template looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    /// The names of the platform, such as `answer`.
    pub roots: Vec<String>,
    /// The files it includes, with line and column.
    pub includes: Vec<(String, u32, u32)>,
}

/// Checks `template`, whose variables need `of_facts` bytes, and says what it looks at.
pub(super) fn check(
    template: Template<'_>,
    of_facts: u64,
    role: Role,
) -> Result<Uses, RenderError> {
    let whole = |trouble| error_at(template, None, trouble);
    if template.source.len() > MAX_SOURCE_BYTES {
        let what = format!("the source has more than {} KiB", MAX_SOURCE_BYTES >> 10);
        return Err(whole(Trouble::TooMuch { what }));
    }
    check_tokens(template)?;
    let tree = parse(template.source, template.name, syntax())
        .map_err(|error| from_engine(template, &BTreeMap::new(), &error))?;
    let limit = MAX_VALUE * 4 + of_facts * 4;
    // An included file sees the variables around its `include`, which may be as large as allowed.
    let unknown = match role {
        Role::Main => of_facts,
        Role::Included => limit,
    };
    let mut walk =
        Walk { role, of_facts, unknown, limit, vars: BTreeMap::new(), uses: Uses::default() };
    let Stmt::Template(tree) = &tree else { return Ok(walk.uses) };
    walk.body(&tree.children).map_err(|(span, trouble)| error_at(template, Some(span), trouble))?;
    Ok(walk.uses)
}

/// Bounds every tag, so that no chain is deep.
fn check_tokens(template: Template<'_>) -> Result<(), RenderError> {
    let (mut n_tokens, mut n_elif) = (0, 0);
    for token in tokenize(template.source, false, syntax()) {
        // The parser says it better.
        let Ok((token, span)) = token else { return Ok(()) };
        match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => n_tokens = 0,
            Token::Ident("elif") => n_elif += 1,
            _ => (),
        }
        n_tokens += 1;
        let what = if n_tokens > MAX_TAG_TOKENS {
            format!("a tag has more than {MAX_TAG_TOKENS} words and signs")
        } else if n_elif > MAX_ELIF {
            format!("there are more than {MAX_ELIF} `elif`")
        } else {
            continue;
        };
        return Err(error_at(template, Some(span), Trouble::TooMuch { what }));
    }
    Ok(())
}

/// What all facts together need when they are printed as a map.
pub(super) fn context_bytes(facts: &Facts) -> u64 {
    let named = [&facts.team, &facts.challenge, &facts.event];
    let lengths = named.iter().map(|it| it.id.len() + it.name.len());
    let answers = facts.answers.iter().map(|(id, answer)| id.len() + answer.len() * 4 + 8);
    let services = facts.services.iter().map(|(name, it)| name.len() + it.host.len() + 64);
    let total: usize = lengths.chain(answers).chain(services).sum();
    total as u64 + facts.instance_id.len() as u64 + 1024
}

type Found = (Span, Trouble);

/// How large a value can be.
#[derive(Debug, Clone, Copy)]
struct Size {
    bytes: u64,
    is_number: bool,
}

const fn text(bytes: u64) -> Size {
    Size { bytes, is_number: false }
}

const fn number() -> Size {
    Size { bytes: NUMBER, is_number: true }
}

struct Walk<'a> {
    role: Role,
    of_facts: u64,
    unknown: u64,
    limit: u64,
    vars: BTreeMap<&'a str, Size>,
    uses: Uses,
}

impl<'a> Walk<'a> {
    fn body(&mut self, body: &'a [Stmt<'a>]) -> Result<(), Found> {
        body.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &'a Stmt<'a>) -> Result<(), Found> {
        let unsupported = |span, what| Err((span, Trouble::Unsupported { what }));
        match statement {
            Stmt::Template(it) => self.body(&it.children),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::EmitExpr(it) => self.size(&it.expr).map(drop),
            Stmt::IfCond(it) => {
                self.size(&it.expr)?;
                self.body(&it.true_body)?;
                self.body(&it.false_body)
            }
            Stmt::ForLoop(it) => {
                if it.recursive {
                    return unsupported(it.span(), "`recursive`");
                }
                let items = self.size(&it.iter)?;
                let item = if is_range(&it.iter) { number() } else { text(items.bytes) };
                self.assign(&it.target, item)?;
                self.vars.insert("loop", text(items.bytes.max(NUMBER)));
                if let Some(filter) = &it.filter_expr {
                    self.size(filter)?;
                }
                self.body(&it.body)?;
                self.body(&it.else_body)
            }
            Stmt::WithBlock(it) => {
                for (target, value) in &it.assignments {
                    let size = self.size(value)?;
                    self.assign(target, size)?;
                }
                self.body(&it.body)
            }
            Stmt::Set(it) => {
                let size = self.size(&it.expr)?;
                self.assign(&it.target, size)
            }
            Stmt::AutoEscape(it) => unsupported(it.span(), "`autoescape`"),
            Stmt::Include(it) => self.include(&it.name, it.span()),
            Stmt::SetBlock(it) => unsupported(it.span(), "`set` as a block"),
            Stmt::FilterBlock(it) => unsupported(it.span(), "`filter` as a block"),
            Stmt::Block(it) => unsupported(it.span(), "`block`"),
            Stmt::Import(it) => unsupported(it.span(), "`import`"),
            Stmt::FromImport(it) => unsupported(it.span(), "`from … import`"),
            Stmt::Extends(it) => unsupported(it.span(), "`extends`"),
            Stmt::Macro(it) => unsupported(it.span(), "`macro`"),
            Stmt::CallBlock(it) => unsupported(it.span(), "`call`"),
            Stmt::Do(it) => unsupported(it.span(), "`do`"),
        }
    }

    fn include(&mut self, name: &'a Expr<'a>, span: Span) -> Result<(), Found> {
        let Some(name) = name.as_const().and_then(|name| name.as_str().map(str::to_owned)) else {
            let what = "`include` of anything but one name in quotes";
            return Err((span, Trouble::Unsupported { what }));
        };
        if self.role == Role::Included {
            let what = "`include` in a file that is included itself";
            return Err((span, Trouble::Unsupported { what }));
        }
        let place = (u32::from(span.start_line), u32::from(span.start_col) + 1);
        self.uses.includes.push((name, place.0, place.1));
        Ok(())
    }

    /// Notes that `target` can be as large as `size`.
    fn assign(&mut self, target: &'a Expr<'a>, size: Size) -> Result<(), Found> {
        match target {
            Expr::Var(var) if ROOTS.contains(&var.id) => {
                let what = "a variable of your own with a name of the platform";
                Err((var.span(), Trouble::Unsupported { what }))
            }
            Expr::Var(var) => {
                let known = self.vars.entry(var.id).or_insert(size);
                known.bytes = known.bytes.max(size.bytes);
                known.is_number &= size.is_number;
                Ok(())
            }
            Expr::Tuple(it) => {
                it.items.iter().try_for_each(|item| self.assign(item, text(size.bytes)))
            }
            Expr::List(it) => {
                it.items.iter().try_for_each(|item| self.assign(item, text(size.bytes)))
            }
            other => Err((other.span(), Trouble::Unsupported { what: "an assignment to a part" })),
        }
    }

    /// How large `expr` can be; an error when that is too much.
    fn size(&mut self, expr: &'a Expr<'a>) -> Result<Size, Found> {
        let size = self.unchecked_size(expr)?;
        if size.bytes > self.limit {
            let what = "a value can grow beyond 256 KiB".to_owned();
            return Err((expr.span(), Trouble::TooMuch { what }));
        }
        Ok(size)
    }

    fn unchecked_size(&mut self, expr: &'a Expr<'a>) -> Result<Size, Found> {
        Ok(match expr {
            Expr::Var(it) => self.variable(it.id),
            Expr::Const(it) => Size {
                bytes: it.value.to_string().len() as u64 + 4,
                is_number: it.value.is_number(),
            },
            Expr::Slice(it) => {
                for part in [&it.start, &it.stop, &it.step].into_iter().flatten() {
                    self.size(part)?;
                }
                text(self.size(&it.expr)?.bytes)
            }
            Expr::UnaryOp(it) => self.size(&it.expr)?,
            Expr::BinOp(it) => {
                let (left, right) = (self.size(&it.left)?, self.size(&it.right)?);
                operation(it.op, left, right).ok_or_else(|| {
                    let what = "`*` of anything but numbers".to_owned();
                    (it.span(), Trouble::TooMuch { what })
                })?
            }
            Expr::Compare(it) => {
                self.size(&it.expr)?;
                for op in &it.ops {
                    self.size(&op.expr)?;
                }
                text(8)
            }
            Expr::IfExpr(it) => {
                self.size(&it.test_expr)?;
                let mut bytes = self.size(&it.true_expr)?.bytes;
                if let Some(other) = &it.false_expr {
                    bytes = bytes.max(self.size(other)?.bytes);
                }
                text(bytes)
            }
            Expr::Filter(it) => {
                let input = it.expr.as_ref().map_or(Ok(text(0)), |input| self.size(input))?;
                let arguments = self.arguments(&it.args)?;
                super::filters::size(it.name, input.bytes, arguments).map_or_else(number, text)
            }
            Expr::Test(it) => {
                self.size(&it.expr)?;
                self.arguments(&it.args)?;
                text(8)
            }
            Expr::GetAttr(it) => text(self.size(&it.expr)?.bytes),
            Expr::GetItem(it) => {
                self.size(&it.subscript_expr)?;
                text(self.size(&it.expr)?.bytes)
            }
            Expr::Call(it) => {
                self.size(&it.expr)?;
                self.arguments(&it.args)?;
                // `range` and methods; both are bounded where they run.
                text(MAX_VALUE)
            }
            Expr::List(it) => self.sum(&it.items)?,
            Expr::Tuple(it) => self.sum(&it.items)?,
            Expr::Map(it) => text(self.sum(&it.keys)?.bytes + self.sum(&it.values)?.bytes),
        })
    }

    fn variable(&mut self, name: &str) -> Size {
        if ROOTS.contains(&name) {
            if !self.uses.roots.iter().any(|root| root == name) {
                self.uses.roots.push(name.to_owned());
            }
            return text(self.of_facts);
        }
        self.vars.get(name).copied().unwrap_or(text(self.unknown))
    }

    fn sum(&mut self, items: &'a [Expr<'a>]) -> Result<Size, Found> {
        let mut bytes = 2;
        for item in items {
            bytes += self.size(item)?.bytes + 4;
        }
        Ok(text(bytes))
    }

    /// The size of all arguments together.
    fn arguments(&mut self, args: &'a [CallArg<'a>]) -> Result<u64, Found> {
        let mut bytes = 0;
        for arg in args {
            bytes += match arg {
                CallArg::Pos(expr)
                | CallArg::Kwarg(_, expr)
                | CallArg::PosSplat(expr)
                | CallArg::KwargSplat(expr) => self.size(expr)?.bytes,
            };
        }
        Ok(bytes)
    }
}

/// The size of `left op right`; `None` when it has no bound.
fn operation(op: BinOpKind, left: Size, right: Size) -> Option<Size> {
    let both = left.bytes.saturating_add(right.bytes);
    match op {
        BinOpKind::Mul if left.is_number && right.is_number => Some(number()),
        BinOpKind::Mul => None,
        BinOpKind::Sub | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem | BinOpKind::Pow => {
            Some(number())
        }
        BinOpKind::Add if left.is_number && right.is_number => Some(number()),
        BinOpKind::Add | BinOpKind::Concat | BinOpKind::ScAnd | BinOpKind::ScOr => Some(text(both)),
        BinOpKind::Eq
        | BinOpKind::Ne
        | BinOpKind::Lt
        | BinOpKind::Lte
        | BinOpKind::Gt
        | BinOpKind::Gte
        | BinOpKind::In => Some(text(8)),
    }
}

/// Whether `expr` is `range(…)`.
fn is_range(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::Call(call) if matches!(&call.expr, Expr::Var(var) if var.id == "range"))
}
