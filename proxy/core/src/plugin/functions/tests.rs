//! What functions of a configuration can do, and what they cannot.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::check_code;
use crate::exchange::{Exchange, Source};
use crate::plugin::tests::{access, exchange, now, one, posted};

/// What a request becomes under one function of `access`.
fn run(code: &str) -> (Exchange, Option<crate::answer::Answer>) {
    let mut asked = exchange(&[("x-a", "1")]);
    let answer = access(&one("pre-function", &json!({ "access": [code] })), &mut asked);
    (asked, answer)
}

fn check(code: &str, status: u16, body: &str) {
    let (_, answer) = run(code);
    let answer = answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()), "{code}");
}

#[test]
fn code_that_is_no_lua_is_refused_in_the_parsers_words() {
    assert!(check_code("-- don't\nreturn 1").is_ok());
    let refused = check_code("x y z").unwrap_err();
    assert_eq!(refused, "[string \"x y z\"]:1: '=' expected near 'y'");
}

#[test]
fn a_function_may_answer() {
    check("kong.response.exit(403, 'no', { ['X-B'] = 'c' })", 403, "no");
    check(
        "return kong.response.exit(200, { a = kong.request.get_header('X-A') })",
        200,
        r#"{"a":"1"}"#,
    );
    check("ngx.say(kong.request.get_query_arg('x'), ngx.var.request_method)", 200, "1GET\n");
    check("ngx.status = 418 ngx.print('tea') ngx.exit(418)", 418, "tea");
    check(
        "local m = ngx.re.match('ab12', '([0-9])([0-9])') kong.response.exit(200, m[2] .. m[1])",
        200,
        "21",
    );
}

#[test]
fn a_function_that_fails_is_the_gateways_fault() {
    for code in [
        "error('x')",
        "local a = nil; return a.b",
        "require('io')",
        "io.open('/etc/passwd')",
        "os.execute('true')",
        "while true do end",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    ] {
        let (_, answer) = run(code);
        assert_eq!(answer.unwrap().status, StatusCode::INTERNAL_SERVER_ERROR, "{code}");
    }
}

#[test]
fn a_function_changes_the_request() {
    let (asked, answer) = run(
        "kong.service.request.set_header('X-A', '2') kong.service.request.set_raw_query('y=2') \
         kong.service.request.set_path('/other') kong.service.set_target('t.test', 81) \
         kong.response.set_header('X-Early', 'e')",
    );
    assert!(answer.is_none());
    assert_eq!(asked.request.header("x-a"), Some("2"));
    assert_eq!(asked.request.query.as_deref(), Some("y=2"));
    assert_eq!(asked.upstream.path, "/other");
    assert_eq!(asked.upstream.target, Some(("t.test".into(), 81)));
    assert_eq!(asked.early["x-early"], "e");
}

#[test]
fn a_function_reads_the_body() {
    let plan = one(
        "pre-function",
        &json!({ "access": [
            "local body = kong.request.get_body() body.b = 2 kong.service.request.set_body(body)",
        ]}),
    );
    let mut asked = posted(&json!({ "a": 1 }));
    assert!(access(&plan, &mut asked).is_none());
    let body = now(asked.request.read_body()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({ "a": 1, "b": 2 }));
}

#[test]
fn a_function_that_returns_a_function_keeps_its_state() {
    let code = "local n = 0 return function() n = n + 1 kong.response.exit(200, tostring(n)) end";
    let plan = one("post-function", &json!({ "access": [code] }));
    for want in ["1", "2", "3"] {
        assert_eq!(access(&plan, &mut exchange(&[])).unwrap().body, want);
    }
}

#[test]
fn what_a_request_keeps_is_seen_by_later_phases() {
    let plan = one(
        "pre-function",
        &json!({
            "access": ["kong.ctx.shared.a = 'x' kong.ctx.plugin.b = { 1, 2 }"],
            "header_filter": ["kong.response.set_header('X-Kept', kong.ctx.shared.a .. #kong.ctx.plugin.b)"],
            "body_filter": ["ngx.arg[1] = (ngx.arg[1] or ''):upper()"],
        }),
    );
    let mut asked = exchange(&[]);
    assert!(access(&plan, &mut asked).is_none());
    asked.response.source = Source::Upstream;
    plan.header_filter(&mut asked);
    assert_eq!(asked.response.headers["x-kept"], "x2");
    let piece = asked.response.filters[0].chunk(Bytes::from_static(b"abc"), true);
    assert_eq!(piece, "ABC");
}
