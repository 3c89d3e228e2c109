//! Fields that many entities and plugins share.

use serde_json::{Value, json};

use super::{Check, Field, Shorthand};

const PATH: &str = "A string representing a URL path, such as /path/to/resource. Must start with a forward slash (/) and must not contain empty segments (i.e., two consecutive forward slashes).";
/// Greatest timeout in milliseconds.
const TIMEOUT_MAX: i64 = (1 << 31) - 2;

/// The protocols that Kong knows, in the order of its messages.
pub const PROTOCOLS: [&str; 8] =
    ["grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"];
/// Those that speak HTTP.
pub const PROTOCOLS_HTTP: [&str; 4] = ["grpc", "grpcs", "http", "https"];

/// An entity's id.
#[must_use]
pub fn uuid() -> Field {
    Field::string()
        .uuid()
        .auto()
        .describe("A string representing a UUID (universally unique identifier).")
}

/// A set of tags.
#[must_use]
pub fn tags() -> Field {
    let tag = Field::string().required().describe("A string representing a tag.").custom(check_tag);
    Field::set(tag).describe("A set of strings representing tags.")
}

fn check_tag(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    if text.bytes().any(|byte| matches!(byte, b',' | b'/') || byte < 0x20 || byte == 0x7f) {
        return Err(format!(
            "invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
        ));
    }
    Ok(())
}

/// The unique name of an entity.
#[must_use]
pub fn utf8_name() -> Field {
    Field::string()
        .unique()
        .describe("A unique string representing a UTF-8 encoded name.")
        .custom(check_name)
}

fn check_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let bad = |c: char| {
        c.is_ascii() && !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~'))
    };
    if text.chars().any(bad) {
        return Err(format!(
            "invalid value '{text}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
        ));
    }
    Ok(())
}

/// A host name.
#[must_use]
pub fn host() -> Field {
    Field::string()
        .describe("A string representing a host name, such as example.com.")
        .custom(check_host)
}

fn check_host(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    match crate::host::normalize(text) {
        Some(parsed) if parsed.port.is_none() => Ok(()),
        Some(_) => Err("must not have a port".into()),
        None => Err(format!("invalid value: {text}")),
    }
}

/// A host name with an optional port.
#[must_use]
pub fn host_with_optional_port() -> Field {
    Field::string()
        .describe("A string representing a host name with an optional port number, such as example.com or example.com:8080.")
        .custom(|value| {
            crate::host::check_optional_port(value.as_str().unwrap_or_default())
        })
}

/// A host name whose first or last label may be `*`.
#[must_use]
pub fn wildcard_host() -> Field {
    Field::string()
        .describe("A string representing a wildcard host name, such as *.example.com.")
        .check(Check::Custom(check_wildcard_host))
}

fn check_wildcard_host(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    crate::host::check_wildcard(text)
}

/// A port number.
#[must_use]
pub fn port() -> Field {
    Field::integer()
        .between(0, 65535)
        .describe("An integer representing a port number between 0 and 65535, inclusive.")
}

/// A timeout in milliseconds.
#[must_use]
pub fn timeout() -> Field {
    Field::integer().between(0, TIMEOUT_MAX).describe(
        "An integer representing a timeout in milliseconds. Must be between 0 and 2^31-2.",
    )
}

/// A path of a URL.
#[must_use]
pub fn path() -> Field {
    Field::string()
        .starts_with("/")
        .match_none(&[("//", "must not have empty segments")])
        .describe(PATH)
        .custom(check_path)
}

fn check_path(value: &Value) -> Result<(), String> {
    crate::host::check_path(value.as_str().unwrap_or_default())
}

/// A whole URL.
#[must_use]
pub fn url() -> Field {
    Field::string()
        .describe(
            "A string representing a URL, such as https://example.com/path/to/resource?q=search.",
        )
        .custom(|value| crate::host::check_url(value.as_str().unwrap_or_default()))
}

/// The name of an HTTP header.
#[must_use]
pub fn header_name() -> Field {
    Field::string().describe("A string representing an HTTP header name.").custom(check_header_name)
}

fn check_header_name(value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if plain {
        return Ok(());
    }
    Err(format!("bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'"))
}

/// A method in upper case.
#[must_use]
pub fn http_method() -> Field {
    Field::string().matches("^%u+$").describe("A string representing an HTTP method, such as GET, POST, PUT, or DELETE. The string must contain only uppercase letters.")
}

/// A server name for TLS.
#[must_use]
pub fn sni() -> Field {
    Field::string()
        .describe("A string representing an SNI (server name indication) value for TLS.")
        .custom(|value| crate::host::check_wildcard(value.as_str().unwrap_or_default()))
}

/// An address or a range.
#[must_use]
pub fn ip_or_cidr() -> Field {
    Field::string()
        .describe("A string representing an IP address or CIDR block, such as 192.168.1.1 or 192.168.0.0/16.")
        .custom(|value| {
            let text = value.as_str().unwrap_or_default();
            if crate::host::is_ip_or_cidr(text) {
                Ok(())
            } else {
                Err(format!("invalid ip or cidr range: '{text}'"))
            }
        })
}

/// An address.
#[must_use]
pub fn ip() -> Field {
    Field::string().describe("A string representing an IP address.").custom(|value| {
        let text = value.as_str().unwrap_or_default();
        text.parse::<std::net::IpAddr>().map(drop).map_err(|_| format!("not an ip address: {text}"))
    })
}

/// A status code.
#[must_use]
pub fn status_code() -> Field {
    Field::integer().between(100, 999).describe("An integer representing an HTTP status code.")
}

/// The protocols of a plugin that runs for HTTP.
#[must_use]
pub fn protocols_http() -> Field {
    plugin_protocols(Field::string().one_of(&PROTOCOLS_HTTP))
        .describe("A set of strings representing HTTP protocols.")
}

/// The same as Kong prints it once the schema was used.
#[must_use]
pub fn protocols_http_seen() -> Field {
    plugin_protocols(Field::string().one_of(&PROTOCOLS_HTTP).len_min(1).required())
        .describe("A set of strings representing HTTP protocols.")
}

fn plugin_protocols(elements: Field) -> Field {
    Field::set(elements).required().default(json!(PROTOCOLS_HTTP))
}

/// The protocols of a plugin that runs for every protocol.
#[must_use]
pub fn protocols() -> Field {
    let protocol = Field::string()
        .one_of(&PROTOCOLS)
        .describe("A string representing a protocol, such as HTTP or HTTPS.");
    plugin_protocols(protocol).describe("A set of strings representing protocols.")
}

/// A reference that must be absent.
#[must_use]
pub fn no_foreign(entity: &'static str) -> Field {
    Field::foreign(entity)
        .eq(Value::Null)
        .describe("Custom type for representing a foreign key with a null value allowed.")
}

/// How to reach redis.
#[must_use]
pub fn redis() -> Field {
    Field::record([
        ("host", host()),
        ("port", port().default(6379)),
        ("timeout", timeout().default(2000)),
        (
            "username",
            Field::string().referenceable().describe(
                "Username to use for Redis connections. If undefined, ACL authentication won't be performed. This requires Redis v6.0.0+. To be compatible with Redis v5.x.y, you can set it to `default`.",
            ),
        ),
        (
            "password",
            Field::string().referenceable().encrypted().len_min(0).describe(
                "Password to use for Redis connections. If undefined, no AUTH commands are sent to Redis.",
            ),
        ),
        (
            "database",
            Field::integer().default(0).describe(
                "Database to use for the Redis connection when using the `redis` strategy",
            ),
        ),
        (
            "ssl",
            Field::boolean()
                .optional()
                .default(false)
                .describe("If set to true, uses SSL to connect to Redis."),
        ),
        (
            "ssl_verify",
            Field::boolean().optional().default(false).describe(
                "If set to true, verifies the validity of the server SSL certificate. If setting this parameter, also configure `lua_ssl_trusted_certificate` in `kong.conf` to specify the CA (or server) certificate used by your Redis server. You may also need to configure `lua_ssl_verify_depth` accordingly.",
            ),
        ),
        ("server_name", sni().optional()),
    ])
    .describe("Redis configuration")
}

/// The flat spellings `redis_host`, … of a plugin that now has `redis.host`, ….
#[must_use]
pub fn redis_shorthands(plugin: &str) -> Vec<Shorthand> {
    let table: [(&'static str, Field, &'static [&'static str]); 9] = [
        ("redis_host", Field::string(), &["redis", "host"]),
        ("redis_port", Field::integer(), &["redis", "port"]),
        ("redis_password", Field::string().len_min(0), &["redis", "password"]),
        ("redis_username", Field::string(), &["redis", "username"]),
        ("redis_ssl", Field::boolean(), &["redis", "ssl"]),
        ("redis_ssl_verify", Field::boolean(), &["redis", "ssl_verify"]),
        ("redis_server_name", Field::string(), &["redis", "server_name"]),
        ("redis_timeout", Field::integer(), &["redis", "timeout"]),
        ("redis_database", Field::integer(), &["redis", "database"]),
    ];
    table
        .into_iter()
        .map(|(name, field, path)| {
            let message = format!(
                "{plugin}: config.{name} is deprecated, please use config.{} instead",
                path.join(".")
            );
            Shorthand::renamed(name, field, path).deprecated(&message, "4.0")
        })
        .collect()
}
