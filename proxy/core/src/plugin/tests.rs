//! Plugins together: what a configuration makes of a request.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};
use serde_json::{Value, json};

use super::*;
use crate::exchange::{Body, Client, Entity, Request, Response, Source};

/// A world that stands still at noon of 2024-11-21.
struct Still;

struct Nowhere;

impl Sink for Nowhere {
    fn send(&self, _record: Bytes) {}
}

impl Services for Still {
    fn now(&self) -> Duration {
        Duration::from_secs(1_732_190_400)
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    fn hostname(&self) -> &str {
        "host"
    }

    fn node_id(&self) -> &str {
        "node"
    }

    fn sink(&self, _target: &Target) -> Arc<dyn Sink> {
        Arc::new(Nowhere)
    }

    fn redis<'a>(
        &'a self,
        server: &'a Redis,
        _: Vec<Vec<Bytes>>,
    ) -> Later<'a, Result<Vec<Reply>, ServiceError>> {
        Box::pin(async { Err(ServiceError::Unreachable(server.host.clone())) })
    }

    fn redis_detached(&self, _server: &Redis, _commands: Vec<Vec<Bytes>>) {}

    fn ldap_bind<'a>(
        &'a self,
        _: &'a Ldap,
        _: &'a str,
        password: &'a str,
    ) -> Later<'a, Result<bool, ServiceError>> {
        Box::pin(async move { Ok(password == "right") })
    }
}

#[derive(Default)]
struct Document(BTreeMap<String, Vec<kong::declarative::Entity>>);

impl Entities for Document {
    fn of<'a>(
        &'a self,
        kind: &str,
    ) -> Box<dyn Iterator<Item = &'a kong::declarative::Entity> + 'a> {
        Box::new(self.0.get(kind).into_iter().flatten())
    }
}

impl Document {
    fn of_values(document: Value) -> Self {
        let kinds: BTreeMap<String, Vec<Value>> = serde_json::from_value(document).unwrap();
        Self(
            kinds
                .into_iter()
                .map(|(kind, all)| (kind, all.iter().map(Into::into).collect()))
                .collect(),
        )
    }
}

pub(crate) fn context() -> Context {
    Context { services: Arc::new(Still), lasting: Arc::default() }
}

fn plan(document: Value, context: &Context) -> Arc<Plan> {
    let document = Document::of_values(document);
    Plugins::build(&document, context).unwrap().plan(Some("r"), Some("s"))
}

fn exchange(headers: &[(&str, &str)]) -> Exchange {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let request = Request {
        method: Method::GET,
        version: Version::HTTP_11,
        scheme: "http",
        host: "example.test".into(),
        port: 8000,
        target: "/a?x=1".into(),
        path: "/a".into(),
        query: Some("x=1".into()),
        headers,
        body: Body::Empty,
        size: 0,
    };
    let client = Client { ip, peer: ip, port: 1, tls: None };
    let mut exchange = Exchange::new("id".into(), client, request, Duration::ZERO);
    exchange.matched.route = Some(Arc::new(Entity { id: "r".into(), ..Entity::default() }));
    exchange
}

/// Nothing here really waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a plugin waits for the world"),
    }
}

fn access(plan: &Plan, exchange: &mut Exchange) -> Option<Answer> {
    match now(plan.access(exchange)) {
        Flow::Continue => None,
        Flow::Respond(answer) => Some(*answer),
    }
}

fn terminate(message: &str, scope: &Value) -> Value {
    let mut plugin = json!({
        "id": message, "name": "request-termination",
        "config": { "status_code": 418, "message": message },
    });
    plugin.as_object_mut().unwrap().extend(scope.as_object().unwrap().clone());
    plugin
}

fn consumers() -> Value {
    json!([{ "id": "c", "username": "bob" }])
}

#[test]
fn the_most_specific_instance_of_a_plugin_runs() {
    let check = |scopes: Vec<Value>, want: &str| {
        let plugins: Vec<Value> = scopes
            .into_iter()
            .enumerate()
            .map(|(at, scope)| terminate(&at.to_string(), &scope))
            .collect();
        let plan = plan(json!({ "plugins": plugins }), &context());
        let answer = access(&plan, &mut exchange(&[])).unwrap();
        assert_eq!(answer.body, format!("{{\"message\":\"{want}\"}}"));
    };
    let (route, service) = (json!({ "route": { "id": "r" } }), json!({ "service": { "id": "s" } }));
    let both = json!({ "route": { "id": "r" }, "service": { "id": "s" } });
    check(vec![json!({}), service.clone()], "1");
    check(vec![route.clone(), service], "0");
    check(vec![route, both], "1");
}

#[test]
fn an_instance_of_a_consumer_runs_once_the_consumer_is_known() {
    let document = json!({
        "consumers": consumers(),
        "keyauth_credentials": [{ "id": "k", "key": "secret", "consumer": { "id": "c" } }],
        "plugins": [
            { "id": "1", "name": "key-auth", "config": { "key_names": ["apikey"], "key_in_header": true } },
            terminate("everyone", &json!({})),
            terminate("bob", &json!({ "consumer": { "id": "c" } })),
        ],
    });
    let plan = plan(document, &context());
    let mut asked = exchange(&[("apikey", "secret")]);
    assert_eq!(access(&plan, &mut asked).unwrap().body, "{\"message\":\"bob\"}");
    assert_eq!(asked.request.header("x-consumer-username"), Some("bob"));
    assert_eq!(access(&plan, &mut exchange(&[])).unwrap().status, StatusCode::UNAUTHORIZED);
}

#[test]
fn a_disabled_plugin_and_one_for_streams_do_not_run() {
    let document = json!({ "plugins": [
        terminate("off", &json!({ "enabled": false })),
        terminate("stream", &json!({ "protocols": ["tcp"] })),
    ]});
    assert!(plan(document, &context()).is_empty());
}

#[test]
fn routes_without_plugins_of_their_own_share_one_plan() {
    let document = Document::of_values(json!({ "plugins": [terminate("x", &json!({}))] }));
    let mut plugins = Plugins::build(&document, &context()).unwrap();
    assert!(Arc::ptr_eq(&plugins.plan(Some("a"), Some("s")), &plugins.plan(Some("b"), Some("t"))));
}

#[test]
fn counters_outlive_configurations() {
    let context = context();
    let limit = |day: u64| {
        let config = json!({ "day": day, "limit_by": "ip", "policy": "local", "error_code": 429, "error_message": "no" });
        plan(
            json!({ "plugins": [{ "id": "1", "name": "rate-limiting", "config": config }] }),
            &context,
        )
    };
    let status =
        |plan: &Plan| access(plan, &mut exchange(&[])).map(|answer| answer.status.as_u16());
    let first = limit(1);
    assert_eq!((status(&first), status(&first)), (None, Some(429)));
    let raised = limit(2);
    assert_eq!((status(&raised), status(&raised)), (None, Some(429)));
}

#[test]
fn what_redis_cannot_answer_is_let_through_or_refused_as_configured() {
    let status = |tolerant: bool| {
        let config = json!({ "day": 1, "policy": "redis", "redis": { "host": "h" }, "fault_tolerant": tolerant });
        let plan = plan(
            json!({ "plugins": [{ "id": "1", "name": "rate-limiting", "config": config }] }),
            &context(),
        );
        access(&plan, &mut exchange(&[])).map(|answer| answer.status.as_u16())
    };
    assert_eq!((status(true), status(false)), (None, Some(500)));
}

#[test]
fn templates_see_the_request() {
    let config = json!({ "add": { "headers": [
        "a:$(headers.x or 'none')", "b:$(query_params.x .. '!')", "c:$(1 + 2 * 3)", "d:$(headers.x == nil)",
    ] } });
    let plan = plan(
        json!({ "plugins": [{ "id": "1", "name": "request-transformer", "config": config }] }),
        &context(),
    );
    let mut exchange = exchange(&[]);
    assert!(access(&plan, &mut exchange).is_none());
    let header = |name| exchange.request.header(name);
    assert_eq!(
        [header("a"), header("b"), header("c"), header("d")],
        [Some("none"), Some("1!"), Some("7"), Some("true")]
    );
}

#[test]
fn an_expression_without_sense_is_an_error_of_the_request_only() {
    let config = json!({ "replace": { "uri": "/$(1 +)" } });
    let plan = plan(
        json!({ "plugins": [{ "id": "1", "name": "request-transformer", "config": config }] }),
        &context(),
    );
    assert_eq!(
        access(&plan, &mut exchange(&[])).unwrap().status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[test]
fn an_answer_is_kept_and_given_again() {
    let config = json!({
        "strategy": "memory", "response_code": [200], "request_method": ["GET"],
        "content_type": ["text/plain"], "cache_ttl": 300,
    });
    let plan = plan(
        json!({ "plugins": [{ "id": "1", "name": "proxy-cache", "config": config }] }),
        &context(),
    );
    let mut first = exchange(&[]);
    assert!(access(&plan, &mut first).is_none());
    first.response = Response { source: Source::Upstream, ..Response::default() };
    first.response.headers.insert("content-type", "text/plain".parse().unwrap());
    plan.header_filter(&mut first);
    let filter = first.response.filters.first_mut().unwrap();
    filter.chunk(Bytes::from_static(b"he"), false);
    filter.chunk(Bytes::from_static(b"llo"), true);
    let again = access(&plan, &mut exchange(&[])).unwrap();
    assert_eq!(
        (again.body.as_ref(), again.headers["x-cache-status"].as_bytes()),
        (&b"hello"[..], &b"Hit"[..])
    );
}

#[test]
fn a_directory_decides_on_a_password() {
    let config =
        json!({ "ldap_host": "h", "base_dn": "dc=x", "attribute": "cn", "header_type": "ldap" });
    let document = json!({
        "consumers": consumers(),
        "plugins": [{ "id": "1", "name": "ldap-auth", "config": config }],
    });
    let plan = plan(document, &context());
    let status = |credentials| {
        let mut asked = exchange(&[("authorization", credentials)]);
        access(&plan, &mut asked).map(|answer| answer.status.as_u16())
    };
    // bob:right and bob:wrong
    assert_eq!(status("ldap Ym9iOnJpZ2h0"), None);
    assert_eq!(status("ldap Ym9iOndyb25n"), Some(401));
}

#[test]
fn a_plugin_that_cannot_be_run_is_refused_by_name() {
    let document = json!({ "plugins": [{ "id": "1", "name": "pre-function", "config": {} }] });
    let document = Document::of_values(document);
    let error = Plugins::build(&document, &context()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "plugin 'pre-function' not enabled; add it to the 'plugins' configuration property"
    );
}
