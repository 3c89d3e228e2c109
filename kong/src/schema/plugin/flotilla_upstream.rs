//! flotilla-upstream: how TLS is spoken to a service, as a BackendTLSPolicy of Gateway API demands it. Our own gateway runs
//! it; it is never sent to Kong, which asks for the name that it shows as `Host` and knows no other names.

use super::PluginSchema;
use crate::schema::{Field, Record};

/// The name, which no plugin of Kong's has.
pub const NAME: &str = "flotilla-upstream";

pub(super) fn schema() -> PluginSchema {
    PluginSchema::new(NAME, 789).protocols_http().config([("tls", tls())])
}

/// The demands: the server name, the names of which the certificate must carry one where not that, and the authorities
/// in PEM, without which those of the gateway count.
pub(super) fn tls() -> Field {
    let names = || Field::array(Field::string());
    Field::of(Record::new([
        ("server_name", Field::string().required()),
        ("dns_names", names()),
        ("uris", names()),
        ("authorities", names()),
        ("depth", Field::integer().between(0, 64)),
    ]))
}
