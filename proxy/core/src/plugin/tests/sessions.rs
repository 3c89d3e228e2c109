//! The session plugin beside key-auth: which cookies are given, and what is told of a session.

use super::*;

/// A gateway where bob has a key and everybody else is anonymous.
fn gateway(session: &Value) -> Arc<Plan> {
    plan(
        json!({
            "consumers": [{ "id": "c", "username": "bob" }, { "id": "a", "username": "anyone" }],
            "keyauth_credentials": [{ "id": "k", "key": "secret", "consumer": { "id": "c" } }],
            "plugins": [
                { "id": "1", "name": "key-auth", "config": {
                    "key_names": ["apikey"], "key_in_header": true, "anonymous": "anyone",
                } },
                { "id": "2", "name": "session", "config": session },
            ],
        }),
        &context(),
    )
}

/// What the plugins make of a request: who is asking, and the answer's headers.
fn visit(plan: &Plan, headers: &[(&str, &str)]) -> (String, Exchange) {
    let mut exchange = exchange(headers);
    assert!(access(plan, &mut exchange).is_none());
    plan.header_filter(&mut exchange);
    (exchange.request.header("x-consumer-username").unwrap_or_default().to_owned(), exchange)
}

fn cookies(exchange: &Exchange) -> Vec<String> {
    let all = exchange.response.headers.get_all("set-cookie").iter();
    all.map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

fn config(more: &Value) -> Value {
    let mut config = json!({
        "secret": "s", "cookie_name": "visit", "audience": "default", "storage": "cookie",
        "remember_cookie_name": "remember", "remember_rolling_timeout": 60,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn the_cookie_that_lasts_stands_in_for_the_one_of_the_visit() {
    let plan = gateway(&config(&json!({ "remember": true })));
    let (_, first) = visit(&plan, &[("apikey", "secret")]);
    let [session, lasting] = <[String; 2]>::try_from(cookies(&first)).unwrap();
    assert!(session.starts_with("visit=") && !session.contains("Max-Age"));
    assert!(
        lasting.starts_with("remember=")
            && lasting.ends_with("; Expires=Thu, 21 Nov 2024 12:01:00 GMT; Max-Age=60"),
        "{lasting}"
    );
    let lasting = lasting.split(';').next().unwrap();
    let (who, again) = visit(&plan, &[("cookie", lasting)]);
    assert_eq!(who, "bob");
    assert_eq!(cookies(&again).len(), 2, "a new visit begins");
    let (who, within) = visit(&plan, &[("cookie", session.split(';').next().unwrap())]);
    assert_eq!((who.as_str(), cookies(&within).len()), ("bob", 0));
}

#[test]
fn one_cookie_cannot_be_sent_in_place_of_the_other() {
    let plan = gateway(&config(&json!({ "remember": true })));
    let (_, first) = visit(&plan, &[("apikey", "secret")]);
    let lasting = cookies(&first)[1].split(';').next().unwrap().replace("remember=", "visit=");
    assert_eq!(visit(&plan, &[("cookie", &lasting)]).0, "anyone");
}

#[test]
fn what_is_known_of_a_session_is_told_where_asked() {
    let names = json!(["id", "subject", "audience", "timeout", "absolute-timeout"]);
    let plan = gateway(&config(&json!({
        "request_headers": ["subject"], "response_headers": names,
        "idling_timeout": 90, "rolling_timeout": 3600, "absolute_timeout": 0,
    })));
    let (_, first) = visit(&plan, &[("apikey", "secret")]);
    let headers = &first.response.headers;
    assert_eq!(headers["session-subject"], "bob");
    assert_eq!(headers["session-audience"], "default");
    assert_eq!(headers["session-timeout"], "90");
    assert_eq!(headers["session-id"].len(), 43);
    assert!(!headers.contains_key("session-absolute-timeout"));
    let cookie = cookies(&first)[0].split(';').next().unwrap().to_owned();
    let (_, second) = visit(&plan, &[("cookie", &cookie), ("session-subject", "forged")]);
    assert_eq!(second.request.header("session-subject"), Some("bob"));
    assert_eq!(second.response.headers["session-id"], headers["session-id"]);
}

#[test]
fn a_session_that_belongs_into_a_database_is_never_begun() {
    let plan = gateway(&config(&json!({ "storage": "kong" })));
    let (who, first) = visit(&plan, &[("apikey", "secret")]);
    assert_eq!((who.as_str(), cookies(&first).len()), ("bob", 0));
}

#[test]
fn without_a_configured_secret_sessions_outlive_configurations() {
    let unsaid = config(&json!({ "secret": "" }));
    let (_, first) = visit(&gateway(&unsaid), &[("apikey", "secret")]);
    let cookie = cookies(&first)[0].split(';').next().unwrap().to_owned();
    assert_eq!(visit(&gateway(&unsaid), &[("cookie", &cookie)]).0, "bob");
}
