//! How the gateway is set up: `KONG_*` variables, a file in the format of `kong.conf`, and what they mean.
//!
//! Raw text first ([`Raw`]), then values that cannot be wrong ([`Settings`]).

pub mod listen;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use proxy_core::plugin::Tracing;
use proxy_core::route::Flavor;

pub use listen::{Listen, ListenError};

/// Settings as text, by their name in `kong.conf`.
#[derive(Debug, Clone, Default)]
pub struct Raw(BTreeMap<String, String>);

impl Raw {
    /// Reads `name = value` lines; `#` begins a comment.
    #[must_use]
    pub fn from_file(text: &str) -> Self {
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        let pairs =
            lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        Self(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// Adds the `KONG_*` ones of an environment, which win, and `FLOTILLA_GATEWAY_LISTEN`, which Kong does not have.
    #[must_use]
    pub fn with_env(mut self, variables: impl Iterator<Item = (String, String)>) -> Self {
        let known = variables.filter_map(|(name, value)| {
            let name = match name.as_str() {
                "FLOTILLA_GATEWAY_LISTEN" => "gateway_listen",
                name => name.strip_prefix("KONG_")?,
            };
            Some((name.to_ascii_lowercase(), value))
        });
        self.0.extend(known);
        self
    }

    /// Sets one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// A setting's text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).map(str::trim)
    }

    fn is_on(&self, name: &str, default: bool) -> Result<bool, SettingsError> {
        match self.get(name) {
            None | Some("") => Ok(default),
            Some("on" | "true" | "yes") => Ok(true),
            Some("off" | "false" | "no") => Ok(false),
            Some(value) => Err(wrong(name, value)),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It has no meaning.
    #[error("failed to understand {name} = '{value}'")]
    Value {
        /// The setting.
        name: String,
        /// What it says.
        value: String,
    },
    /// A listener.
    #[error("failed to understand {name}")]
    Listen {
        /// The setting.
        name: &'static str,
        /// What is wrong.
        source: ListenError,
    },
    /// The Admin API would be open to the network.
    #[error("admin_listen has plain HTTP on {0}: only loopback addresses may go without TLS")]
    OpenAdmin(IpAddr),
}

fn wrong(name: &str, value: &str) -> SettingsError {
    SettingsError::Value { name: name.to_owned(), value: value.to_owned() }
}

/// Which headers of its own the gateway shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// `Server`.
    pub server: bool,
    /// `Via`.
    pub via: bool,
    /// The latencies.
    pub latency: bool,
    /// `X-Kong-Request-Id`.
    pub request_id: bool,
    /// `X-Kong-Upstream-Status`.
    pub upstream_status: bool,
}

impl Shown {
    fn parse(list: &str) -> Self {
        let says = |name: &str| list.split(',').any(|one| one.trim().eq_ignore_ascii_case(name));
        let tokens = says("server_tokens");
        Self {
            server: tokens || says("server"),
            via: tokens || says("via"),
            latency: says("latency_tokens"),
            request_id: says("x-kong-request-id"),
            upstream_status: says("x-kong-upstream-status"),
        }
    }
}

/// `tracing_instrumentations` and `tracing_sampling_rate`.
fn tracing(raw: &Raw) -> Result<Option<Tracing>, SettingsError> {
    let kinds = raw.get("tracing_instrumentations").unwrap_or("off").split(',').map(str::trim);
    let kinds: Vec<String> = kinds.map(str::to_owned).collect();
    if kinds.iter().any(|kind| matches!(kind.as_str(), "" | "off")) {
        return Ok(None);
    }
    let rate = raw.get("tracing_sampling_rate").unwrap_or("0.01");
    let parsed = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
    let rate = parsed.ok_or_else(|| wrong("tracing_sampling_rate", rate))?;
    Ok(Some(Tracing { rate, kinds }))
}

/// The gateway's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where requests come in.
    pub proxy: Vec<Listen>,
    /// Where the Admin API is.
    pub admin: Vec<Listen>,
    /// Where the Status API is.
    pub status: Vec<Listen>,
    /// Where streams come in.
    pub stream: Vec<Listen>,
    /// Ports that the control plane hands out to Gateways.
    pub entrances: Vec<Listen>,
    /// The router's flavour.
    pub flavor: Flavor,
    /// The folder for state.
    pub prefix: PathBuf,
    /// A configuration that is loaded at start.
    pub declarative: Option<PathBuf>,
    /// Whose word on the client counts.
    pub trusted: Vec<IpNet>,
    /// The header that names the client.
    pub real_ip_header: HeaderName,
    /// The gateway's own headers.
    pub headers: Shown,
    /// Whether upstreams are verified by default.
    pub tls_verify: bool,
    /// Authorities that are trusted by default.
    pub trusted_certificates: Vec<PathBuf>,
    /// How long a client may keep an idle connection.
    pub keep_alive: Duration,
    /// How long an idle connection stays open for one more request once the gateway stops: nginx's
    /// `keepalive_min_timeout`.
    pub last_call: Duration,
    /// How long a client may take over the head of a request.
    pub head_patience: Duration,
    /// How long a stop waits for requests in flight.
    pub drain: Duration,
    /// Where each request is written, if anywhere.
    pub access_log: Option<PathBuf>,
    /// The share of traces that are kept, where any are recorded.
    pub tracing: Option<Tracing>,
    /// Whether `Kong-Debug: 1` has answers name their route and service.
    pub tells_route: bool,
    /// What is logged.
    pub log_level: String,
    /// Whether logs are JSON.
    pub log_json: bool,
    /// The text itself, for `GET /`.
    pub raw: Raw,
}

impl Settings {
    /// Gives text its meaning.
    pub fn parse(raw: Raw) -> Result<Self, SettingsError> {
        let listen = |name: &'static str, default: &str| {
            listen::parse(raw.get(name).unwrap_or(default))
                .map_err(|source| SettingsError::Listen { name, source })
        };
        let flavor = raw.get("router_flavor").unwrap_or("traditional_compatible");
        let header = raw.get("real_ip_header").unwrap_or("X-Real-IP");
        let admin = listen("admin_listen", "127.0.0.1:8001")?;
        let open = admin.iter().find(|one| !one.tls && !one.address.ip().is_loopback());
        if let Some(open) = open {
            return Err(SettingsError::OpenAdmin(open.address.ip()));
        }
        let access = raw.get("proxy_access_log").unwrap_or("off");
        Ok(Self {
            proxy: listen("proxy_listen", "0.0.0.0:8000, 0.0.0.0:8443 http2 ssl")?,
            status: listen("status_listen", "127.0.0.1:8007")?,
            stream: listen("stream_listen", "off")?,
            entrances: entrances(&raw)?,
            admin,
            flavor: Flavor::parse(flavor).ok_or_else(|| wrong("router_flavor", flavor))?,
            prefix: raw.get("prefix").unwrap_or("/var/lib/flotilla-proxy").into(),
            declarative: raw
                .get("declarative_config")
                .filter(|path| !path.is_empty())
                .map(Into::into),
            trusted: networks(raw.get("trusted_ips").unwrap_or_default())?,
            real_ip_header: header.parse().map_err(|_| wrong("real_ip_header", header))?,
            headers: Shown::parse(
                raw.get("headers").unwrap_or("server_tokens, latency_tokens, X-Kong-Request-Id"),
            ),
            tracing: tracing(&raw)?,
            tells_route: raw.is_on("allow_debug_header", false)?,
            tls_verify: raw.is_on("tls_certificate_verify", false)?,
            trusted_certificates: trusted_files(
                raw.get("lua_ssl_trusted_certificate").unwrap_or("system"),
            ),
            keep_alive: seconds(&raw, "nginx_http_keepalive_timeout", 75)?,
            last_call: seconds(&raw, "nginx_http_keepalive_min_timeout", 3)?,
            head_patience: seconds(&raw, "nginx_http_client_header_timeout", 60)?,
            drain: seconds(&raw, "nginx_main_worker_shutdown_timeout", 30)?,
            access_log: (access != "off").then(|| access.into()),
            log_level: level(raw.get("log_level").unwrap_or("notice")).to_owned(),
            log_json: raw.get("log_format") == Some("json"),
            raw,
        })
    }

    /// Whether a peer's word on the client counts.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&ip))
    }
}

/// The ports of Gateways: an address with the first port, and the last one behind a dash.
fn entrances(raw: &Raw) -> Result<Vec<Listen>, SettingsError> {
    let Some(text) = raw.get("gateway_listen").filter(|text| *text != "off") else {
        return Ok(Vec::new());
    };
    let wrong = || wrong("gateway_listen", text);
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let all = listen::parse(first).map_err(|_| wrong())?;
    let [first] = all.as_slice() else { return Err(wrong()) };
    let last: u16 = last.parse().map_err(|_| wrong())?;
    let at = |port| {
        let mut one = first.clone();
        one.address.set_port(port);
        one
    };
    Ok((first.address.port()..=last).map(at).collect())
}

fn networks(list: &str) -> Result<Vec<IpNet>, SettingsError> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty() && *item != "unix:");
    items
        .map(|item| {
            let address = || item.parse::<IpAddr>().ok().map(IpNet::from);
            item.parse().ok().or_else(address).ok_or_else(|| wrong("trusted_ips", item))
        })
        .collect()
}

fn trusted_files(list: &str) -> Vec<PathBuf> {
    const SYSTEM: &str = "/etc/ssl/certs/ca-certificates.crt";
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| PathBuf::from(if item == "system" { SYSTEM } else { item })).collect()
}

fn seconds(raw: &Raw, name: &str, default: u64) -> Result<Duration, SettingsError> {
    let Some(text) = raw.get(name) else { return Ok(Duration::from_secs(default)) };
    let digits = text.strip_suffix('s').unwrap_or(text);
    digits.parse().map(Duration::from_secs).map_err(|_| wrong(name, text))
}

/// Kong's levels in the words of the log filter.
fn level(name: &str) -> &str {
    match name {
        "notice" | "info" => "info",
        "warn" => "warn",
        "error" | "crit" | "alert" | "emerg" => "error",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file() {
        let raw = Raw::from_file("# comment\nrouter_flavor = traditional # this one\nprefix=/x\n");
        let env = [("KONG_ROUTER_FLAVOR".to_owned(), "expressions".to_owned())];
        let settings = Settings::parse(raw.with_env(env.into_iter())).unwrap();
        assert_eq!(settings.flavor, Flavor::Expressions);
        assert_eq!(settings.prefix, PathBuf::from("/x"));
    }

    #[test]
    fn entrances_are_a_range_of_ports() {
        let env = [("FLOTILLA_GATEWAY_LISTEN".to_owned(), "0.0.0.0:9100-9103".to_owned())];
        let settings = Settings::parse(Raw::default().with_env(env.into_iter())).unwrap();
        let ports: Vec<u16> = settings.entrances.iter().map(|one| one.address.port()).collect();
        assert_eq!(ports, [9100, 9101, 9102, 9103]);
        let env = [("FLOTILLA_GATEWAY_LISTEN".to_owned(), "9100".to_owned())];
        assert!(Settings::parse(Raw::default().with_env(env.into_iter())).is_err());
    }

    #[test]
    fn a_plain_admin_api_stays_on_loopback() {
        let env = |value: &str| {
            Raw::default()
                .with_env([("KONG_ADMIN_LISTEN".to_owned(), value.to_owned())].into_iter())
        };
        assert!(Settings::parse(env("0.0.0.0:8001")).is_err());
        assert!(Settings::parse(env("0.0.0.0:8444 ssl")).is_ok());
        assert!(Settings::parse(env("127.0.0.1:8001")).is_ok());
    }
}
