//! tcp-log: a record over TCP per request.

use super::PluginSchema;
use crate::schema::{Field, Record, typedef};

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("tcp-log", 7).protocols().field("config", Field::of(Record::new([("host", typedef::host().required().describe("The IP address or host name to send data to.")), ("port", typedef::port().required().describe("The port to send data to on the upstream server.")), ("timeout", Field::number().default(10000).describe("An optional timeout in milliseconds when sending data to the upstream server.")), ("keepalive", Field::number().default(60000).describe("An optional value in milliseconds that defines how long an idle connection lives before being closed.")), ("tls", Field::boolean().required().default(false).describe("Indicates whether to perform a TLS handshake against the remote server.")), ("tls_sni", Field::string().describe("An optional string that defines the SNI (Server Name Indication) hostname to send in the TLS handshake.")), ("custom_fields_by_lua", Field::map(Field::string().len_min(1), Field::string().len_min(1)).describe("A list of key-value pairs, where the key is the name of a log field and the value is a chunk of Lua code, whose return value sets or replaces the log field value."))])).required())
}
