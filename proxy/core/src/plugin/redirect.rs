//! redirect: another address for every request.

use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use url::Url;

use super::{Access, BuildError, Config, Plugin};
use crate::answer::Answer;
use crate::exchange::Exchange;

struct Redirect {
    status: StatusCode,
    location: HeaderValue,
    /// The address whose path and query the request's take the place of.
    base: Option<Url>,
}

pub(super) fn build(config: &Config<'_>) -> Result<Box<dyn Plugin>, BuildError> {
    let unusable = || BuildError::Field { plugin: "redirect", field: "location" };
    let location = config.text("location").ok_or_else(unusable)?;
    let base = if config.flag("keep_incoming_path") {
        Some(Url::parse(location).map_err(|_| unusable())?)
    } else {
        None
    };
    Ok(Box::new(Redirect {
        status: config.status("status_code", StatusCode::MOVED_PERMANENTLY),
        location: HeaderValue::from_str(location).map_err(|_| unusable())?,
        base,
    }))
}

impl Plugin for Redirect {
    fn access<'a>(&'a self, exchange: &'a mut Exchange) -> Access<'a> {
        let location = match &self.base {
            None => self.location.clone(),
            Some(base) => {
                let mut url = base.clone();
                url.set_path(&exchange.request.path);
                url.set_query(exchange.request.query.as_deref().filter(|query| !query.is_empty()));
                HeaderValue::from_str(url.as_str()).unwrap_or_else(|_| self.location.clone())
            }
        };
        Access::respond(Answer::new(self.status, None, "redirecting").with(LOCATION, location))
    }
}
