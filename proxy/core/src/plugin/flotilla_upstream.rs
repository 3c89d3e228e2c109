//! flotilla-upstream: TLS to a service's upstream with a server name of its own, and names and authorities that the
//! certificate must show.

use std::sync::Arc;

use serde_json::Value;

use super::{Access, BuildError, Config, Plugin, texts};
use crate::exchange::{Exchange, TlsWish};
use crate::table::UpstreamTls;

struct Upstream {
    tls: Option<Arc<TlsWish>>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(Upstream { tls: wish(config.config) }))
}

/// What the field `tls` of an object wants.
pub(super) fn wish(config: &Value) -> Option<Arc<TlsWish>> {
    let tls = config.get("tls").filter(|tls| tls.is_object())?;
    let list = |field: &str| texts(tls.get(field)).into_iter().map(String::into_boxed_str);
    let authorities: Vec<Box<str>> = list("authorities").collect();
    let demands = UpstreamTls {
        verify: Some(true),
        depth: tls.get("depth").and_then(Value::as_u64).and_then(|depth| depth.try_into().ok()),
        roots: (!authorities.is_empty()).then(|| authorities.join("\n").into()),
        dns_names: list("dns_names").collect(),
        uris: list("uris").collect(),
        ..UpstreamTls::default()
    };
    let name = tls.get("server_name").and_then(Value::as_str).unwrap_or_default();
    Some(Arc::new(TlsWish { name: name.into(), demands }))
}

impl Plugin for Upstream {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        // A request that another plugin leads elsewhere is not for this service.
        if exchange.upstream.target.is_none() {
            exchange.upstream.wishes.tls = self.tls.clone();
        }
        Access::Continue
    }
}
