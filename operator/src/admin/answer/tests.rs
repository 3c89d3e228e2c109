//! Answers and what they mean.

use super::*;

fn answer(status: u16, kind: &str, body: &str) -> Answer {
    let response = http::Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::RETRY_AFTER, "7")
        .body(())
        .unwrap();
    Answer::new(&response.into_parts().0, Bytes::copy_from_slice(body.as_bytes()))
}

const JSON: &str = "application/json; charset=utf-8";

#[test]
fn root_tells_version_flavor_and_database() {
    let body = r#"{"version":"3.9.3","node_id":"n","hostname":"h",
        "configuration":{"router_flavor":"expressions","database":"off"}}"#;
    let node = node(&answer(200, JSON, body)).unwrap();
    assert_eq!(node.dialect, Dialect::Expressions);
    assert!(node.db_less);
}

#[test]
fn our_own_proxy_is_known_by_its_server_header() {
    let body = r#"{"version":"3.9.3","configuration":{"router_flavor":"expressions"}}"#;
    let response = http::Response::builder()
        .header(header::CONTENT_TYPE, JSON)
        .header(header::SERVER, "flotilla/0.1.0")
        .body(())
        .unwrap();
    let answer = Answer::new(&response.into_parts().0, Bytes::from_static(body.as_bytes()));
    assert_eq!(node(&answer).unwrap().dialect, Dialect::Own);
}

#[test]
fn absent_hash_means_empty_and_a_wrong_one_is_trouble() {
    assert_eq!(hash(&answer(200, JSON, "{}")), Ok(ConfigHash::EMPTY));
    assert!(hash(&answer(200, JSON, r#"{"configuration_hash":"x"}"#)).is_err());
}

#[test]
fn web_page_is_no_admin_api() {
    let trouble = node(&answer(200, "text/html", "<html>hello</html>")).unwrap_err();
    assert_eq!(trouble.kind, TroubleKind::NotAnAdminApi);
    let Pushed::Failed(trouble) = pushed(&answer(404, "text/html", "<html>no</html>")) else {
        panic!("a page is no refusal")
    };
    assert_eq!(trouble.kind, TroubleKind::NotAnAdminApi);
}

#[test]
fn nginx_page_about_certificates_is_unauthorized() {
    let page = "<html><center>The SSL certificate error</center></html>";
    let Pushed::Failed(trouble) = pushed(&answer(400, "text/html", page)) else {
        panic!("not a refusal of the configuration")
    };
    assert_eq!(trouble.kind, TroubleKind::Unauthorized);
}

#[test]
fn flattened_errors_name_entity_tags_and_fields() {
    let body = r#"{"code":14,"message":"declarative config is invalid: {}","fields":{},
        "flattened_errors":[{"entity_type":"route","entity_name":"web","entity_id":"i",
          "entity_tags":["k8s-name:web"],
          "errors":[{"type":"field","field":"paths.1","message":"should start with: /"}]}]}"#;
    let Pushed::Refused(refusal) = pushed(&answer(400, JSON, body)) else { panic!("refused") };
    assert_eq!(refusal.entities[0].tags, ["k8s-name:web"]);
    assert_eq!(refusal.entities[0].errors, ["paths.1: should start with: /"]);
}

#[test]
fn unflattened_errors_name_the_entity_by_name_or_id() {
    let body = r#"{"fields":{"routes":{"web":["invalid reference 'service: nope' (no such entry)"]}},
        "message":"declarative config is invalid"}"#;
    let Pushed::Refused(refusal) = pushed(&answer(400, JSON, body)) else { panic!("refused") };
    assert_eq!(refusal.entities[0].kind, "route");
    assert_eq!(refusal.entities[0].name.as_deref(), Some("web"));
}

#[test]
fn two_causes_of_413_are_told_apart() {
    let cause = |answer: &Answer| match pushed(answer) {
        Pushed::Refused(refusal) => refusal.cause,
        other => panic!("{other:?}"),
    };
    let listener = answer(413, "text/html", "<html>413</html>");
    assert_eq!(cause(&listener), RefusalCause::BodyTooLarge);
    let store = answer(413, JSON, r#"{"message":"Configuration does not fit in LMDB database"}"#);
    assert_eq!(cause(&store), RefusalCause::StoreFull);
}

#[test]
fn busy_and_leaving_are_no_failures() {
    let busy =
        pushed(&answer(429, JSON, r#"{"message":"Currently loading previous configuration"}"#));
    assert_eq!(busy, Pushed::Busy { retry_after: Duration::from_secs(7) });
    let leaving = pushed(&answer(503, JSON, r#"{"message":"Kong currently exiting"}"#));
    assert_eq!(leaving, Pushed::Leaving);
}
