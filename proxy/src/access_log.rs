//! One line per request, in the format that nginx calls combined, or JSON.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use proxy_core::exchange::Exchange;

/// Where requests are written.
pub struct AccessLog {
    file: Option<Mutex<File>>,
    json: bool,
}

impl AccessLog {
    /// Opens the log; without a path nothing is written.
    pub fn open(path: Option<&Path>, json: bool) -> io::Result<Self> {
        let file = match path {
            Some(path) => {
                Some(Mutex::new(OpenOptions::new().create(true).append(true).open(path)?))
            }
            None => None,
        };
        Ok(Self { file, json })
    }

    /// Writes an exchange that is over.
    pub fn write(&self, exchange: &Exchange) {
        let Some(file) = &self.file else { return };
        let line = if self.json { json(exchange) } else { combined(exchange) };
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A full disk must not fail requests.
        let _ = file.write_all(line.as_bytes());
    }
}

fn combined(exchange: &Exchange) -> String {
    let request = &exchange.request;
    let seconds = i64::try_from(exchange.moments.started.as_secs()).unwrap_or_default();
    let stamp = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let of = |name: &str| request.header(name).unwrap_or("-").replace('"', "\\x22");
    format!(
        "{} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\" kong_request_id: \"{}\"\n",
        exchange.client.ip,
        stamp.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        request.method,
        request.target,
        request.version,
        exchange.response.status.as_u16(),
        exchange.response.body_size,
        of("referer"),
        of("user-agent"),
        exchange.id,
    )
}

fn json(exchange: &Exchange) -> String {
    let request = &exchange.request;
    let record = serde_json::json!({
        "request_id": exchange.id,
        "client": exchange.client.ip,
        "method": request.method.as_str(),
        "uri": request.target,
        "status": exchange.response.status.as_u16(),
        "bytes": exchange.response.body_size,
        "request_ms": exchange.moments.request(),
        "upstream_ms": exchange.moments.upstream(),
        "route": exchange.matched.route.as_ref().map(|route| route.label()),
        "service": exchange.matched.service.as_ref().map(|service| service.label()),
    });
    format!("{record}\n")
}
