//! Services.

use serde_json::{Value, json};

use super::{EntitySchema, header, not_empty, null, protocol};
use crate::schema::{Condition, EntityCheck, Field, Record, Shorthand, typedef};

pub(super) fn schema() -> EntitySchema {
    let timeout = || Field::integer().between(1, (1 << 31) - 2).default(60000);
    let mut fields = header();
    fields.extend([
        ("name", not_empty(typedef::utf8_name())),
        (
            "retries",
            Field::integer()
                .between(0, 32767)
                .default(5)
                .describe("The number of retries to execute upon failure to proxy."),
        ),
        ("protocol", protocol().required().default("http")),
        ("host", not_empty(typedef::host()).required()),
        ("port", typedef::port().required().default(80)),
        ("path", not_empty(typedef::path())),
        ("connect_timeout", timeout()),
        ("write_timeout", timeout()),
        ("read_timeout", timeout()),
        ("tags", typedef::tags()),
        (
            "client_certificate",
            Field::foreign("certificates").describe("Certificate to be used as client certificate while TLS handshaking to the upstream server."),
        ),
        (
            "tls_verify",
            Field::boolean().describe("Whether to enable verification of upstream server TLS certificate. If not set, the global level config `proxy_ssl_verify` will be used."),
        ),
        (
            "tls_verify_depth",
            Field::integer().between(0, 64).default(null()).describe("Maximum depth of chain while verifying Upstream server's TLS certificate."),
        ),
        (
            "ca_certificates",
            Field::array(Field::string().uuid()).describe("Array of CA Certificate object UUIDs that are used to build the trust store while verifying upstream server's TLS certificate."),
        ),
        (
            "enabled",
            Field::boolean().required().default(true).describe("Whether the Service is active. "),
        ),
    ]);
    let mut record = Record::new(fields).check(EntityCheck::conditional(
        "protocol",
        Condition::one_of(&["tcp", "tls", "udp", "grpc", "grpcs"]),
        "path",
        Condition::eq(null()),
    ));
    for field in ["client_certificate", "tls_verify", "tls_verify_depth", "ca_certificates"] {
        record = record.check(EntityCheck::conditional(
            "protocol",
            Condition::not_one_of(&["https", "tls"]),
            field,
            Condition::eq(null()),
        ));
    }
    let url = Shorthand::translated("url", Field::any(), |_, value| from_url(value));
    EntitySchema::new("services", record.shorthands([url])).named_by("name")
}

/// Takes a URL apart as Kong does: what is missing stays missing.
fn from_url(value: &Value) -> Vec<(Vec<&'static str>, Value)> {
    let text = value.as_str().unwrap_or_default();
    let mut out = Vec::new();
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest))
            if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && !scheme.is_empty() =>
        {
            (Some(scheme), rest)
        }
        _ => (None, text),
    };
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => match rest.find(['/', '?', '#']) {
            Some(at) => (Some(&rest[..at]), &rest[at..]),
            None => (Some(rest), ""),
        },
        None => (None, rest),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let authority = authority.map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host));
    let (host, port) = match authority {
        Some(text) if text.ends_with(']') => (text, None),
        Some(text) => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        None => ("", None),
    };
    let mut put = |name: &'static str, value: Value| out.push((vec![name], value));
    put("protocol", scheme.map_or(null(), |scheme| json!(scheme)));
    put("host", if host.is_empty() { null() } else { json!(host) });
    put("path", if path.is_empty() { null() } else { json!(path) });
    put(
        "port",
        match (port, scheme) {
            (Some(port), _) => port.parse::<i64>().map_or(json!(port), |port| json!(port)),
            (None, Some("https")) => json!(443),
            (None, _) => json!(80),
        },
    );
    if scheme.is_none() {
        out.retain(|(path, _)| path[0] != "protocol");
    }
    out
}
