//! The files of Google's APIs that HTTP rules need, as far as they need them, for machines that do not have them.

/// `google/api/annotations.proto`: where a method's rule stands.
const ANNOTATIONS: &str = r#"
syntax = "proto3";
package google.api;
import "google/api/http.proto";
import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { HttpRule http = 72295728; }
"#;

/// `google/api/http.proto`: what a rule says.
const HTTP: &str = r#"
syntax = "proto3";
package google.api;
message Http {
  repeated HttpRule rules = 1;
  bool fully_decode_reserved_expansion = 2;
}
message HttpRule {
  string selector = 1;
  oneof pattern {
    string get = 2;
    string put = 3;
    string post = 4;
    string delete = 5;
    string patch = 6;
    CustomHttpPattern custom = 8;
  }
  string body = 7;
  string response_body = 12;
  repeated HttpRule additional_bindings = 11;
}
message CustomHttpPattern {
  string kind = 1;
  string path = 2;
}
"#;

/// `google/api/httpbody.proto`: a body of any type.
const HTTP_BODY: &str = r#"
syntax = "proto3";
package google.api;
import "google/protobuf/any.proto";
message HttpBody {
  string content_type = 1;
  bytes data = 2;
  repeated google.protobuf.Any extensions = 3;
}
"#;

/// `google/api/field_behavior.proto`: notes on fields, which change nothing here.
const FIELD_BEHAVIOR: &str = r#"
syntax = "proto3";
package google.api;
import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { repeated FieldBehavior field_behavior = 1052 [packed = false]; }
enum FieldBehavior {
  FIELD_BEHAVIOR_UNSPECIFIED = 0;
  OPTIONAL = 1;
  REQUIRED = 2;
  OUTPUT_ONLY = 3;
  INPUT_ONLY = 4;
  IMMUTABLE = 5;
  UNORDERED_LIST = 6;
  NON_EMPTY_DEFAULT = 7;
  IDENTIFIER = 8;
}
"#;

/// The file that an import of this name means.
pub(super) fn source(name: &str) -> Option<&'static str> {
    match name {
        "google/api/annotations.proto" => Some(ANNOTATIONS),
        "google/api/http.proto" => Some(HTTP),
        "google/api/httpbody.proto" => Some(HTTP_BODY),
        "google/api/field_behavior.proto" => Some(FIELD_BEHAVIOR),
        _ => None,
    }
}
