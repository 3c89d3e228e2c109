//! azure-functions: a function in place of an upstream.

use super::PluginSchema;
use crate::schema::Field;

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new("azure-functions", 749).protocols_http().config([
        ("timeout", Field::number().default(600_000)),
        ("keepalive", Field::number().default(60_000)),
        ("https", Field::boolean().default(true)),
        ("https_verify", Field::boolean().default(false)),
        ("apikey", Field::string().encrypted().referenceable()),
        ("clientid", Field::string().encrypted().referenceable()),
        ("appname", Field::string().required()),
        ("hostdomain", Field::string().required().default("azurewebsites.net")),
        ("routeprefix", Field::string().default("api")),
        ("functionname", Field::string().required()),
    ])
}
