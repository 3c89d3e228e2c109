//! Values at the edges of what fields take, as a real Kong treats them.

use super::*;

/// One plugin alone.
fn only(name: &str, config: &Value) -> Arc<Plan> {
    let plugin = json!({ "id": "1", "name": name, "config": config });
    plan(json!({ "plugins": [plugin] }), &context())
}

/// The answer's head as plugins leave it, from an upstream's answer with these headers.
fn filtered(plan: &Plan, asked: &[(&str, &str)], answered: &[(&str, &str)]) -> HeaderMap {
    let mut exchange = exchange(asked);
    assert!(access(plan, &mut exchange).is_none());
    for (name, value) in answered {
        let name: HeaderName = name.parse().unwrap();
        exchange.response.headers.append(name, value.parse().unwrap());
    }
    exchange.response.source = Source::Upstream;
    plan.header_filter(&mut exchange);
    exchange.response.headers
}

fn origin(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin")?.to_str().ok()
}

#[test]
fn origins_are_compared_with_their_case_and_without_a_default_port() {
    let two = only("cors", &json!({ "origins": ["http://a.test", "https://b.test:8443"] }));
    let allowed = |asked| origin(&filtered(&two, &[("origin", asked)], &[])).map(str::to_owned);
    assert_eq!(allowed("http://a.test:80").as_deref(), Some("http://a.test"));
    assert_eq!(allowed("https://b.test:8443").as_deref(), Some("https://b.test:8443"));
    assert_eq!(allowed("http://A.test"), None);
    assert_eq!(allowed("https://b.test"), None);
}

#[test]
fn an_origins_pattern_with_a_colon_is_held_against_the_whole_origin() {
    let allowed = |pattern: &str| {
        let plan = only("cors", &json!({ "origins": [pattern, "http://x.test"] }));
        origin(&filtered(&plan, &[("origin", "http://a.test:81")], &[])).is_some()
    };
    assert!(allowed(r"[a-z]\.test") && allowed(r"http://.\.test:\d+"));
    assert!(!allowed(r"(?:a|b)\.test"));
}

#[test]
fn patterns_may_look_around() {
    let plan = only("cors", &json!({ "origins": [r"(?!bad\.)[a-z]+\.test", "http://x.test"] }));
    let allowed = |asked| origin(&filtered(&plan, &[("origin", asked)], &[])).is_some();
    assert!(allowed("http://good.test") && !allowed("http://bad.test"));
    let plan = only("bot-detection", &json!({ "deny": [r"^curl(?!/8)"] }));
    let denied = |agent| access(&plan, &mut exchange(&[("user-agent", agent)])).is_some();
    assert!(denied("curl/7.1") && !denied("curl/8.1"));
}

#[test]
fn cors_tells_that_it_varies_beside_what_the_upstream_says() {
    let plan = only("cors", &json!({ "origins": ["http://a.test"] }));
    let headers = filtered(&plan, &[], &[("vary", "Accept-Encoding")]);
    let vary: Vec<_> = headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Origin"]);
}

#[test]
fn a_preflight_without_configured_methods_lists_all() {
    let plan = only("cors", &json!({ "methods": null }));
    let asked = [("origin", "http://a.test"), ("access-control-request-method", "PUT")];
    let mut exchange = exchange(&asked);
    exchange.request.method = Method::OPTIONS;
    let answer = access(&plan, &mut exchange).unwrap();
    let methods = answer.headers["access-control-allow-methods"].to_str().unwrap();
    assert_eq!(methods, "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT");
}

#[test]
fn a_status_that_no_answer_can_have_is_an_error() {
    let status = |name: &str, config: &Value| {
        access(&only(name, config), &mut exchange(&[])).unwrap().status.as_u16()
    };
    let denied = |status: f64| json!({ "deny": ["127.0.0.1"], "status": status });
    assert_eq!(status("ip-restriction", &denied(451.0)), 451);
    assert_eq!(status("ip-restriction", &denied(600.0)), 500);
    assert_eq!(status("ip-restriction", &denied(403.5)), 500);
    let limited = json!({ "second": 0.0, "policy": "local", "error_code": 99 });
    assert_eq!(status("rate-limiting", &limited), 500);
}

#[test]
fn correlation_id_without_a_header_refuses_everything() {
    let plan = only("correlation-id", &json!({ "header_name": null }));
    let answer = access(&plan, &mut exchange(&[])).unwrap();
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[test]
fn a_trigger_with_an_underscore_is_found_under_a_dash() {
    let plan = only("request-termination", &json!({ "trigger": "x_stop", "status_code": 418 }));
    assert!(access(&plan, &mut exchange(&[("x-stop", "1")])).is_some());
    assert!(access(&plan, &mut exchange(&[("x_stop", "1")])).is_some());
    assert!(access(&plan, &mut exchange(&[])).is_none());
}

#[test]
fn a_limit_may_have_any_name() {
    let config = json!({ "limits": { "my limit": { "minute": 3 } }, "header_name": "x-kong-limit", "policy": "local" });
    let headers = filtered(&only("response-ratelimiting", &config), &[], &[]);
    assert_eq!(headers["x-ratelimit-limit-my%20limit-minute"], "3");
}

#[test]
fn a_list_is_written_anew_where_members_are_added() {
    let plan = only("response-transformer", &json!({ "add": { "json": ["a:1"] } }));
    let mut asked = exchange(&[]);
    asked.response.headers.insert("content-type", "application/json".parse().unwrap());
    plan.header_filter(&mut asked);
    let [filter] = asked.response.filters.as_mut_slice() else { panic!("one filter") };
    assert_eq!(filter.chunk(Bytes::from_static(b"[1, 2.50, []]"), true), "[1,2.5,[]]");
}

#[test]
fn a_grpc_client_reads_a_message_in_headers() {
    let told = |name: &str, config: &Value| {
        let mut asked = exchange(&[("content-type", "application/grpc")]);
        asked.request.version = Version::HTTP_2;
        let answer = access(&only(name, config), &mut asked).unwrap();
        let header =
            |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        (answer.status.as_u16(), header("grpc-status"), header("grpc-message"), answer.body.len())
    };
    let headers = |status: &str, message: &str| (Some(status.to_owned()), Some(message.to_owned()));
    let (status, message) = headers("16", "Unauthorized");
    assert_eq!(told("jwt", &json!({})), (401, status, message, 0));
    let (status, message) = headers("14", "later");
    let later = json!({ "status_code": 503, "message": "later" });
    assert_eq!(told("request-termination", &later), (503, status, message, 0));
    let page = json!({ "status_code": 503, "body": "<p>", "content_type": "text/html" });
    assert_eq!(told("request-termination", &page), (503, None, None, 3));
}
