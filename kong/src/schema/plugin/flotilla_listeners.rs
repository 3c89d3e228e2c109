//! flotilla-listeners: what the listeners of Gateways say of TLS and Kong's model has no word for, by the ports that
//! connections come in at. Our own gateway reads it once a configuration; it is never sent to Kong.

use super::PluginSchema;
use crate::schema::Field;

/// The name, which no plugin of Kong's has.
pub const NAME: &str = "flotilla-listeners";

pub(super) fn schema() -> PluginSchema {
    let list = || Field::array(Field::string());
    PluginSchema::new(NAME, 1).protocols_http().config([(
        "entrances",
        Field::array(Field::record([
            ("port", Field::integer().required().between(1, 65_535)),
            // The hostnames of listeners that end TLS here; `*` takes any.
            ("hostnames", list()),
            // The authorities in PEM that clients' certificates must chain to.
            ("client_authorities", list()),
            // Whether clients that show another one, or none, are let in all the same.
            ("client_optional", Field::boolean().required().default(false)),
            // Whether nothing is let in: no listener of the port can serve.
            ("closed", Field::boolean().required().default(false)),
            // The id of the certificate that is shown to upstreams.
            ("certificate", Field::string()),
        ])),
    )])
}
