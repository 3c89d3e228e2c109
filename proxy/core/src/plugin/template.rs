//! `$(…)` in transformers: the expressions that people and controllers write, in the language they write them in.
//!
//! What is inside is a Lua expression. This evaluates the part of Lua that makes sense in one line: literals, fields,
//! `and`/`or`/`not`, comparison, arithmetic, `..`, `#`, string methods, `type`. Anything else is an error when the
//! request comes, as in Kong. There is no state and no loop, so every expression ends.

mod eval;
mod parse;

use crate::exchange::Exchange;
use eval::Scope;
pub(super) use eval::{format_number, number};
use parse::Expr;

/// A text with expressions in it, parsed once.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Expr(Expr),
    /// Not an expression; said when it is asked for.
    Broken,
}

/// The expression cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure;

impl Template {
    /// Parses a text; `$(` without its `)` stays text.
    pub(super) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("$(") {
            let Some(length) = closing(&rest[start + 2..]) else { break };
            if start > 0 {
                pieces.push(Piece::Text(rest[..start].to_owned()));
            }
            let source = &rest[start + 2..start + 2 + length];
            pieces.push(parse::expression(source).map_or(Piece::Broken, Piece::Expr));
            rest = &rest[start + 3 + length..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Self(pieces)
    }

    /// The text for a request; what is not there renders as nothing.
    pub(super) fn render(&self, exchange: &Exchange) -> Result<String, Failure> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Expr(expr) => Scope(exchange).eval(expr)?.render(&mut text)?,
                Piece::Broken => return Err(Failure),
            }
        }
        Ok(text)
    }
}

/// Where the parenthesis that is open at the start closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
