//! syslog: a line in the system log per request.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    let severity = || Field::string().one_of(&SEVERITIES);
    PluginSchema::new("syslog", 4).protocols().config([
        ("log_level", severity().default("info")),
        ("successful_severity", severity().default("info")),
        ("client_errors_severity", severity().default("info")),
        ("server_errors_severity", severity().default("info")),
        ("facility", Field::string().required().default("user").one_of(&FACILITIES)),
        ("custom_fields_by_lua", super::queue::custom_fields()),
    ])
}

/// Least to most severe.
pub(super) const SEVERITIES: [&str; 8] =
    ["debug", "info", "notice", "warning", "err", "crit", "alert", "emerg"];

const FACILITIES: [&str; 20] = [
    "auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog", "user",
    "uucp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
