//! Lua expressions as trees.

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Nil,
    Bool(bool),
    Number(f64),
    Text(String),
    Name(String),
    Index(Box<Self>, Box<Self>),
    Call(Box<Self>, Vec<Self>),
    Method(Box<Self>, String, Vec<Self>),
    /// `function() return … end`.
    Function(Box<Self>),
    Unary(&'static str, Box<Self>),
    Binary(&'static str, Box<Self>, Box<Self>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Name(String),
    Symbol(&'static str),
}

/// Nested deeper than this is refused, so that no configuration can exhaust the stack.
const MAX_DEPTH: u8 = 40;

const SYMBOLS: [&str; 25] = [
    "...", "..", "==", "~=", "<=", ">=", "<", ">", "(", ")", "[", "]", "{", "}", ".", ":", ",",
    "+", "-", "*", "/", "%", "^", "#", ";",
];

/// Operators by how tightly they bind; `..` and `^` group to the right.
const BINARY: [(&str, u8, u8); 15] = [
    ("or", 1, 2),
    ("and", 3, 4),
    ("<", 5, 6),
    (">", 5, 6),
    ("<=", 5, 6),
    (">=", 5, 6),
    ("~=", 5, 6),
    ("==", 5, 6),
    ("..", 8, 7),
    ("+", 9, 10),
    ("-", 9, 10),
    ("*", 11, 12),
    ("/", 11, 12),
    ("%", 11, 12),
    ("^", 16, 15),
];

/// Parses a whole expression.
pub(super) fn expression(source: &str) -> Option<Expr> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0 };
    let expr = parser.binary(0)?;
    (parser.at == parser.tokens.len()).then_some(expr)
}

fn tokens(source: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_alphabetic() || first == '_' {
            let end =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            end
        } else if first.is_ascii_digit() {
            let end =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
            // `1..2` is a concatenation, not a number.
            let end = rest[..end].find("..").unwrap_or(end);
            tokens.push(Token::Number(super::eval::number(&rest[..end])?));
            end
        } else if first == '"' || first == '\'' {
            let (text, length) = quoted(rest, first)?;
            tokens.push(Token::Text(text));
            length
        } else {
            let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol))?;
            tokens.push(Token::Symbol(symbol));
            symbol.len()
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

fn quoted(source: &str, mark: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = source.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == mark => return Some((text, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u8,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(known)) if *known == symbol)
            || matches!(self.peek(), Some(Token::Name(name)) if name == symbol);
        if found {
            self.at += 1;
        }
        found
    }

    fn binary(&mut self, least: u8) -> Option<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut left = self.unary()?;
        while let Some((operator, _, right_power)) = self.operator(least) {
            self.at += 1;
            let right = self.binary(right_power)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Some(left)
    }

    fn operator(&self, least: u8) -> Option<(&'static str, u8, u8)> {
        let text = match self.peek()? {
            Token::Symbol(symbol) => *symbol,
            Token::Name(name) => name.as_str(),
            Token::Number(_) | Token::Text(_) => return None,
        };
        BINARY.into_iter().find(|(operator, left, _)| *operator == text && *left >= least)
    }

    fn unary(&mut self) -> Option<Expr> {
        for operator in ["not", "-", "#"] {
            if self.take(operator) {
                return Some(Expr::Unary(operator, Box::new(self.binary(13)?)));
            }
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Option<Expr> {
        let mut expr = self.primary()?;
        loop {
            if self.take(".") {
                let Token::Name(name) = self.next()? else { return None };
                expr = Expr::Index(Box::new(expr), Box::new(Expr::Text(name)));
            } else if self.take("[") {
                let key = self.binary(0)?;
                expr = Expr::Index(Box::new(expr), Box::new(key));
                self.take("]").then_some(())?;
            } else if self.take(":") {
                let Token::Name(name) = self.next()? else { return None };
                self.take("(").then_some(())?;
                expr = Expr::Method(Box::new(expr), name, self.arguments()?);
            } else if self.take("(") {
                expr = Expr::Call(Box::new(expr), self.arguments()?);
            } else {
                return Some(expr);
            }
        }
    }

    fn arguments(&mut self) -> Option<Vec<Expr>> {
        let mut arguments = Vec::new();
        while !self.take(")") {
            arguments.push(self.binary(0)?);
            if !self.take(",") && !matches!(self.peek(), Some(Token::Symbol(")"))) {
                return None;
            }
        }
        Some(arguments)
    }

    fn primary(&mut self) -> Option<Expr> {
        match self.next()? {
            Token::Number(number) => Some(Expr::Number(number)),
            Token::Text(text) => Some(Expr::Text(text)),
            Token::Symbol("(") => {
                let expr = self.binary(0)?;
                self.take(")").then_some(expr)
            }
            Token::Symbol(_) => None,
            Token::Name(name) => match name.as_str() {
                "nil" => Some(Expr::Nil),
                "true" => Some(Expr::Bool(true)),
                "false" => Some(Expr::Bool(false)),
                "function" => self.function(),
                "and" | "or" | "not" | "end" | "return" | "if" | "then" | "else" | "local" => None,
                _ => Some(Expr::Name(name)),
            },
        }
    }

    fn function(&mut self) -> Option<Expr> {
        (self.take("(") && self.take(")") && self.take("return")).then_some(())?;
        let body = self.binary(0)?;
        self.take("end").then(|| Expr::Function(Box::new(body)))
    }
}
