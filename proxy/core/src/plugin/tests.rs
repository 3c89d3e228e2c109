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

mod edges;
mod oauth2;
mod sessions;

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

    fn product(&self) -> &str {
        "product"
    }

    fn node_id(&self) -> &str {
        "node"
    }

    fn log(&self, _level: &str, _text: &str) {}

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

    fn read_file(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn http<'a>(&'a self, call: HttpCall) -> Later<'a, Result<HttpReply, ServiceError>> {
        Box::pin(async move {
            if call.url.contains("nowhere") {
                return Err(ServiceError::Unreachable(call.url));
            }
            let content = json!({ "message": { "content": "rewritten" } });
            Ok(HttpReply {
                status: StatusCode::OK,
                headers: HeaderMap::new(),
                body: json!({ "choices": [content] }).to_string().into(),
            })
        })
    }

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
    Context {
        services: Arc::new(Still),
        lasting: Arc::default(),
        secrets: Arc::new(NoSecrets),
        tracing: None,
    }
}

fn plan(document: Value, context: &Context) -> Arc<Plan> {
    let document = Document::of_values(document);
    Plugins::build(&document, context).unwrap().plan(Some("r"), Some("s"))
}

pub(in crate::plugin) fn exchange(headers: &[(&str, &str)]) -> Exchange {
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
pub(in crate::plugin) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a plugin waits for the world"),
    }
}

pub(in crate::plugin) fn access(plan: &Plan, exchange: &mut Exchange) -> Option<Answer> {
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
    let document = json!({ "plugins": [{ "id": "1", "name": "made-up", "config": {} }] });
    let document = Document::of_values(document);
    let error = Plugins::build(&document, &context()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "plugin 'made-up' not enabled; add it to the 'plugins' configuration property"
    );
}

pub(in crate::plugin) fn one(name: &str, config: &Value) -> Arc<Plan> {
    plan(json!({ "plugins": [{ "id": "1", "name": name, "config": config }] }), &context())
}

pub(in crate::plugin) fn posted(body: &Value) -> Exchange {
    let mut asked = exchange(&[("content-type", "application/json")]);
    asked.request.method = Method::POST;
    asked.request.body = Body::Whole(body.to_string().into());
    asked
}

fn sent(exchange: &mut Exchange) -> Value {
    serde_json::from_slice(&now(exchange.request.read_body()).unwrap()).unwrap()
}

/// A model behind an address of one's own.
fn model() -> Value {
    json!({
        "route_type": "llm/v1/chat",
        "auth": { "header_name": "Authorization", "header_value": "Bearer t" },
        "model": {
            "provider": "openai", "name": "gpt-4",
            "options": { "upstream_url": "http://models.test:81/v1", "max_tokens": 5 },
        },
    })
}

#[test]
fn ai_proxy_sends_a_conversation_to_the_model_with_its_name_and_credentials() {
    let plan = one("ai-proxy", &model());
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let mut asked = posted(&json!({ "messages": messages, "temperature": 1 }));
    assert!(access(&plan, &mut asked).is_none());
    assert_eq!(
        sent(&mut asked),
        json!({
            "messages": messages, "model": "gpt-4", "stream": false, "max_tokens": 5, "temperature": 1,
        })
    );
    assert_eq!(asked.request.header("authorization"), Some("Bearer t"));
    assert_eq!(asked.upstream.target, Some(("models.test".into(), 81)));
    assert_eq!((asked.upstream.scheme, &asked.upstream.path[..]), (Some("http"), "/v1"));
    asked.response.source = Source::Upstream;
    asked.response.whole = Some(Bytes::from_static(b"{}"));
    plan.header_filter(&mut asked);
    assert_eq!(asked.response.status, StatusCode::INTERNAL_SERVER_ERROR);
    let told = asked.response.whole.unwrap();
    assert!(String::from_utf8_lossy(&told).contains("'choices' not in llm/v1/chat response"));
}

#[test]
fn ai_prompt_decorator_adds_messages_on_both_sides() {
    let message = |role: &str| json!({ "role": role, "content": role });
    let prompts = json!({ "prepend": [message("system")], "append": [message("assistant")] });
    let plan = one("ai-prompt-decorator", &json!({ "prompts": prompts }));
    let mut asked = posted(&json!({ "messages": [message("user")] }));
    assert!(access(&plan, &mut asked).is_none());
    let want = json!({ "messages": [message("system"), message("user"), message("assistant")] });
    assert_eq!(sent(&mut asked), want);
}

#[test]
fn ai_request_transformer_sends_what_the_model_made_of_the_body() {
    let plan = one("ai-request-transformer", &json!({ "prompt": "p", "llm": model() }));
    let mut asked = posted(&json!({ "a": 1 }));
    assert!(access(&plan, &mut asked).is_none());
    assert_eq!(now(asked.request.read_body()).unwrap(), "rewritten");
}

#[test]
fn a_function_answers_in_place_of_the_upstream() {
    let config =
        json!({ "aws_key": "k", "aws_secret": "s", "host": "lambda.test", "function_name": "f" });
    let answer = access(&one("aws-lambda", &config), &mut exchange(&[])).unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["via"], "1.1 product");
    let config = json!({ "appname": "nowhere", "hostdomain": "test", "functionname": "f" });
    let answer = access(&one("azure-functions", &config), &mut exchange(&[])).unwrap();
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn an_unsigned_webhook_is_refused() {
    let plan = one("standard-webhooks", &json!({ "secret_v1": "secret", "tolerance_second": 300 }));
    let answer = access(&plan, &mut posted(&json!({}))).unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
