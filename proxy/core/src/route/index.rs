//! Which matchers can take a request at all, found by its host and path.
//!
//! The index only ever leaves out matchers that the engine would refuse: it reads from each expression which hosts
//! and which path prefixes it cannot do without. What it offers comes in the order of matching, so that the first
//! one which the engine accepts is the answer of the whole list.

use std::collections::HashMap;

use atc_router::ast::{BinaryOperator, Expression, LogicalExpression, Predicate, Value};
use foldhash::fast::RandomState;

/// Texts of the configuration; clients only ask for them, so nothing need be done against chosen collisions.
type ByText<T> = HashMap<String, T, RandomState>;

/// A path that an expression cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PathNeed {
    Exact(String),
    Prefix(String),
}

/// What an expression cannot do without; `None` is anything.
#[derive(Debug, Default)]
struct Need {
    hosts: Option<Vec<String>>,
    paths: Option<Vec<PathNeed>>,
}

impl Need {
    fn of(expression: &Expression) -> Self {
        match expression {
            Expression::Predicate(predicate) => Self::of_predicate(predicate),
            Expression::Logical(logical) => match logical.as_ref() {
                LogicalExpression::And(left, right) => {
                    let (left, right) = (Self::of(left), Self::of(right));
                    Self { hosts: left.hosts.or(right.hosts), paths: left.paths.or(right.paths) }
                }
                LogicalExpression::Or(left, right) => {
                    let (left, right) = (Self::of(left), Self::of(right));
                    Self {
                        hosts: both(left.hosts, right.hosts),
                        paths: both(left.paths, right.paths),
                    }
                }
                LogicalExpression::Not(_) => Self::default(),
            },
        }
    }

    fn of_predicate(predicate: &Predicate) -> Self {
        let Value::String(value) = &predicate.rhs else { return Self::default() };
        if !predicate.lhs.transformations.is_empty() {
            return Self::default();
        }
        let value = value.clone();
        match (predicate.lhs.var_name.as_str(), &predicate.op) {
            ("http.host", BinaryOperator::Equals) => Self { hosts: Some(vec![value]), paths: None },
            ("http.path", BinaryOperator::Equals) => {
                Self { hosts: None, paths: Some(vec![PathNeed::Exact(value)]) }
            }
            ("http.path", BinaryOperator::Prefix) => {
                Self { hosts: None, paths: Some(vec![PathNeed::Prefix(value)]) }
            }
            _ => Self::default(),
        }
    }
}

fn both<T>(left: Option<Vec<T>>, right: Option<Vec<T>>) -> Option<Vec<T>> {
    let (mut left, right) = left.zip(right)?;
    left.extend(right);
    Some(left)
}

/// Matchers by path. Lists hold places in the order of matching, ascending.
#[derive(Debug, Default)]
struct Bucket {
    exact: ByText<Vec<u32>>,
    prefixes: ByText<Vec<u32>>,
    lengths: Vec<usize>,
    any: Vec<u32>,
}

impl Bucket {
    fn insert(&mut self, place: u32, paths: Option<&[PathNeed]>) {
        let Some(paths) = paths else {
            self.any.push(place);
            return;
        };
        for path in paths {
            let list = match path {
                PathNeed::Exact(path) => self.exact.entry(path.clone()).or_default(),
                PathNeed::Prefix(path) => {
                    if let Err(at) = self.lengths.binary_search(&path.len()) {
                        self.lengths.insert(at, path.len());
                    }
                    self.prefixes.entry(path.clone()).or_default()
                }
            };
            if list.last() != Some(&place) {
                list.push(place);
            }
        }
    }

    fn collect<'a>(&'a self, path: &str, lists: &mut Vec<&'a [u32]>) {
        lists.extend(self.exact.get(path).map(Vec::as_slice));
        for length in self.lengths.iter().take_while(|length| **length <= path.len()) {
            let list = path.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
            lists.extend(list.map(Vec::as_slice));
        }
        if !self.any.is_empty() {
            lists.push(&self.any);
        }
    }
}

/// Matchers by host, then by path.
#[derive(Debug, Default)]
pub struct Index {
    hosts: ByText<Bucket>,
    any: Bucket,
}

impl Index {
    /// Indexes expressions that stand in the order of matching.
    #[must_use]
    pub fn new<'a>(expressions: impl IntoIterator<Item = &'a Expression>) -> Self {
        let mut index = Self::default();
        for (place, expression) in expressions.into_iter().enumerate() {
            let Ok(place) = u32::try_from(place) else { break };
            let Need { hosts, paths } = Need::of(expression);
            match hosts {
                Some(mut hosts) => {
                    hosts.sort_unstable();
                    hosts.dedup();
                    for host in hosts {
                        index.hosts.entry(host).or_default().insert(place, paths.as_deref());
                    }
                }
                None => index.any.insert(place, paths.as_deref()),
            }
        }
        index
    }

    /// The places of the matchers that may take a request, in the order of matching.
    #[must_use]
    pub fn candidates<'a>(&'a self, host: &str, path: &str) -> Candidates<'a> {
        let mut lists = Vec::with_capacity(8);
        if let Some(bucket) = self.hosts.get(host) {
            bucket.collect(path, &mut lists);
        }
        self.any.collect(path, &mut lists);
        Candidates { lists }
    }
}

/// Several ascending lists read as one, each place once.
#[derive(Debug)]
pub struct Candidates<'a> {
    lists: Vec<&'a [u32]>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.lists {
            if let [first, rest @ ..] = *list
                && *first == place
            {
                *list = rest;
            }
        }
        Some(place as usize)
    }
}
