//! Questions about the request.

use http::Version;
use mlua::{IntoLuaMulti, Lua, Value};
use regex::RegexBuilder;
use serde_json::{Map, json};

use super::bridge::{Arguments, Bridge, Reply, unknown};
use super::convert::{headers, to_lua};
use crate::exchange::{Body, Exchange};
use crate::plugin::args::Args;

impl Bridge<'_> {
    pub(super) fn request(&mut self, lua: &Lua, name: &str, arguments: &Arguments<'_>) -> Reply {
        let exchange = self.exchange()?;
        let request = &exchange.request;
        let raw_path = || request.target.split('?').next().unwrap_or_default().to_owned();
        let query = request.query.as_deref().unwrap_or_default();
        match name {
            "get_scheme" | "get_forwarded_scheme" => request.scheme.into_lua_multi(lua),
            "get_host" => request.host.as_str().into_lua_multi(lua),
            "get_forwarded_host" => {
                request.header("x-forwarded-host").unwrap_or(&request.host).into_lua_multi(lua)
            }
            "get_port" | "get_forwarded_port" => request.port.into_lua_multi(lua),
            "get_http_version" => match request.version {
                Version::HTTP_2 => 2.0,
                Version::HTTP_10 => 1.0,
                _ => 1.1,
            }
            .into_lua_multi(lua),
            "get_method" => request.method.as_str().into_lua_multi(lua),
            "get_path" | "get_forwarded_path" => request.path.as_str().into_lua_multi(lua),
            "get_raw_path" => raw_path().into_lua_multi(lua),
            "get_path_with_query" => match &request.query {
                Some(query) => format!("{}?{query}", raw_path()).into_lua_multi(lua),
                None => raw_path().into_lua_multi(lua),
            },
            "get_raw_query" => query.into_lua_multi(lua),
            "get_query" => to_lua(lua, &json!(args(query)))?.into_lua_multi(lua),
            "get_query_arg" => {
                let wanted = arguments.need(0)?;
                let found = Args::parse(query).0.into_iter().find(|(name, _)| *name == wanted);
                match found {
                    None => Value::Nil.into_lua_multi(lua),
                    Some((_, None)) => true.into_lua_multi(lua),
                    Some((_, Some(value))) => value.into_lua_multi(lua),
                }
            }
            "get_header" => {
                let name = arguments.need(0)?.replace('_', "-");
                match request.headers.get(name) {
                    Some(value) => lua.create_string(value.as_bytes())?.into_lua_multi(lua),
                    None => Value::Nil.into_lua_multi(lua),
                }
            }
            "get_headers" => headers(lua, &request.headers)?.into_lua_multi(lua),
            "get_raw_body" => match &request.body {
                Body::Whole(body) => lua.create_string(body)?.into_lua_multi(lua),
                Body::Empty | Body::Unread(_) | Body::Taken => "".into_lua_multi(lua),
            },
            "get_body" => parsed(lua, exchange, arguments),
            "get_uri_captures" => {
                let captures = &exchange.matched.captures;
                let unnamed: Vec<_> = captures.unnamed.iter().skip(1).collect();
                let named: Map<_, _> = captures
                    .named
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().into()))
                    .collect();
                to_lua(lua, &json!({ "unnamed": unnamed, "named": named }))?.into_lua_multi(lua)
            }
            "get_start_time" => (exchange.moments.started.as_millis() as f64).into_lua_multi(lua),
            "get_start_time_seconds" => exchange.moments.started.as_secs_f64().into_lua_multi(lua),
            _ => unknown(name),
        }
    }

    /// nginx's variables, as far as they are ours.
    pub(super) fn variable(&mut self, name: &str) -> mlua::Result<Option<String>> {
        let exchange = self.exchange()?;
        let request = &exchange.request;
        if let Some(header) = name.strip_prefix("http_") {
            return Ok(request.header(&header.replace('_', "-")).map(str::to_owned));
        }
        if let Some(wanted) = name.strip_prefix("arg_") {
            let args = Args::parse(request.query.as_deref().unwrap_or_default());
            let found = args.0.into_iter().find(|(name, _)| name == wanted);
            return Ok(found.and_then(|(_, value)| value));
        }
        Ok(Some(match name {
            "request_method" => request.method.as_str().to_owned(),
            "uri" => request.path.clone(),
            "request_uri" => request.target.clone(),
            "args" | "query_string" => return Ok(request.query.clone()),
            "is_args" => if request.query.is_some() { "?" } else { "" }.to_owned(),
            "host" => request.host.clone(),
            "scheme" => request.scheme.to_owned(),
            "server_port" => request.port.to_string(),
            "remote_addr" => exchange.client.ip.to_string(),
            "realip_remote_addr" => exchange.client.peer.to_string(),
            "remote_port" => exchange.client.port.to_string(),
            "request_id" | "kong_request_id" => exchange.id.to_string(),
            "upstream_uri" => exchange.upstream.path.clone(),
            "content_type" => return Ok(request.header("content-type").map(str::to_owned)),
            "content_length" => return Ok(request.header("content-length").map(str::to_owned)),
            "status" => exchange.response.status.as_str().to_owned(),
            _ => return Ok(None),
        }))
    }
}

/// Arguments by name; several of one name are a list.
fn args(query: &str) -> Map<String, serde_json::Value> {
    let mut fields: Map<String, serde_json::Value> = Map::new();
    for (name, value) in Args::parse(query).0 {
        let value = value.map_or(true.into(), serde_json::Value::String);
        match fields.get_mut(&name) {
            None => drop(fields.insert(name, value)),
            Some(serde_json::Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    fields
}

/// The body by its type.
fn parsed(lua: &Lua, exchange: &Exchange, arguments: &Arguments<'_>) -> Reply {
    let claimed = exchange.request.header("content-type").map(str::to_owned);
    let kind = arguments.text(0).or(claimed);
    let Body::Whole(body) = &exchange.request.body else {
        return (Value::Nil, "missing body").into_lua_multi(lua);
    };
    let Some(kind) = kind else {
        return (Value::Nil, "missing content type").into_lua_multi(lua);
    };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let value = match kind.as_str() {
        "application/json" => match serde_json::from_slice(body) {
            Ok(value) => value,
            Err(_) => return (Value::Nil, "invalid json body").into_lua_multi(lua),
        },
        "application/x-www-form-urlencoded" => json!(args(&String::from_utf8_lossy(body))),
        other => {
            let problem = format!("unsupported content type '{other}'");
            return (Value::Nil, problem).into_lua_multi(lua);
        }
    };
    (to_lua(lua, &value)?, kind).into_lua_multi(lua)
}

/// The first match of a pattern: where it is, and its groups.
pub(super) fn find(lua: &Lua, arguments: &Arguments<'_>) -> Reply {
    let (text, pattern, options) = (arguments.need(0)?, arguments.need(1)?, arguments.need(2)?);
    let pattern = RegexBuilder::new(&pattern)
        .case_insensitive(options.contains('i'))
        .multi_line(options.contains('m'))
        .dot_matches_new_line(options.contains('s'))
        .ignore_whitespace(options.contains('x'))
        .build()
        .map_err(mlua::Error::external)?;
    let Some(found) = pattern.captures(&text) else { return Value::Nil.into_lua_multi(lua) };
    let groups = lua.create_table()?;
    for (at, group) in found.iter().enumerate() {
        groups.raw_set(at, group.map_or(Value::Boolean(false), |_| Value::Nil))?;
        if let Some(group) = group {
            groups.raw_set(at, group.as_str())?;
        }
    }
    for name in pattern.capture_names().flatten() {
        groups.raw_set(name, found.name(name).map(|group| group.as_str()))?;
    }
    let table = lua.create_table()?;
    if let Some(whole) = found.get(0) {
        table.raw_set("from", whole.start() + 1)?;
        table.raw_set("to", whole.end())?;
    }
    table.raw_set("groups", groups)?;
    table.into_lua_multi(lua)
}
