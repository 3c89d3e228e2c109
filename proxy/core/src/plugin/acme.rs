//! acme: the challenges of a certificate authority for the domains of the configuration.
//!
//! Challenges are asked for over plain HTTP. This gateway orders no certificates itself, so it knows no token: it says
//! so for the domains that are its own, before any plugin that would ask for credentials.

use http::StatusCode;

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::Exchange;

const CHALLENGE: &str = "/.well-known/acme-challenge/";

struct Acme {
    any_domain: bool,
    domains: Vec<String>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    Ok(Box::new(Acme {
        any_domain: config.flag("allow_any_domain"),
        domains: config.list("domains"),
    }))
}

impl Plugin for Acme {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let request = &exchange.request;
        let token = request.path.strip_prefix(CHALLENGE).filter(|token| !token.is_empty());
        match token {
            Some(token) if request.scheme == "http" && self.serves(&request.host) => {
                if token == "x" {
                    // Kong's own question whether a domain leads here.
                    return Access::respond(Answer::new(
                        StatusCode::NOT_FOUND,
                        None,
                        "Not found\n",
                    ));
                }
                Access::respond(Answer::bare(exchange, StatusCode::NOT_FOUND))
            }
            Some(_) | None => Access::Continue,
        }
    }
}

impl Acme {
    fn serves(&self, host: &str) -> bool {
        self.any_domain
            || self.domains.iter().any(|domain| match domain.strip_prefix('*') {
                Some(end) => host.ends_with(end),
                None => host == domain,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_name_below() {
        let acme = Acme { any_domain: false, domains: vec!["*.a.test".into(), "b.test".into()] };
        assert!(acme.serves("x.a.test"));
        assert!(acme.serves("b.test"));
        assert!(!acme.serves("a.test"));
        assert!(!acme.serves("x.b.test"));
    }
}
