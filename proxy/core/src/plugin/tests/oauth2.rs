//! oauth2: where a token may stand, and what its endpoints find wrong, in Kong's order.

use super::*;

fn gateway(more: &Value) -> Arc<Plan> {
    let mut config = json!({
        "enable_client_credentials": true, "enable_authorization_code": true,
        "provision_key": "prov", "scopes": ["a"], "hide_credentials": true, "pkce": "lax",
        "auth_header_name": "authorization", "global_credentials": true,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let client = |id: &str, kind: &str| {
        json!({
            "id": id, "client_id": id, "client_secret": "sec", "client_type": kind,
            "redirect_uris": ["http://app.test/cb?z=1"], "consumer": { "id": "c" },
        })
    };
    let token = json!({
        "id": "t", "access_token": "tok", "refresh_token": "ref", "expires_in": 0, "scope": "a b",
        "credential": { "id": "cid" },
    });
    let document = json!({
        "plugins": [{ "id": "1", "name": "oauth2", "config": config }],
        "consumers": consumers(), "oauth2_tokens": [token],
        "oauth2_credentials": [client("cid", "confidential"), client("pub", "public")],
    });
    plan(document, &context())
}

/// A form that is sent over TLS.
fn form(path: &str, headers: &[(&str, &str)], body: &str) -> Exchange {
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let mut asked = exchange(&[headers, &[kind]].concat());
    asked.request.method = Method::POST;
    asked.request.path = path.to_owned();
    asked.request.scheme = "https";
    asked.request.body = Body::Whole(Bytes::copy_from_slice(body.as_bytes()));
    asked
}

fn refusal(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    match body["redirect_uri"].as_str() {
        Some(uri) => uri.to_owned(),
        None => format!(
            "{} {}",
            answer.status.as_u16(),
            body["error_description"].as_str().unwrap_or("?")
        ),
    }
}

#[test]
fn a_token_stands_in_the_header_or_else_in_the_body_or_else_in_the_query() {
    let plan = gateway(&json!({}));
    let opens = |headers: &[(&str, &str)], query: &str, body: &str| {
        let mut asked = form("/a", headers, body);
        asked.request.query = Some(query.to_owned());
        access(&plan, &mut asked).is_none()
    };
    assert!(opens(&[("authorization", "BEARER tok")], "access_token=no", "access_token=no"));
    assert!(opens(&[("authorization", "tok")], "", ""));
    assert!(opens(&[], "access_token=no", "access_token=tok"));
    assert!(opens(&[], "access_token=tok", ""));
    assert!(!opens(&[("authorization", "Basic x y")], "access_token=tok", ""));
    assert!(!opens(&[], "access_token=tok&access_token=tok", ""));
    assert!(!opens(&[], "access_token", ""));
}

#[test]
fn a_token_of_a_form_is_hidden() {
    let mut asked = form("/a", &[], "access_token=tok&b=1");
    assert!(access(&gateway(&json!({})), &mut asked).is_none());
    assert_eq!(now(asked.request.read_body()).unwrap(), "b=1");
}

#[test]
fn the_token_endpoint_answers_with_the_last_thing_that_is_wrong() {
    let plan = gateway(&json!({}));
    let check = |headers: &[(&str, &str)], body: &str, want: &str| {
        let answer = access(&plan, &mut form("/oauth2/token", headers, body)).unwrap();
        assert_eq!(refusal(&answer), want, "{body}");
        answer
    };
    let client = "client_id=cid&client_secret=sec";
    let unknown = "400 Invalid client authentication";
    check(&[], "grant_type=magic", unknown);
    check(&[], "grant_type=magic&client_id=cid&client_secret=no", unknown);
    check(&[], &format!("grant_type=magic&{client}"), "400 Invalid grant_type");
    let elsewhere = "400 Invalid redirect_uri that does not match with any redirect_uri created with the application";
    check(&[], &format!("grant_type=magic&{client}&redirect_uri=http://x"), elsewhere);
    let secret = "400 client_secret is disallowed for public clients";
    check(&[], "grant_type=refresh_token&client_id=pub&client_secret=x", secret);
    check(&[], "grant_type=authorization_code&client_id=pub", "400 Invalid code");
    check(
        &[],
        &format!("grant_type=refresh_token&refresh_token=ref&{client}"),
        "400 Scope mismatch",
    );
    let user = format!("grant_type=client_credentials&authenticated_userid=u&{client}");
    check(&[], &user, "400 Invalid provision_key");
    check(&[], &format!("grant_type=client_credentials&{client}"), "500 ?");

    let header = [("authorization", "Basic Y2lkOm5v")];
    let answer = check(&header, "grant_type=refresh_token", "401 Invalid client authentication");
    assert_eq!(answer.headers["www-authenticate"], "Basic realm=\"OAuth2.0\"");
}

#[test]
fn the_authorize_endpoint_tells_the_client_where_it_wants_its_answers() {
    let check = |more: &Value, body: &str, want: &str| {
        let body = format!("provision_key=prov&authenticated_userid=u&state=s&{body}");
        let answer = access(&gateway(more), &mut form("/oauth2/authorize", &[], &body)).unwrap();
        assert_eq!(refusal(&answer), want, "{body}");
    };
    let told = |error: &str, words: &str| {
        format!("http://app.test/cb?error={error}&error_description={words}&state=s&z=1")
    };
    let none = json!({});
    let type_wrong = told("unsupported_response_type", "Invalid%20response_type");
    check(&none, "client_id=cid&response_type=token", &type_wrong);
    check(&none, "response_type=token", "400 Invalid client authentication");
    let required =
        told("invalid_request", "code_challenge%20is%20required%20for%20public%20clients");
    check(&none, "client_id=pub&response_type=code", &required);
    check(&json!({ "pkce": "none" }), "client_id=pub&response_type=code", "500 ?");
    let strict =
        told("invalid_request", "code_challenge%20is%20required%20for%20confidential%20clients");
    check(&json!({ "pkce": "strict" }), "client_id=cid&response_type=code", &strict);
    let method = told(
        "invalid_request",
        "code_challenge_method%20is%20not%20supported%2C%20must%20be%20S256",
    );
    let plain = "client_id=cid&response_type=code&code_challenge=x&code_challenge_method=plain";
    check(&none, plain, &method);
    let alone = told(
        "invalid_request",
        "code_challenge%20is%20required%20when%20code_method%20is%20present",
    );
    check(&none, "client_id=cid&response_type=code&code_challenge_method=S256", &alone);
}
