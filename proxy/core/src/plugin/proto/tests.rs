//! A file in, messages between JSON and the wire.

use serde_json::{Value as Json, json};

use super::*;

const SOURCE: &str = r#"
syntax = "proto3";
package test.v1;
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "other.proto";
service Things {
  rpc Get(Thing) returns (Thing) {
    option (google.api.http) = {
      get: "/v1/things/{name}"
      additional_bindings { get: "/v1/all/{name=**}" }
      additional_bindings { post: "/v1/things" body: "*" }
    };
  }
  rpc Put(Thing) returns (Thing) {
    option (google.api.http) = { put: "/v1/things/{name}" body: "inner" };
  }
  rpc Stop(Thing) returns (Thing) {
    option (google.api.http) = { custom { kind: "STOP" path: "/v1/things/{inner.text}:stop" } };
  }
  rpc Bare(Thing) returns (other.Inner) {}
}
enum Color { RED = 0; BLUE = 3; }
message Thing {
  string name = 1;
  int32 count = 2;
  int64 big = 3;
  bool on = 4;
  double real = 5;
  Color color = 6;
  repeated int32 list = 7;
  map<string, int32> table = 8;
  other.Inner inner = 9;
  google.protobuf.Timestamp at = 10;
  oneof choice { string left = 11; string right = 12; }
  optional int32 maybe = 13;
  bytes raw = 14;
  repeated other.Inner inners = 15;
}
"#;

const OTHER: &str = "syntax = \"proto3\"; package other; message Inner { string text = 1; }";

fn read(path: &str) -> io::Result<String> {
    match path {
        "/protos/things.proto" => Ok(SOURCE.to_owned()),
        "/protos/other.proto" => Ok(OTHER.to_owned()),
        "/protos/broken.proto" => Ok("syntax = \"proto3\"; service {".to_owned()),
        "/protos/lonely.proto" => Ok("syntax = \"proto3\"; import \"nobody.proto\";".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn things() -> Proto {
    Proto::compile("/protos/things.proto", Arc::new(read)).unwrap()
}

/// What comes back of JSON that went over the wire.
fn through(json: &Json) -> Option<Json> {
    let proto = things();
    let kind = proto.method("/test.v1.Things/Get").unwrap().input();
    let bytes = encode(&kind, json.as_object().unwrap()).ok()?;
    serde_json::from_str(&decode(&kind, bytes.into()).unwrap()).ok()
}

/// A message in which nothing is set.
fn nothing() -> Json {
    json!({
        "name": "", "count": 0, "big": 0, "on": false, "real": 0, "color": "RED",
        "list": {}, "table": {}, "raw": "", "inners": {},
    })
}

#[track_caller]
fn check(json: &Json, expected: &Json) {
    let mut whole = nothing();
    for (name, value) in expected.as_object().unwrap() {
        whole[name] = value.clone();
    }
    assert_eq!(through(json).as_ref(), Some(&whole), "{json}");
}

#[test]
fn a_message_without_fields_shows_what_is_nothing() {
    check(&json!({ "unknown": 1, "count": null }), &json!({}));
}

#[test]
fn values_pass_as_they_are_or_as_text() {
    check(
        &json!({ "count": "7", "big": "9007199254740993", "on": true, "real": "1.5", "color": "BLUE" }),
        &json!({ "count": 7, "big": 9_007_199_254_740_993_i64, "on": true, "real": 1.5, "color": "BLUE" }),
    );
    check(
        &json!({ "count": -2, "color": 3, "on": "false" }),
        &json!({ "count": -2, "color": "BLUE" }),
    );
    check(&json!({ "color": 9, "raw": "abc" }), &json!({ "color": 9, "raw": "abc" }));
}

#[test]
fn lists_maps_and_messages_pass() {
    let members = json!({
        "list": [1, 2], "table": { "a": 1 }, "inner": { "text": "x" }, "inners": [{ "text": "y" }],
    });
    check(&members, &members);
    check(&json!({ "list": "5" }), &json!({ "list": [5] }));
}

#[test]
fn a_choice_names_what_was_chosen() {
    check(&json!({ "left": "x" }), &json!({ "left": "x", "choice": "left" }));
    check(&json!({ "maybe": 0 }), &json!({ "maybe": 0 }));
}

#[test]
fn a_timestamp_is_text_without_a_zone() {
    let at = json!({ "at": "2024-05-06T07:08:09" });
    for text in ["2024-05-06T07:08:09Z", "2024-05-06T09:08:09.25+02:00", "2024-05-06T07:08:09"] {
        check(&json!({ "at": text }), &at);
    }
    check(&json!({ "at": "2024-05-06" }), &json!({ "at": "2024-05-06T00:00:00" }));
}

#[test]
fn values_of_another_type_are_refused() {
    for wrong in [
        json!({ "name": 5 }),
        json!({ "count": "many" }),
        json!({ "count": true }),
        json!({ "color": "GREEN" }),
        json!({ "inner": "x" }),
        json!({ "table": [1] }),
        json!({ "list": 5 }),
        json!({ "at": 5 }),
        json!({ "at": "noon" }),
    ] {
        assert_eq!(through(&wrong), None, "{wrong}");
    }
}

/// What a request calls, and with which fields from its path.
fn calls(method: &str, path: &str) -> Result<(String, Vec<String>, Vec<String>), String> {
    let proto = things();
    let (rule, captures) = proto.resource(method, path)?;
    Ok((path_of(&rule.method), rule.fields.clone(), captures))
}

#[test]
fn rules_and_their_additional_bindings_are_found() {
    let one = |name: &str, field: &str, value: &str| {
        Ok((format!("/test.v1.Things/{name}"), vec![field.to_owned()], vec![value.to_owned()]))
    };
    assert_eq!(calls("get", "/v1/things/a"), one("Get", "name", "a"));
    assert_eq!(calls("get", "/v1/all/a/b"), one("Get", "name", "a/b"));
    assert_eq!(calls("put", "/v1/things/a"), one("Put", "name", "a"));
    assert_eq!(calls("stop", "/v1/things/a:stop"), one("Stop", "inner.text", "a"));
    assert_eq!(calls("post", "/v1/things").unwrap().0, "/test.v1.Things/Get");
    assert_eq!(calls("get", "/v1/a\"b"), Err(r#"Unknown path "/v1/a\"b""#.to_owned()));
    assert_eq!(calls("patch", "/v1/things/a"), Err("Unknown method \"patch\"".to_owned()));
}

#[test]
fn bodies_go_where_the_rule_says() {
    let proto = things();
    let body = |method: &str, path: &str| &proto.resource(method, path).unwrap().0.body;
    assert_eq!(body("get", "/v1/things/a"), &Body::Query);
    assert_eq!(body("post", "/v1/things"), &Body::All);
    assert_eq!(body("put", "/v1/things/a"), &Body::Field("inner".to_owned()));
}

#[test]
fn a_file_that_is_missing_or_broken_says_why() {
    for (file, why) in [
        ("/protos/nowhere.proto", "failed to compile '/protos/nowhere.proto'"),
        ("/protos/broken.proto", "expected an identifier"),
        ("/protos/lonely.proto", "import 'nobody.proto' not found"),
    ] {
        let error = Proto::compile(file, Arc::new(read)).err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}
