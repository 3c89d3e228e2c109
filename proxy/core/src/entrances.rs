//! What Gateways' listeners say of the ports that connections come in at: which hostnames end TLS there, whose
//! certificates clients must show, and which certificate upstreams are shown.

use std::collections::HashMap;
use std::sync::Arc;

use kong::schema::plugin::flotilla_listeners;
use serde_json::Value;

use crate::plugin::{Entities, texts};

/// Ports with what their listeners say.
pub type Entrances = HashMap<u16, Entrance>;

/// What the listeners of one port say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entrance {
    /// The hostnames of those that end TLS; `*` takes any.
    pub hostnames: Vec<Box<str>>,
    /// Which certificates clients are asked for.
    pub clients: Option<Clients>,
    /// Whether nothing is let in.
    pub closed: bool,
    /// The id of the certificate that upstreams are shown.
    pub certificate: Option<Arc<str>>,
}

/// Which certificates clients are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// The authorities that they must chain to, in PEM.
    pub authorities: Arc<str>,
    /// Whether clients with others, or with none, are let in all the same.
    pub optional: bool,
}

/// The entrances of a configuration.
pub(crate) fn read(entities: &dyn Entities) -> Entrances {
    let mut all = Entrances::new();
    for entity in entities.of("plugins").filter(|one| one.json().contains(flotilla_listeners::NAME))
    {
        let plugin = entity.value();
        let field = |name: &str| plugin.get(name).and_then(Value::as_str);
        if field("name") != Some(flotilla_listeners::NAME)
            || plugin.get("enabled").and_then(Value::as_bool) == Some(false)
        {
            continue;
        }
        let entrances = plugin.pointer("/config/entrances").and_then(Value::as_array);
        all.extend(entrances.into_iter().flatten().filter_map(entrance));
    }
    all
}

fn entrance(value: &Value) -> Option<(u16, Entrance)> {
    let port = value.get("port")?.as_u64()?.try_into().ok()?;
    let authorities = texts(value.get("client_authorities")).join("\n");
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    Some((
        port,
        Entrance {
            hostnames: texts(value.get("hostnames")).into_iter().map(Into::into).collect(),
            clients: (!authorities.is_empty()).then(|| Clients {
                authorities: authorities.into(),
                optional: flag("client_optional"),
            }),
            closed: flag("closed"),
            certificate: value.get("certificate").and_then(Value::as_str).map(Into::into),
        },
    ))
}

impl Entrance {
    /// Whether a request for `host` does not belong on a connection that was made for `sni`: another listener's it is.
    #[must_use]
    pub fn is_misdirected(&self, sni: &str, host: &str) -> bool {
        self.hostnames.len() > 1 && self.listener(sni) != self.listener(host)
    }

    /// The listener that takes a name: the most precise one.
    fn listener(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        let takes = |hostname: &&str| match hostname.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            None => **hostname == *name,
        };
        let hostnames = self.hostnames.iter().map(AsRef::as_ref);
        hostnames.filter(takes).max_by_key(|name| (!name.starts_with('*'), name.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_belong_to_the_most_precise_listener_of_their_connection() {
        let names = ["*", "second.example", "*.wild.example", "fourth.wild.example"];
        let hostnames = names.map(Into::into).to_vec();
        let entrance = Entrance { hostnames, ..Entrance::default() };
        for (sni, host, misdirected) in [
            ("example.org", "example.org", false),
            ("example.org", "second.example", true),
            ("example.org", "unknown.example", false),
            ("second.example", "SECOND.example", false),
            ("second.example", "unknown.example", true),
            ("third.wild.example", "fifth.wild.example", false),
            ("third.wild.example", "fourth.wild.example", true),
            ("fourth.wild.example", "fifth.wild.example", true),
        ] {
            assert_eq!(entrance.is_misdirected(sni, host), misdirected, "{sni} {host}");
        }
    }
}
