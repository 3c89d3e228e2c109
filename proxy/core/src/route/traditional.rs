//! The rules of Kong's Lua router.
//!
//! Routes fall into categories by which kinds of fields they look at. Categories are tried from the one with the most
//! kinds down; within one, the routes that carry the very host or path which the request hit are tried before the
//! others. Order inside a category: host and path shapes, number of headers, regex priority, length of path, age.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use kong::pcre::Pattern;
use uuid::Uuid;

use super::compat::split_port;
use super::{Endpoint, Lookup, Match, Protocol, Rule, RuleError};

const HOST: u8 = 0x40;
const HEADER: u8 = 0x20;
const PATH: u8 = 0x10;
const METHOD: u8 = 0x08;
const SNI: u8 = 0x04;
const SOURCE: u8 = 0x02;
const DESTINATION: u8 = 0x01;

const HAS_REGEX_PATH: u8 = 0x01;
const PLAIN_HOSTS_ONLY: u8 = 0x02;
const HAS_WILDCARD_HOST_PORT: u8 = 0x04;

/// A compiled set of routes.
#[derive(Debug, Default)]
pub struct Traditional {
    routes: Vec<Route>,
    categories: Vec<Category>,
    plain_hosts: HashMap<String, ()>,
    wildcard_hosts: Vec<Host>,
    regex_paths: Vec<Path>,
    prefixes: Vec<String>,
    header_names: Vec<String>,
    methods: Vec<String>,
    snis: Vec<String>,
}

#[derive(Debug)]
struct Route {
    place: usize,
    category: u8,
    hosts: Vec<Host>,
    headers: Vec<(String, Vec<HeaderTest>)>,
    paths: Vec<Path>,
    methods: Vec<String>,
    snis: Vec<String>,
    sources: Vec<Address>,
    destinations: Vec<Address>,
    order: Order,
}

/// How routes of a category are ordered: smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    shape: std::cmp::Reverse<u8>,
    headers: std::cmp::Reverse<usize>,
    regex_priority: std::cmp::Reverse<i64>,
    length: std::cmp::Reverse<usize>,
    created_at: i64,
    place: usize,
}

#[derive(Debug, Clone)]
struct Host {
    text: String,
    name: String,
    port: Option<u16>,
}

impl Host {
    fn takes(&self, lookup: &Lookup<'_>) -> bool {
        let (name, port) = asked(lookup);
        self.takes_name(name) && self.port.is_none_or(|wanted| port == Some(wanted))
    }

    fn takes_name(&self, host: &str) -> bool {
        if self.name.starts_with('[') {
            false
        } else if let Some(suffix) = self.name.strip_prefix('*') {
            host.len() > suffix.len() && host.ends_with(suffix)
        } else if let Some(prefix) = self.name.strip_suffix('*') {
            host.starts_with(prefix)
        } else {
            host == self.name
        }
    }

    fn is_wildcard(&self) -> bool {
        self.name.starts_with('*') || self.name.ends_with('*')
    }
}

/// The Host header's name and port; whatever is neither digits nor nothing after the colon belongs to the name.
fn asked<'a>(lookup: &Lookup<'a>) -> (&'a str, Option<u16>) {
    match lookup.host_header.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, port.parse().ok())
        }
        _ => (lookup.host_header, None),
    }
}

#[derive(Debug)]
enum HeaderTest {
    Text(String),
    Regex(Pattern),
}

#[derive(Debug, Clone)]
struct Path {
    text: String,
    regex: Option<Pattern>,
    priority: i64,
}

#[derive(Debug)]
struct Address {
    net: Option<IpNet>,
    port: Option<u16>,
}

impl Address {
    fn new(endpoint: &Endpoint) -> Self {
        let net = endpoint.ip.as_deref().and_then(|ip| {
            ip.parse::<IpNet>().ok().or_else(|| ip.parse::<IpAddr>().ok().map(IpNet::from))
        });
        Self { net, port: endpoint.port }
    }

    fn takes(&self, (ip, port): (IpAddr, u16)) -> bool {
        self.net.is_none_or(|net| net.contains(&ip))
            && self.port.is_none_or(|wanted| wanted == port)
    }
}

#[derive(Debug, Default)]
struct Category {
    bits: u8,
    all: Vec<usize>,
    by_host: HashMap<String, Vec<usize>>,
    by_path: HashMap<String, Vec<usize>>,
    by_method: HashMap<String, Vec<usize>>,
    by_sni: HashMap<String, Vec<usize>>,
}

/// What of the request the indexes know.
#[derive(Debug, Default)]
struct Hits {
    host: Option<String>,
    path: Option<String>,
}

impl Traditional {
    /// Compiles rules.
    pub fn new(rules: &[Rule]) -> Result<Self, RuleError> {
        let mut router = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let route = Route::new(place, rule)?;
            if route.category != 0 {
                router.routes.push(route);
            }
        }
        router.routes.sort_by_key(|route| route.order);
        router.index();
        Ok(router)
    }

    fn index(&mut self) {
        let mut categories = BTreeMap::<u8, Category>::new();
        for (place, route) in self.routes.iter().enumerate() {
            let category = categories.entry(route.category).or_default();
            category.bits = route.category;
            category.all.push(place);
            for host in &route.hosts {
                category.by_host.entry(host.text.clone()).or_default().push(place);
                if host.is_wildcard() {
                    self.wildcard_hosts.push(host.clone());
                } else {
                    self.plain_hosts.insert(host.text.clone(), ());
                }
            }
            for path in &route.paths {
                category.by_path.entry(path.text.clone()).or_default().push(place);
                match path.regex {
                    Some(_) => self.regex_paths.push(path.clone()),
                    None => self.prefixes.push(path.text.clone()),
                }
            }
            self.header_names.extend(route.headers.iter().map(|(name, _)| name.clone()));
            self.methods.extend_from_slice(&route.methods);
            self.snis.extend_from_slice(&route.snis);
            for method in &route.methods {
                category.by_method.entry(method.clone()).or_default().push(place);
            }
            for sni in &route.snis {
                category.by_sni.entry(sni.clone()).or_default().push(place);
            }
        }
        for names in [&mut self.header_names, &mut self.methods, &mut self.snis] {
            names.sort_unstable();
            names.dedup();
        }
        self.regex_paths.sort_by_key(|path| std::cmp::Reverse(path.priority));
        self.prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
        self.prefixes.dedup();
        self.wildcard_hosts.sort_by_key(|host| std::cmp::Reverse(host.text.len()));
        self.categories = categories.into_values().collect();
        self.categories
            .sort_by_key(|category| std::cmp::Reverse((category.bits.count_ones(), category.bits)));
    }

    /// The route that takes a request.
    #[must_use]
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<Match> {
        let hits = self.hits(lookup);
        // Categories with kinds of fields that the request cannot hit are passed over, if its own category exists.
        let asked = self.category(&hits, lookup);
        let first = self.categories.iter().position(|category| category.bits == asked).unwrap_or(0);
        self.categories[first..].iter().find_map(|category| {
            let strong = category.reduce(&hits, lookup).unwrap_or_default();
            strong
                .iter()
                .chain(&category.all)
                .find_map(|place| self.routes[*place].takes(lookup, &hits))
        })
    }

    /// The kinds of fields that the request hits.
    fn category(&self, hits: &Hits, lookup: &Lookup<'_>) -> u8 {
        let header = self
            .header_names
            .iter()
            .any(|wanted| lookup.headers.keys().any(|name| is_same_header(name.as_str(), wanted)));
        let method = self.methods.iter().any(|method| method == lookup.method);
        let sni = lookup.sni.is_some_and(|sni| self.snis.iter().any(|wanted| wanted == sni));
        [
            (hits.host.is_some(), HOST),
            (header, HEADER),
            (hits.path.is_some(), PATH),
            (method, METHOD),
            (sni, SNI),
        ]
        .into_iter()
        .filter(|(hit, _)| *hit)
        .fold(0, |all, (_, bit)| all | bit)
    }

    fn hits(&self, lookup: &Lookup<'_>) -> Hits {
        let (name, port) = asked(lookup);
        let host = port
            .map(|port| format!("{name}:{port}"))
            .into_iter()
            .chain([name.to_owned()])
            .find(|host| self.plain_hosts.contains_key(host))
            .or_else(|| {
                self.wildcard_hosts
                    .iter()
                    .find(|host| host.takes(lookup))
                    .map(|host| host.text.clone())
            });
        let path = self
            .regex_paths
            .iter()
            .find(|path| path.regex.as_ref().is_some_and(|regex| regex.is_match(lookup.path)))
            .map(|path| path.text.clone())
            .or_else(|| {
                self.prefixes.iter().find(|prefix| lookup.path.starts_with(*prefix)).cloned()
            });
        Hits { host, path }
    }
}

impl Category {
    /// The routes that carry what the request hit, by the weightiest kind of field that the category has.
    fn reduce(&self, hits: &Hits, lookup: &Lookup<'_>) -> Option<&[usize]> {
        let has = |bit| self.bits & bit != 0;
        let list = if has(HOST) {
            self.by_host.get(hits.host.as_ref()?)
        } else if has(HEADER) {
            None
        } else if has(PATH) {
            self.by_path.get(hits.path.as_ref()?)
        } else if has(METHOD) {
            self.by_method.get(lookup.method)
        } else {
            self.by_sni.get(lookup.sni?)
        };
        list.map(Vec::as_slice)
    }
}

impl Route {
    fn new(place: usize, rule: &Rule) -> Result<Self, RuleError> {
        let hosts = rule.hosts.iter().map(|text| {
            let (name, port) = split_port(text);
            Host { text: text.clone(), name: name.to_owned(), port }
        });
        let hosts = hosts.collect::<Vec<_>>();
        let paths =
            rule.paths.iter().map(|path| Path::new(path, rule)).collect::<Result<Vec<_>, _>>()?;
        let mut headers = Vec::new();
        for (name, values) in &rule.headers {
            headers.push((name.to_ascii_lowercase(), header_tests(values, rule.id)?));
        }
        let category = [
            (rule.hosts.is_empty(), HOST),
            (rule.headers.is_empty(), HEADER),
            (rule.paths.is_empty(), PATH),
            (rule.methods.is_empty(), METHOD),
            (rule.snis.is_empty(), SNI),
            (rule.sources.is_empty(), SOURCE),
            (rule.destinations.is_empty(), DESTINATION),
        ];
        let category =
            category.into_iter().filter(|(empty, _)| !empty).fold(0, |all, (_, bit)| all | bit);
        let order = Order::new(place, rule, &hosts, &paths);
        Ok(Self {
            place,
            category,
            hosts,
            headers,
            paths,
            methods: rule.methods.clone(),
            snis: rule
                .snis
                .iter()
                .map(|sni| sni.strip_suffix('.').unwrap_or(sni).to_owned())
                .collect(),
            sources: rule.sources.iter().map(Address::new).collect(),
            destinations: rule.destinations.iter().map(Address::new).collect(),
            order,
        })
    }

    fn takes(&self, lookup: &Lookup<'_>, hits: &Hits) -> Option<Match> {
        let fields = (self.hosts.is_empty() || self.hosts.iter().any(|host| host.takes(lookup)))
            && (self.methods.is_empty()
                || self.methods.iter().any(|method| method == lookup.method))
            && self.headers.iter().all(|(name, tests)| has_header(lookup, name, tests))
            && self.takes_sni(lookup)
            && (self.sources.is_empty() || self.sources.iter().any(|one| one.takes(lookup.source)))
            && (self.destinations.is_empty()
                || self.destinations.iter().any(|one| one.takes(lookup.destination)));
        if !fields {
            return None;
        }
        if self.paths.is_empty() {
            return Some(Match { route: self.place, path: None, captures: Vec::new() });
        }
        let strong = self.paths.iter().filter(|path| Some(&path.text) == hits.path.as_ref());
        let (path, captures) =
            strong.chain(&self.paths).find_map(|path| path.takes(lookup.path))?;
        Some(Match { route: self.place, path: Some(path), captures })
    }

    fn takes_sni(&self, lookup: &Lookup<'_>) -> bool {
        let plain = matches!(
            lookup.protocol,
            Protocol::Http | Protocol::Grpc | Protocol::Ws | Protocol::Tcp
        );
        self.snis.is_empty()
            || plain
            || lookup.sni.is_some_and(|sni| self.snis.iter().any(|wanted| wanted == sni))
    }
}

impl Order {
    fn new(place: usize, rule: &Rule, hosts: &[Host], paths: &[Path]) -> Self {
        let mut shape = 0;
        if !hosts.is_empty() && !hosts.iter().any(Host::is_wildcard) {
            shape |= PLAIN_HOSTS_ONLY;
        }
        if hosts.iter().any(|host| host.is_wildcard() && host.port.is_some()) {
            shape |= HAS_WILDCARD_HOST_PORT;
        }
        if paths.iter().any(|path| path.regex.is_some()) {
            shape |= HAS_REGEX_PATH;
        }
        let regex_priority = if shape & HAS_REGEX_PATH == 0 { 0 } else { rule.regex_priority };
        let plain = paths.iter().filter(|path| path.regex.is_none());
        let length = plain.map(|path| path.text.len()).max().unwrap_or_default();
        Self {
            shape: std::cmp::Reverse(shape),
            headers: std::cmp::Reverse(rule.headers.len()),
            regex_priority: std::cmp::Reverse(regex_priority),
            length: std::cmp::Reverse(length),
            created_at: rule.created_at,
            place,
        }
    }
}

impl Path {
    fn new(text: &str, rule: &Rule) -> Result<Self, RuleError> {
        let regex = match text.strip_prefix('~') {
            Some(pattern) => Some(compile(&format!("^{pattern}"), rule.id)?),
            None => None,
        };
        Ok(Self { text: text.to_owned(), regex, priority: rule.regex_priority })
    }

    fn takes(&self, path: &str) -> Option<(String, Vec<(String, String)>)> {
        match &self.regex {
            Some(regex) => regex.captures(path),
            None => path.starts_with(&self.text).then(|| (self.text.clone(), Vec::new())),
        }
    }
}

/// Compiles a regular expression of a route.
fn compile(pattern: &str, id: Uuid) -> Result<Pattern, RuleError> {
    Pattern::new(pattern).map_err(|error| RuleError::Regex { id, reason: error.to_string() })
}

/// A single value may be a regular expression; among several each is plain text.
fn header_tests(values: &[String], id: Uuid) -> Result<Vec<HeaderTest>, RuleError> {
    if let [only] = values
        && let Some(pattern) = only.strip_prefix("~*")
    {
        return Ok(vec![HeaderTest::Regex(compile(pattern, id)?)]);
    }
    if let [only] = values {
        return Ok(vec![HeaderTest::Text(only.to_lowercase())]);
    }
    Ok(values.iter().map(|value| HeaderTest::Text(value.clone())).collect())
}

fn has_header(lookup: &Lookup<'_>, name: &str, tests: &[HeaderTest]) -> bool {
    lookup.headers.iter().take(100).filter(|(other, _)| is_same_header(other.as_str(), name)).any(
        |(_, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).to_lowercase();
            tests.iter().any(|test| match test {
                HeaderTest::Text(text) => *text == value,
                HeaderTest::Regex(regex) => regex.is_match(&value),
            })
        },
    )
}

/// Hyphens and underscores are one.
fn is_same_header(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'_' { b'-' } else { byte };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| fold(a) == fold(b))
}
