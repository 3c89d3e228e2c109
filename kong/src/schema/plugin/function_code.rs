//! What pre-function and post-function accept as code: text whose brackets and quotes fit.
//!
//! The gateway does not run Lua. It refuses what can be no Lua, so that a typing error is told at once.

use serde_json::Value;

/// The phases that code may be given for.
pub(super) const PHASES: [&str; 6] =
    ["certificate", "rewrite", "access", "header_filter", "body_filter", "log"];

/// Whether every bracket is closed.
pub(super) fn parses(code: &Value) -> Result<(), String> {
    let code = code.as_str().unwrap_or_default();
    let mut open = Vec::new();
    let mut quote = None;
    for c in code.chars() {
        match (quote, c) {
            (Some(mark), c) if c == mark => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => open.push(c),
            (None, ')' | ']' | '}') => {
                let wanted = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(wanted) {
                    return Err(format!("error parsing function: unexpected symbol near '{c}'"));
                }
            }
            (None, _) => {}
        }
    }
    if open.is_empty() && quote.is_none() {
        Ok(())
    } else {
        Err("error parsing function: unexpected end".into())
    }
}
