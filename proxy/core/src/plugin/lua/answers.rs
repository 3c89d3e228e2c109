//! Questions about the answer, and answers that functions give themselves.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use mlua::{IntoLuaMulti, Lua, Value};
use serde_json::Value as Json;

use super::bridge::{Arguments, Bridge, Reply, Stage, header, unknown};
use super::convert::{headers, to_json};
use crate::answer::Answer;
use crate::exchange::Source;
use crate::plugin::json;

/// Sets a header to one value or to several.
pub(super) fn put(headers: &mut HeaderMap, name: &str, value: &Json) -> mlua::Result<()> {
    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    for (at, value) in values.iter().enumerate() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let (name, value) = header(name, text.as_bytes())?;
        if at == 0 {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    Ok(())
}

fn status(number: Option<f64>) -> mlua::Result<StatusCode> {
    let code = number.and_then(|number| StatusCode::from_u16(number as u16).ok());
    code.ok_or_else(|| mlua::Error::runtime("code must be a number between 100 and 599"))
}

impl Bridge<'_> {
    /// Ends the run with an answer.
    fn end(&mut self, answer: Answer) -> Reply {
        if self.stage != Stage::Before {
            return Err(mlua::Error::runtime("a function cannot answer in this phase"));
        }
        self.answer.get_or_insert(answer);
        Err(mlua::Error::runtime("the request is answered"))
    }

    /// The answer that the run gave, if any.
    pub(super) fn into_answer(self) -> Option<Answer> {
        let said = (!self.said.is_empty() && self.stage == Stage::Before)
            .then(|| spoken(StatusCode::OK, self.said));
        self.answer.or(said)
    }

    /// The headers that a function changes at this point.
    fn shown(&mut self) -> mlua::Result<&mut HeaderMap> {
        let stage = self.stage;
        let exchange = self.exchange()?;
        Ok(match stage {
            Stage::Before => &mut exchange.early,
            Stage::Head | Stage::Body | Stage::Log => &mut exchange.response.headers,
        })
    }

    pub(super) fn response(&mut self, lua: &Lua, name: &str, arguments: &Arguments<'_>) -> Reply {
        match name {
            "get_status" => self.exchange()?.response.status.as_u16().into_lua_multi(lua),
            "set_status" => {
                self.exchange()?.response.status = status(arguments.number(0))?;
                ().into_lua_multi(lua)
            }
            "get_header" => {
                let name = arguments.need(0)?.replace('_', "-");
                match self.shown()?.get(name) {
                    Some(value) => lua.create_string(value.as_bytes())?.into_lua_multi(lua),
                    None => Value::Nil.into_lua_multi(lua),
                }
            }
            "get_headers" => headers(lua, self.shown()?)?.into_lua_multi(lua),
            "get_source" => match self.exchange()?.response.source {
                Source::Upstream => "service",
                Source::Exit => "exit",
                Source::Error => "error",
            }
            .into_lua_multi(lua),
            "set_header" | "add_header" => {
                let value = to_json(arguments.value(1), 0);
                let (key, headers) = (arguments.need(0)?, self.shown()?);
                if name == "set_header" {
                    put(headers, &key, &value)?;
                } else {
                    let (key, value) = header(&key, &arguments.bytes(1))?;
                    headers.append(key, value);
                }
                ().into_lua_multi(lua)
            }
            "set_headers" => {
                let fields = to_json(arguments.value(0), 0);
                for (key, value) in fields.as_object().into_iter().flatten() {
                    put(self.shown()?, key, value)?;
                }
                ().into_lua_multi(lua)
            }
            "clear_header" => {
                self.shown()?.remove(arguments.need(0)?);
                ().into_lua_multi(lua)
            }
            "get_raw_body" => match &self.body {
                Some(body) => lua.create_string(body)?.into_lua_multi(lua),
                None => Value::Nil.into_lua_multi(lua),
            },
            "set_raw_body" => {
                self.body = Some(arguments.bytes(0).into());
                ().into_lua_multi(lua)
            }
            "exit" => self.exit(arguments),
            "error" => {
                let status = status(arguments.number(0))?;
                let exchange = self.exchange()?;
                let mut answer = match arguments.text(1) {
                    Some(message) => Answer::error(exchange, status, &message),
                    None => {
                        let usual = crate::answer::handled_text(status);
                        Answer::error(
                            exchange,
                            status,
                            usual.unwrap_or("An unexpected error occurred"),
                        )
                    }
                };
                add_headers(&mut answer, &to_json(arguments.value(2), 0))?;
                self.end(answer)
            }
            _ => unknown(name),
        }
    }

    /// `kong.response.exit`: text as it is, a table as JSON.
    fn exit(&mut self, arguments: &Arguments<'_>) -> Reply {
        let status = status(arguments.number(0))?;
        let mut answer = match arguments.value(1) {
            Value::Table(_) => {
                let body = json::write(&to_json(arguments.value(1), 0));
                Answer::new(status, Some("application/json; charset=utf-8"), body)
            }
            Value::Nil => Answer::empty(status),
            _ => Answer::new(status, None, arguments.bytes(1)),
        };
        add_headers(&mut answer, &to_json(arguments.value(2), 0))?;
        self.end(answer)
    }

    /// `ngx.exit`: what was said, or the web server's own page.
    pub(super) fn exit_as_ngx(&mut self, code: f64) -> Reply {
        if code < 100.0 && self.said.is_empty() {
            // Only this function is over.
            return Err(mlua::Error::runtime("ngx.exit"));
        }
        let status = status(Some(if code < 100.0 { 200.0 } else { code }))?;
        let answer = if self.said.is_empty() {
            Answer::bare(self.exchange()?, status)
        } else {
            spoken(status, std::mem::take(&mut self.said))
        };
        self.end(answer)
    }

    pub(super) fn redirect(&mut self, to: &str, code: f64) -> Reply {
        let status = status(Some(code))?;
        let answer = Answer::bare(self.exchange()?, status);
        let location = HeaderValue::from_str(to).map_err(mlua::Error::external)?;
        self.end(answer.with(LOCATION, location))
    }
}

fn add_headers(answer: &mut Answer, fields: &Json) -> mlua::Result<()> {
    for (name, value) in fields.as_object().into_iter().flatten() {
        put(&mut answer.headers, name, value)?;
    }
    Ok(())
}

/// What `ngx.say` wrote goes out without a length.
fn spoken(status: StatusCode, said: Vec<u8>) -> Answer {
    let mut answer = Answer::new(status, None, said);
    answer.headers.remove(CONTENT_LENGTH);
    answer.headers.remove(CONTENT_TYPE);
    answer
}
