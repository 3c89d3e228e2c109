//! A stream as plugins see it: who asks, where it goes, and how much was said.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Version};
use proxy_core::exchange::{Body, Client, Exchange, Matched, Request, Try};
use proxy_core::plugin::{Flow, Plan};
use proxy_core::route::Protocol;
use proxy_core::table::Route;

use super::Ends;
use crate::http::now;

/// One stream on its way through the plugins of its route.
pub(super) struct Session {
    exchange: Exchange,
    plan: Arc<Plan>,
}

impl Session {
    /// Begins a stream of a route; `None` where a plugin turns the client away.
    pub(super) async fn begin(route: &Route, protocol: Protocol, ends: Ends) -> Option<Self> {
        let request = Request {
            method: Method::CONNECT,
            version: Version::HTTP_11,
            scheme: protocol.name(),
            host: String::new(),
            port: ends.local.port(),
            target: String::new(),
            path: String::new(),
            query: None,
            headers: HeaderMap::new(),
            body: Body::Empty,
            size: 0,
        };
        let client = Client {
            ip: ends.client.ip(),
            peer: ends.client.ip(),
            port: ends.client.port(),
            tls: None,
        };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut exchange = Exchange::new(id.into(), client, request, now());
        exchange.matched = Matched {
            route: Some(Arc::clone(&route.entity)),
            service: route.service.as_ref().map(|service| Arc::clone(&service.entity)),
            ..Matched::default()
        };
        let mut session = Self { exchange, plan: Arc::clone(&route.plan) };
        match session.plan.access(&mut session.exchange).await {
            Flow::Continue => Some(session),
            Flow::Respond(answer) => {
                session.exchange.response.status = answer.status;
                session.end((0, 0));
                None
            }
        }
    }

    /// Notes an attempt to reach a target.
    pub(super) fn tries(&mut self, address: SocketAddr, failed: bool) {
        let started = now();
        self.exchange.moments.forwarded.get_or_insert(started);
        self.exchange.tries.push(Try {
            ip: address.ip(),
            port: address.port(),
            started,
            latency: std::time::Duration::ZERO,
            state: failed.then_some("failed"),
            code: None,
        });
    }

    /// Ends the stream after so many bytes from the client and to it.
    pub(super) fn end(mut self, (received, sent): (u64, u64)) {
        self.exchange.moments.ended = Some(now());
        self.exchange.request.size = received;
        self.exchange.response.size = sent;
        self.plan.log(&mut self.exchange);
    }
}
