//! ip-restriction: addresses that may or may not pass; a denied one never does.

use std::net::IpAddr;

use http::StatusCode;
use ipnet::IpNet;

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::Exchange;

struct IpRestriction {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    status: Option<StatusCode>,
    message: Option<String>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let nets = |field: &'static str| {
        config
            .list(field)
            .iter()
            .map(|text| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| BuildError::Field { plugin: "ip-restriction", field })
    };
    Ok(Box::new(IpRestriction {
        allow: nets("allow")?,
        deny: nets("deny")?,
        status: config.refusal("status", StatusCode::FORBIDDEN),
        message: config.text("message").map(str::to_owned),
    }))
}

impl Plugin for IpRestriction {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let ip = exchange.client.ip.to_canonical();
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
        if !within(&self.deny) && (self.allow.is_empty() || within(&self.allow)) {
            return Access::Continue;
        }
        let told = || format!("IP address not allowed: {ip}");
        let answer = match self.status {
            Some(status) => {
                let message = self.message.clone().unwrap_or_else(told);
                Answer::error(exchange, status, &message)
            }
            None => Answer::status_error(exchange, StatusCode::INTERNAL_SERVER_ERROR),
        };
        Access::respond(answer)
    }
}
