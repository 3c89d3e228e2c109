//! How an upstream balances: KongUpstreamPolicy, the older KongIngress, and the Host header.

use kong::model::{ActiveHealth, Healthchecks, Healthy, PassiveHealth, Unhealthy, Upstream};
use operator_api::kong::upstream as api;

use super::Context;
use super::backends::Resolved;
use super::rules::Origin;
use crate::object::Object as _;
use crate::outcome::Reason;

/// Applies what the backends of an upstream name; they agree already.
///
/// KongIngress is older than Gateway API and has no effect on its routes.
pub(super) fn apply(
    ctx: &mut Context<'_>,
    upstream: &mut Upstream,
    parent: Origin<'_>,
    backends: &[Resolved<'_>],
) {
    for resolved in backends {
        let origin = resolved.origin;
        if origin.annotations().next().is_none() {
            continue;
        }
        if parent.kind.group() != crate::gateway_api::GROUP {
            older(ctx, upstream, origin);
        }
        policy(ctx, upstream, origin);
        if let Some(header) = origin.annotation("konghq.com/host-header")
            && !header.is_empty()
        {
            upstream.host_header = Some(header.to_owned());
        }
    }
}

/// Keeps each client with its target by a cookie.
pub(super) fn keep(upstream: &mut Upstream, cookie: String) {
    upstream.algorithm = Some("consistent-hashing".into());
    upstream.hash_on = Some("cookie".into());
    upstream.hash_on_cookie = Some(cookie);
    upstream.hash_on_cookie_path = Some("/".into());
}

fn older(ctx: &mut Context<'_>, upstream: &mut Upstream, origin: Origin<'_>) {
    let Some(name) = origin.annotation("konghq.com/override").filter(|name| !name.is_empty())
    else {
        return;
    };
    let namespace = origin.namespace();
    let Some(found) = ctx.find(|all| &all.kong_ingresses, namespace, name) else {
        let message =
            format!("failed fetching KongIngress: KongIngress {namespace}/{name} not found");
        return ctx.outcomes.fail(origin.reference(), Reason::RefNotFound, message);
    };
    let Some(from) = &found.upstream else { return };
    let api::KongIngressUpstream {
        host_header,
        algorithm,
        slots,
        healthchecks,
        hash_on,
        hash_fallback,
        hash_on_header,
        hash_fallback_header,
        hash_on_cookie,
        hash_on_cookie_path,
        hash_on_query_arg,
        hash_fallback_query_arg,
        hash_on_uri_capture,
        hash_fallback_uri_capture,
    } = from.clone();
    set(&mut upstream.host_header, host_header);
    set(&mut upstream.algorithm, algorithm);
    set(&mut upstream.slots, slots.and_then(|slots| u32::try_from(slots).ok()));
    set(&mut upstream.hash_on, hash_on);
    set(&mut upstream.hash_fallback, hash_fallback);
    set(&mut upstream.hash_on_header, hash_on_header);
    set(&mut upstream.hash_fallback_header, hash_fallback_header);
    set(&mut upstream.hash_on_cookie, hash_on_cookie);
    set(&mut upstream.hash_on_cookie_path, hash_on_cookie_path);
    set(&mut upstream.hash_on_query_arg, hash_on_query_arg);
    set(&mut upstream.hash_fallback_query_arg, hash_fallback_query_arg);
    set(&mut upstream.hash_on_uri_capture, hash_on_uri_capture);
    set(&mut upstream.hash_fallback_uri_capture, hash_fallback_uri_capture);
    match healthchecks.map(serde_json::from_value::<Healthchecks>).transpose() {
        Ok(checks) => set(&mut upstream.healthchecks, checks),
        Err(error) => {
            let message = format!("upstream.healthchecks cannot be read: {error}");
            ctx.outcomes.fail(found.reference(), Reason::Invalid, message);
        }
    }
}

fn set<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn policy(ctx: &mut Context<'_>, upstream: &mut Upstream, origin: Origin<'_>) {
    let named = origin.annotation("konghq.com/upstream-policy").filter(|name| !name.is_empty());
    let Some(name) = named else { return };
    let namespace = origin.namespace();
    let Some(found) = ctx.find(|all| &all.kong_upstream_policies, namespace, name) else {
        let message = format!(
            "failed fetching KongUpstreamPolicy: KongUpstreamPolicy {namespace}/{name} not found"
        );
        return ctx.outcomes.fail(origin.reference(), Reason::RefNotFound, message);
    };
    ctx.outcomes.configured(Origin::of(found));
    let api::KongUpstreamPolicySpec {
        algorithm,
        slots,
        hash_on,
        hash_on_fallback,
        healthchecks,
        sticky_sessions,
    } = found.spec.clone();
    set(&mut upstream.algorithm, algorithm);
    set(&mut upstream.slots, slots.and_then(|slots| u32::try_from(slots).ok()));
    if let Some(hash) = hash_on {
        set(&mut upstream.hash_on, input(&hash));
        set(&mut upstream.hash_on_header, hash.header);
        set(&mut upstream.hash_on_cookie, hash.cookie);
        set(&mut upstream.hash_on_cookie_path, hash.cookie_path);
        set(&mut upstream.hash_on_query_arg, hash.query_arg);
        set(&mut upstream.hash_on_uri_capture, hash.uri_capture);
    }
    if let Some(hash) = hash_on_fallback {
        set(&mut upstream.hash_fallback, input(&hash));
        set(&mut upstream.hash_fallback_header, hash.header);
        set(&mut upstream.hash_fallback_query_arg, hash.query_arg);
        set(&mut upstream.hash_fallback_uri_capture, hash.uri_capture);
        if upstream.hash_on_cookie.is_none() {
            set(&mut upstream.hash_on_cookie, hash.cookie);
            set(&mut upstream.hash_on_cookie_path, hash.cookie_path);
        }
    }
    if let Some(sticky) = sticky_sessions {
        upstream.sticky_sessions_cookie = Some(sticky.cookie);
        upstream.sticky_sessions_cookie_path = sticky.cookie_path;
    }
    set(&mut upstream.healthchecks, healthchecks.map(checks));
}

/// What is hashed, in Kong's word.
fn input(hash: &api::HashOn) -> Option<String> {
    let api::HashOn { input, header, cookie, cookie_path: _, query_arg, uri_capture } = hash;
    let word = |present: bool, word: &str| present.then(|| word.to_owned());
    input
        .clone()
        .or_else(|| word(header.is_some(), "header"))
        .or_else(|| word(cookie.is_some(), "cookie"))
        .or_else(|| word(query_arg.is_some(), "query_arg"))
        .or_else(|| word(uri_capture.is_some(), "uri_capture"))
}

#[allow(clippy::cast_precision_loss)]
fn seconds(value: Option<i64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn count(value: Option<i64>) -> Option<u16> {
    value.and_then(|value| u16::try_from(value).ok())
}

fn statuses(value: Option<Vec<i64>>) -> Option<Vec<u16>> {
    value.map(|all| all.into_iter().filter_map(|one| u16::try_from(one).ok()).collect())
}

fn checks(from: api::Healthchecks) -> Healthchecks {
    let api::Healthchecks { active, passive, threshold } = from;
    Healthchecks {
        active: active.map(|active| {
            let api::ActiveHealthcheck {
                check_type,
                concurrency,
                healthy,
                unhealthy,
                http_path,
                https_sni,
                https_verify_certificate,
                timeout,
                headers,
            } = active;
            ActiveHealth {
                r#type: check_type,
                timeout: seconds(timeout),
                concurrency: concurrency.and_then(|value| u32::try_from(value).ok()),
                http_path,
                https_sni,
                https_verify_certificate,
                headers,
                healthy: healthy.map(good),
                unhealthy: unhealthy.map(bad),
            }
        }),
        passive: passive.map(|passive| {
            let api::PassiveHealthcheck { check_type, healthy, unhealthy } = passive;
            PassiveHealth {
                r#type: check_type,
                healthy: healthy.map(good),
                unhealthy: unhealthy.map(bad),
            }
        }),
        threshold: seconds(threshold),
    }
}

fn good(from: api::Healthy) -> Healthy {
    let api::Healthy { http_statuses, interval, successes } = from;
    Healthy {
        interval: seconds(interval),
        http_statuses: statuses(http_statuses),
        successes: count(successes),
    }
}

fn bad(from: api::Unhealthy) -> Unhealthy {
    let api::Unhealthy { http_failures, http_statuses, interval, tcp_failures, timeouts } = from;
    Unhealthy {
        interval: seconds(interval),
        http_statuses: statuses(http_statuses),
        tcp_failures: count(tcp_failures),
        timeouts: count(timeouts),
        http_failures: count(http_failures),
    }
}
