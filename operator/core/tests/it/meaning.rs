//! Does a proxy do what the objects mean? The router of our gateway decides requests by our translations, and the
//! specifications of Ingress and of Gateway API decide them by the objects: they agree.
//!
//! The cases are those recorded from a real Kong Ingress Controller, as far as matching is all that they are about
//! ([`meant`]), in both router flavors. What the specifications leave open may be decided either way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use http::{HeaderMap, HeaderName};
use kong::model::{Document, Tags};
use operator_core::gateway_api::{HttpRoute, ValueMatch};
use operator_core::object::Object;
use operator_core::options::RouterFlavor;
use operator_core::outcome::Verdict;
use operator_core::snapshot::Snapshot;
use operator_core::translate::{Translation, translate};
use proxy_core::route::{Flavor, Lookup, Protocol, Router, Rule};

use crate::recorded;

/// A request, as far as routing looks at it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    host: String,
    path: String,
    method: String,
    headers: Vec<(String, String)>,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathMatch {
    Prefix,
    Exact,
}

/// One way into a backend, as its object means it.
#[derive(Debug)]
struct Entry {
    /// What answers: the Kong service of an Ingress's backend, or the HTTPRoute.
    answer: String,
    /// Empty for any.
    host: String,
    kind: PathMatch,
    path: String,
    method: Option<String>,
    headers: Vec<(String, String)>,
    /// Only what nothing else takes.
    last: bool,
}

/// What makes one entry go before another: both specifications compare in this order.
type Precedence = (bool, bool, usize, PathMatch, usize, bool, usize);

impl Entry {
    fn takes(&self, request: &Request) -> bool {
        let host = match self.host.strip_prefix('*') {
            _ if self.host.is_empty() => true,
            Some(rest) => request.host.ends_with(rest),
            None => request.host == self.host,
        };
        let wanted = self.path.trim_end_matches('/');
        let path = match self.kind {
            PathMatch::Exact => request.path == self.path,
            PathMatch::Prefix => {
                let rest = request.path.strip_prefix(wanted);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        };
        let method = self.method.as_ref().is_none_or(|method| *method == request.method);
        host && path && method && self.headers.iter().all(|pair| request.headers.contains(pair))
    }

    fn precedence(&self) -> Precedence {
        let exact = !self.host.is_empty() && !self.host.starts_with('*');
        let length = self.path.trim_end_matches('/').len();
        let method = self.method.is_some();
        (!self.last, exact, self.host.len(), self.kind, length, method, self.headers.len())
    }
}

/// Everything that may answer a request by the specifications; nothing when nobody does.
fn meaning<'e>(entries: &'e [Entry], request: &Request) -> BTreeSet<&'e str> {
    let taking = || entries.iter().filter(|entry| entry.takes(request));
    let best = taking().map(Entry::precedence).max();
    let first = taking().filter(|entry| Some(entry.precedence()) == best);
    first.map(|entry| entry.answer.as_str()).collect()
}

/// Annotations of Ingresses that leave matching as it is.
const HARMLESS: [&str; 7] = [
    "plugins",
    "strip-path",
    "preserve-host",
    "tags",
    "request-buffering",
    "response-buffering",
    "https-redirect-status-code",
];

/// The ways in that a case asks for; nothing when more than matching is at stake.
fn meant(snapshot: &Snapshot, translation: &Translation) -> Option<Vec<Entry>> {
    let streams = snapshot.tcp_ingresses.len() + snapshot.udp_ingresses.len();
    let other = snapshot.grpc_routes.len() + snapshot.kong_ingresses.len() + streams;
    let mixed = !snapshot.ingresses.is_empty() && !snapshot.http_routes.is_empty();
    let about = |outcome: &&operator_core::outcome::Outcome| {
        matches!(outcome.object.kind.name(), "Ingress" | "HTTPRoute")
    };
    let whole = translation
        .outcomes
        .iter()
        .filter(about)
        .all(|outcome| outcome.verdict == Verdict::Configured);
    if other > 0 || mixed || !whole || snapshot.ingresses.len() + snapshot.http_routes.len() == 0 {
        return None;
    }
    let mut entries = Vec::new();
    for ingress in &snapshot.ingresses {
        entries.extend(of_ingress(ingress)?);
    }
    let narrowed = snapshot
        .gateways
        .iter()
        .flat_map(|gateway| &gateway.spec.listeners)
        .any(|listener| listener.hostname.is_some());
    for route in &snapshot.http_routes {
        entries.extend(of_http_route(route).filter(|_| !narrowed)?);
    }
    Some(entries)
}

type Ingress = k8s_openapi::api::networking::v1::Ingress;
type Backend = k8s_openapi::api::networking::v1::IngressBackend;

/// Whether no annotation of an object has a say in matching.
fn is_plain<K: Object>(object: &K) -> bool {
    let harmless = |key: &String| {
        !key.contains("konghq.com/") && !key.contains("force-ssl")
            || key.strip_prefix("konghq.com/").is_some_and(|key| HARMLESS.contains(&key))
    };
    object.meta().annotations.iter().flatten().all(|(key, _)| harmless(key))
}

fn of_ingress(ingress: &Ingress) -> Option<Vec<Entry>> {
    if !is_plain(ingress) {
        return None;
    }
    let spec = ingress.spec.as_ref()?;
    let mut entries = Vec::new();
    if let Some(backend) = &spec.default_backend {
        let answer = answer(ingress, backend)?;
        entries.push(entry(answer, "", (PathMatch::Prefix, "/"), true));
    }
    for rule in spec.rules.iter().flatten() {
        let host = rule.host.as_deref().unwrap_or_default();
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let kind = match path.path_type.as_str() {
                "Exact" => PathMatch::Exact,
                "Prefix" => PathMatch::Prefix,
                _ => return None,
            };
            let text = path.path.as_deref().filter(|path| !path.contains("//"))?;
            // Kong's mark of a regular expression.
            let text = Some(text).filter(|path| !path.starts_with("/~"))?;
            entries.push(entry(answer(ingress, &path.backend)?, host, (kind, text), false));
        }
    }
    Some(entries)
}

/// The name of the Kong service behind a backend.
fn answer(ingress: &Ingress, backend: &Backend) -> Option<String> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = port.name.clone().or_else(|| port.number.map(|number| number.to_string()))?;
    Some(format!("{}.{}.{port}", ingress.namespace(), service.name))
}

fn entry(answer: String, host: &str, (kind, path): (PathMatch, &str), last: bool) -> Entry {
    let (host, path) = (host.to_owned(), path.to_owned());
    Entry { answer, host, kind, path, method: None, headers: Vec::new(), last }
}

fn of_http_route(route: &HttpRoute) -> Option<Vec<Entry>> {
    if !is_plain(route) {
        return None;
    }
    let any = [String::new()];
    let hosts = if route.spec.hostnames.is_empty() { &any[..] } else { &route.spec.hostnames };
    let mut entries = Vec::new();
    for rule in &route.spec.rules {
        let everything = [Default::default()];
        let matches = if rule.matches.is_empty() { &everything[..] } else { &rule.matches };
        for (matched, host) in matches.iter().flat_map(|one| hosts.iter().map(move |h| (one, h))) {
            let (kind, path) = match &matched.path {
                None => (PathMatch::Prefix, "/"),
                Some(path) => match path.kind.as_deref() {
                    None | Some("PathPrefix") => (PathMatch::Prefix, path.value()),
                    Some("Exact") => (PathMatch::Exact, path.value()),
                    Some(_) => return None,
                },
            };
            if !matched.query_params.is_empty() || matched.headers.iter().any(ValueMatch::is_regex)
            {
                return None;
            }
            let answer = format!("HTTPRoute {}/{}", route.namespace(), route.name());
            // Of several conditions on one header the first counts.
            let mut headers: Vec<(String, String)> = Vec::new();
            for header in &matched.headers {
                let name = header.name.to_lowercase();
                if headers.iter().all(|(known, _)| *known != name) {
                    headers.push((name, header.value.clone()));
                }
            }
            entries.push(Entry {
                method: matched.method.clone(),
                headers,
                ..entry(answer, host, (kind, path), false)
            });
        }
    }
    Some(entries)
}

/// Requests at and beside everything that the entries name.
fn requests(entries: &[Entry]) -> BTreeSet<Request> {
    let mut hosts = BTreeSet::from(["elsewhere.test".to_owned()]);
    let (mut paths, mut methods) = (BTreeSet::from(["/".to_owned()]), BTreeSet::new());
    let mut headers = BTreeSet::from([Vec::new()]);
    methods.insert("GET".to_owned());
    for entry in entries {
        if !entry.host.is_empty() {
            hosts.insert(entry.host.replace('*', "one"));
        }
        let base = entry.path.trim_end_matches('/');
        paths.extend([entry.path.clone(), format!("{base}/"), format!("{base}/x")]);
        paths.extend([format!("{base}x"), base.replace('.', "0")]);
        methods.extend(entry.method.clone());
        headers.insert(entry.headers.clone());
    }
    paths.retain(|path| path.starts_with('/'));
    let mut all = BTreeSet::new();
    for (host, path) in hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path))) {
        for (method, headers) in methods.iter().flat_map(|m| headers.iter().map(move |h| (m, h))) {
            let (host, path, method) = (host.clone(), path.clone(), method.clone());
            all.insert(Request { host, path, method, headers: headers.clone() });
        }
    }
    all
}

/// The gateway's router over all routes of a configuration, with what answers behind each.
struct Served {
    router: Router,
    answers: Vec<String>,
}

impl Served {
    fn of(document: &Document, flavor: Flavor) -> Self {
        let (mut rules, mut answers) = (Vec::new(), Vec::new());
        for service in &document.services {
            for route in &service.routes {
                let tags: Vec<&str> = route.tags.iter().flat_map(Tags::iter).collect();
                let tag = |key: &str| tags.iter().find_map(|tag| tag.strip_prefix(key)).unwrap();
                answers.push(match tag("k8s-kind:") {
                    "Ingress" => service.name.clone().unwrap(),
                    kind => format!("{kind} {}/{}", tag("k8s-namespace:"), tag("k8s-name:")),
                });
                rules.push(rule(route));
            }
        }
        Self { router: Router::new(flavor, &rules).unwrap(), answers }
    }

    fn decide(&self, request: &Request) -> Option<&str> {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let ip = IpAddr::from([127, 0, 0, 1]);
        let found = self.router.find(&Lookup {
            protocol: Protocol::Http,
            method: &request.method,
            host_header: &request.host,
            host: &request.host,
            host_port: None,
            path: &request.path,
            query: "",
            headers: &headers,
            sni: None,
            source: (ip, 1),
            destination: (ip, 8000),
        })?;
        Some(&self.answers[found.route])
    }
}

/// A route as the gateway reads it, with Kong's defaults.
fn rule(route: &kong::model::Route) -> Rule {
    let list = |field: &Option<Vec<String>>| field.clone().unwrap_or_default();
    let named = route.protocols.clone().unwrap_or_else(|| vec!["http".into(), "https".into()]);
    Rule {
        id: route.id.as_ref().and_then(|id| id.parse().ok()).unwrap_or_default(),
        protocols: named.iter().filter_map(|name| Protocol::parse(name)).collect(),
        methods: list(&route.methods),
        hosts: list(&route.hosts),
        paths: list(&route.paths),
        headers: route.headers.clone().unwrap_or_default().into_iter().collect(),
        snis: list(&route.snis),
        regex_priority: route.regex_priority.unwrap_or(0),
        expression: route.expression.clone(),
        priority: route.priority.unwrap_or(0),
        ..Rule::default()
    }
}

/// Cases that one flavor decides as Kong Ingress Controller does and not as they are meant: docs/differences-from-kic.md,
/// "kept".
const KEPT: [(&str, &str); 3] = [
    ("httproute-header-twice-fails-in-traditional", "Expressions"),
    ("httproute-path-prefix-trailing-slash", "Traditional"),
    ("httproute-rule-without-matches-and-hosts", "Traditional"),
];

/// How many requests of a case were decided; what was decided otherwise than meant goes to `wrong`.
fn judge(case: &Path, flavor: RouterFlavor, wrong: &mut BTreeMap<String, Vec<String>>) -> usize {
    let snapshot = recorded::snapshot(case);
    let translation = translate(&snapshot, &recorded::options(case, flavor));
    let Some(entries) = meant(&snapshot, &translation) else { return 0 };
    let native = match flavor {
        RouterFlavor::Traditional => Flavor::TraditionalCompatible,
        RouterFlavor::Expressions => Flavor::Expressions,
    };
    let served = Served::of(&translation.config, native);
    let requests = requests(&entries);
    for request in &requests {
        let (meant, decided) = (meaning(&entries, request), served.decide(request));
        let agreed = decided.map_or(meant.is_empty(), |decided| meant.contains(decided));
        if !agreed {
            let name = case.file_name().unwrap_or_default().to_string_lossy();
            let Request { host, path, method, headers } = request;
            let told = format!(
                "{flavor:?}: {method} {host}{path} {headers:?}: {decided:?} instead of {meant:?}"
            );
            wrong.entry(name.into_owned()).or_default().push(told);
        }
    }
    requests.len()
}

#[test]
fn requests_are_decided_as_the_objects_mean_it() {
    let (mut wrong, mut decided) = (BTreeMap::new(), 0);
    for case in recorded::cases() {
        for flavor in [RouterFlavor::Traditional, RouterFlavor::Expressions] {
            decided += judge(&case, flavor, &mut wrong);
        }
    }
    assert!(decided > 1_000, "{decided} requests");
    println!("{decided} requests decided");
    for (kept, flavor) in KEPT {
        let told = wrong.remove(kept).expect("decided as it is meant: no longer kept");
        assert!(told.iter().all(|told| told.starts_with(flavor)), "{kept}: {told:#?}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
