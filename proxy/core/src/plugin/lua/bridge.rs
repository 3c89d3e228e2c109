//! What functions ask the gateway, and its answers: the part that is neither the request's nor the answer's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HOST, HeaderName};
use http::{HeaderValue, Method};
use md5::Md5;
use mlua::{IntoLuaMulti, Lua, MultiValue, Value};
use serde_json::json;
use sha1::{Digest, Sha1};

use super::convert::{to_json, to_lua};
use crate::answer::Answer;
use crate::exchange::{Entity, Exchange};
use crate::plugin::Services;
use crate::plugin::args::{decode, escape};
use crate::plugin::record::Extra;

/// Where in the course of a request a function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Stage {
    /// The upstream has not been asked: a function may answer.
    Before,
    /// The answer's head may be changed.
    Head,
    /// A piece of the answer's body may be changed.
    Body,
    /// All is over.
    Log,
}

/// The gateway as one run of a function sees it.
pub(super) struct Bridge<'a> {
    pub(super) exchange: Option<&'a mut Exchange>,
    pub(super) services: &'a dyn Services,
    pub(super) stage: Stage,
    pub(super) answer: Option<Answer>,
    /// What `ngx.say` wrote.
    pub(super) said: Vec<u8>,
    /// The body of the answer, where it is at hand.
    pub(super) body: Option<Bytes>,
}

pub(super) type Reply = mlua::Result<MultiValue>;

/// What a function hands over.
pub(super) struct Arguments<'a>(pub(super) &'a MultiValue);

impl Arguments<'_> {
    pub(super) fn value(&self, at: usize) -> &Value {
        self.0.get(at).unwrap_or(&Value::Nil)
    }

    /// Text, or a number as text.
    pub(super) fn text(&self, at: usize) -> Option<String> {
        match self.value(at) {
            Value::String(text) => Some(text.to_string_lossy()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Number(number) => Some(crate::plugin::template::format_number(*number)),
            Value::Boolean(value) => Some(value.to_string()),
            _ => None,
        }
    }

    pub(super) fn need(&self, at: usize) -> mlua::Result<String> {
        self.text(at)
            .ok_or_else(|| mlua::Error::runtime(format!("argument {} must be text", at + 1)))
    }

    pub(super) fn bytes(&self, at: usize) -> Vec<u8> {
        match self.value(at) {
            Value::String(text) => text.as_bytes().to_vec(),
            _ => self.text(at).unwrap_or_default().into_bytes(),
        }
    }

    pub(super) fn number(&self, at: usize) -> Option<f64> {
        match self.value(at) {
            Value::Integer(number) => Some(f64::from(i32::try_from(*number).ok()?)),
            Value::Number(number) => Some(*number),
            Value::String(text) => text.to_string_lossy().trim().parse().ok(),
            _ => None,
        }
    }
}

/// A header's name and value from what a function gives for them.
pub(super) fn header(name: &str, value: &[u8]) -> mlua::Result<(HeaderName, HeaderValue)> {
    let name = name.parse().map_err(mlua::Error::external)?;
    Ok((name, HeaderValue::from_bytes(value).map_err(mlua::Error::external)?))
}

impl<'a> Bridge<'a> {
    pub(super) fn new(
        exchange: Option<&'a mut Exchange>,
        services: &'a dyn Services,
        stage: Stage,
    ) -> Self {
        Self { exchange, services, stage, answer: None, said: Vec::new(), body: None }
    }

    /// Answers one question.
    pub(super) fn call(&mut self, lua: &Lua, name: &str, arguments: &MultiValue) -> Reply {
        let arguments = Arguments(arguments);
        let (kind, rest) = name.split_once('.').unwrap_or((name, ""));
        match kind {
            "request" => self.request(lua, rest, &arguments),
            "response" => self.response(lua, rest, &arguments),
            "service" => self.service(lua, rest, &arguments),
            "client" | "router" => self.entities(lua, rest),
            "node" => match rest {
                "get_id" => self.services.node_id().into_lua_multi(lua),
                "get_hostname" => self.services.hostname().into_lua_multi(lua),
                _ => unknown(name),
            },
            "log" => self.log(lua, rest, &arguments),
            "ngx" => self.ngx(lua, rest, &arguments),
            "bit" => bit(rest, &arguments).into_lua_multi(lua),
            _ => unknown(name),
        }
    }

    pub(super) fn exchange(&mut self) -> mlua::Result<&mut Exchange> {
        let missing = || mlua::Error::runtime("the request cannot be seen in this phase");
        self.exchange.as_deref_mut().ok_or_else(missing)
    }

    fn log(&mut self, lua: &Lua, name: &str, arguments: &Arguments<'_>) -> Reply {
        if name == "set_serialize_value" {
            let path = arguments.need(0)?;
            let value = to_json(arguments.value(1), 0);
            let exchange = self.exchange()?;
            Extra::set(exchange, &path.split('.').collect::<Vec<_>>(), value);
        } else {
            let level = arguments.text(0).unwrap_or_default();
            let words: Vec<String> = (1..arguments.0.len())
                .map(|at| arguments.text(at).unwrap_or_else(|| "nil".to_owned()))
                .collect();
            self.services.log(&level, &words.concat());
        }
        ().into_lua_multi(lua)
    }

    fn entities(&mut self, lua: &Lua, name: &str) -> Reply {
        let exchange = self.exchange()?;
        let document = |text: &str| serde_json::from_str(text).unwrap_or_default();
        let entity = |entity: &Entity| {
            if entity.document.is_empty() {
                json!({ "id": entity.id, "name": entity.name, "host": entity.host })
            } else {
                document(&entity.document)
            }
        };
        let value = match name {
            "get_ip" => exchange.client.peer.to_string().into(),
            "get_forwarded_ip" => exchange.client.ip.to_string().into(),
            "get_port" | "get_forwarded_port" => exchange.client.port.into(),
            "get_protocol" => exchange.request.scheme.into(),
            "get_consumer" => exchange
                .identity
                .consumer
                .as_ref()
                .map_or(serde_json::Value::Null, |consumer| document(&consumer.document)),
            "get_credential" => exchange
                .identity
                .credential
                .as_ref()
                .map_or(serde_json::Value::Null, |one| json!({ "id": one.id })),
            "get_route" => exchange.matched.route.as_deref().map(entity).unwrap_or_default(),
            "get_service" => exchange.matched.service.as_deref().map(entity).unwrap_or_default(),
            _ => return unknown(name),
        };
        to_lua(lua, &value)?.into_lua_multi(lua)
    }

    fn service(&mut self, lua: &Lua, name: &str, arguments: &Arguments<'_>) -> Reply {
        if let Some(name) = name.strip_prefix("response.") {
            return self.response(lua, name, arguments);
        }
        if self.stage != Stage::Before {
            return Err(mlua::Error::runtime(format!("{name} cannot be called in this phase")));
        }
        let exchange = self.exchange()?;
        match name.strip_prefix("request.").unwrap_or(name) {
            "set_target" => {
                let port = arguments.number(1).unwrap_or(80.0) as u16;
                exchange.upstream.target = Some((arguments.need(0)?.into(), port));
            }
            "set_scheme" => {
                let https = arguments.need(0)? == "https";
                exchange.upstream.scheme = Some(if https { "https" } else { "http" });
            }
            "set_path" => exchange.upstream.path = arguments.need(0)?,
            "set_method" => {
                let method = Method::from_bytes(arguments.need(0)?.as_bytes());
                exchange.request.method = method.map_err(mlua::Error::external)?;
            }
            "set_raw_query" => exchange.request.query = Some(arguments.need(0)?),
            "set_query" => exchange.request.query = Some(encode(&to_json(arguments.value(0), 0))),
            "set_header" | "add_header" => {
                let (key, value) = header(&arguments.need(0)?, &arguments.bytes(1))?;
                match (key == HOST, name.ends_with("add_header")) {
                    (true, _) => exchange.upstream.host = Some(value),
                    (false, true) => drop(exchange.request.headers.append(key, value)),
                    (false, false) => drop(exchange.request.headers.insert(key, value)),
                }
            }
            "set_headers" => {
                let fields = to_json(arguments.value(0), 0);
                for (key, value) in fields.as_object().into_iter().flatten() {
                    super::answers::put(&mut exchange.request.headers, key, value)?;
                }
            }
            "clear_header" => drop(exchange.request.headers.remove(arguments.need(0)?)),
            "set_raw_body" => exchange.request.set_body(arguments.bytes(0).into()),
            "set_body" => {
                let body = to_json(arguments.value(0), 0);
                crate::plugin::llm::set_body(exchange, &body);
            }
            "enable_buffering" => exchange.upstream.buffered = true,
            _ => return unknown(name),
        }
        true.into_lua_multi(lua)
    }

    fn ngx(&mut self, lua: &Lua, name: &str, arguments: &Arguments<'_>) -> Reply {
        let now = self.services.now();
        match name {
            "var" => {
                let name = arguments.need(0)?;
                let value = self.variable(&name)?;
                value.into_lua_multi(lua)
            }
            "re" => super::inbound::find(lua, arguments),
            "exit" => self.exit_as_ngx(arguments.number(0).unwrap_or(0.0)),
            "redirect" => {
                let status = arguments.number(1).unwrap_or(302.0);
                self.redirect(&arguments.need(0)?, status)
            }
            "say" | "print" => {
                for at in 0..arguments.0.len() {
                    self.said.extend(arguments.bytes(at));
                }
                if name == "say" {
                    self.said.push(b'\n');
                }
                true.into_lua_multi(lua)
            }
            "flush" | "eof" => true.into_lua_multi(lua),
            "time" => (now.as_secs() as f64).into_lua_multi(lua),
            "now" => ((now.as_millis() as f64) / 1_000.0).into_lua_multi(lua),
            "get_phase" => match self.stage {
                Stage::Before => "access",
                Stage::Head => "header_filter",
                Stage::Body => "body_filter",
                Stage::Log => "log",
            }
            .into_lua_multi(lua),
            "encode_base64" => STANDARD.encode(arguments.bytes(0)).into_lua_multi(lua),
            "decode_base64" => match STANDARD.decode(arguments.bytes(0)) {
                Ok(bytes) => lua.create_string(bytes)?.into_lua_multi(lua),
                Err(_) => Value::Nil.into_lua_multi(lua),
            },
            "md5" => hex::encode(Md5::digest(arguments.bytes(0))).into_lua_multi(lua),
            "sha1_bin" => lua.create_string(Sha1::digest(arguments.bytes(0)))?.into_lua_multi(lua),
            "escape_uri" => {
                let mut text = String::new();
                escape(&arguments.need(0)?, &mut text);
                text.into_lua_multi(lua)
            }
            "unescape_uri" => decode(&arguments.need(0)?).into_lua_multi(lua),
            "encode_args" => encode(&to_json(arguments.value(0), 0)).into_lua_multi(lua),
            _ => unknown(name),
        }
    }
}

/// A question that has no answer here.
pub(super) fn unknown(name: &str) -> Reply {
    Err(mlua::Error::runtime(format!("{name} is not supported by this gateway")))
}

/// An object as a query.
fn encode(fields: &serde_json::Value) -> String {
    let mut args = crate::plugin::args::Args::default();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            let value = match value {
                serde_json::Value::Bool(true) => None,
                serde_json::Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            args.0.push((name.clone(), value));
        }
    }
    args.encode()
}

/// Numbers as words of 32 bits.
fn bit(name: &str, arguments: &Arguments<'_>) -> f64 {
    let word = |at: usize| arguments.number(at).unwrap_or(0.0) as i64 as i32;
    let fold = |start: fn(i32, i32) -> i32| {
        (1..arguments.0.len()).fold(word(0), |all, at| start(all, word(at)))
    };
    let shift = (word(1) & 31) as u32;
    f64::from(match name {
        "band" => fold(|a, b| a & b),
        "bor" => fold(|a, b| a | b),
        "bxor" => fold(|a, b| a ^ b),
        "bnot" => !word(0),
        "lshift" => word(0).wrapping_shl(shift),
        "rshift" => ((word(0) as u32) >> shift) as i32,
        "arshift" => word(0) >> shift,
        _ => word(0),
    })
}
