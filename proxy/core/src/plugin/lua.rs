//! Lua that a configuration brings along, in a box: no files, no sockets, no modules, bounded memory and steps.
//!
//! One machine belongs to one plugin instance. What functions know of the world is written in `prelude.lua`; whatever
//! it cannot answer itself it asks through one function, which [`bridge`] answers for as long as a run lasts.

mod answers;
mod bridge;
mod convert;
mod inbound;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};
use serde_json::Map;

use super::Services;
use crate::answer::Answer;
use crate::exchange::Exchange;
use bridge::Bridge;
pub(super) use bridge::Stage;

/// Bytes that one machine may hold.
const MAX_MEMORY: usize = 64 << 20;
/// Steps between two looks at the count.
const STRIDE: u32 = 10_000;
/// How many strides a run may take.
const MAX_STRIDES: u32 = 5_000;

/// Functions of one plugin instance, compiled.
pub(super) struct Machine {
    inner: Mutex<Inner>,
    services: Arc<dyn Services>,
}

struct Inner {
    lua: Lua,
    bridge: Table,
    functions: Vec<Compiled>,
    strides: Arc<AtomicU32>,
}

/// A function: the code itself, or what its first run gave in its place.
struct Compiled {
    function: Function,
    has_run: bool,
}

/// What a run came to.
pub(super) enum Outcome {
    /// It ended; what it returned.
    Done(serde_json::Value),
    /// It answered the request.
    Answered(Box<Answer>),
    /// It failed.
    Failed(String),
}

/// What functions keep between the phases of a request.
#[derive(Default, Clone)]
pub(super) struct Kept {
    /// `kong.ctx.shared`.
    pub(super) shared: Map<String, serde_json::Value>,
    /// `ngx.ctx`.
    own: Map<String, serde_json::Value>,
    /// `kong.ctx.plugin`, by instance.
    plugin: Map<String, serde_json::Value>,
}

/// Whether text is Lua; the parser's words where it is not.
pub(super) fn check(code: &str) -> Result<(), String> {
    let lua =
        Lua::new_with(StdLib::NONE, LuaOptions::default()).map_err(|error| error.to_string())?;
    load(&lua, code, None).map(drop)
}

fn load(lua: &Lua, code: &str, environment: Option<&Table>) -> Result<Function, String> {
    let mut chunk = lua.load(code).set_name(code).set_mode(mlua::ChunkMode::Text);
    if let Some(environment) = environment {
        chunk = chunk.set_environment(environment.clone());
    }
    chunk.into_function().map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => message,
        other => other.to_string(),
    })
}

impl Machine {
    /// A machine with these functions.
    ///
    /// # Errors
    /// The parser's words.
    pub(super) fn new(code: &[String], services: &Arc<dyn Services>) -> Result<Self, String> {
        let inner = Inner::new(code).map_err(|error| error.to_string())?;
        Ok(Self { inner: Mutex::new(inner), services: Arc::clone(services) })
    }

    /// Runs one function for a request, at a stage; `id` is whose `kong.ctx.plugin` it sees.
    pub(super) fn run(
        &self,
        which: usize,
        (id, stage): (&str, Stage),
        exchange: &mut Exchange,
    ) -> Outcome {
        let mut kept = exchange.notes.take::<Kept>().unwrap_or_default();
        let bridge = Bridge::new(Some(exchange), self.services.as_ref(), stage);
        let outcome = self.locked().run(which, id, (bridge, &mut kept), None);
        exchange.notes.put(kept);
        outcome
    }

    /// Runs one function for a piece of an answer's body; what the piece becomes.
    pub(super) fn filter(&self, which: usize, piece: Bytes, last: bool, kept: &mut Kept) -> Bytes {
        let mut bridge = Bridge::new(None, self.services.as_ref(), Stage::Body);
        bridge.body = Some(piece.clone());
        let mut piece = Piece { data: piece, last };
        let outcome = self.locked().run(which, "", (bridge, kept), Some(&mut piece));
        if let Outcome::Failed(problem) = outcome {
            self.services.log("err", &problem);
        }
        piece.data
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn new(code: &[String]) -> mlua::Result<Self> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        lua.set_memory_limit(MAX_MEMORY)?;
        let prelude = lua.load(include_str!("lua/prelude.lua")).set_name("prelude");
        let (environment, bridge): (Table, Table) = prelude.eval()?;
        let strides = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&strides);
        lua.set_hook(HookTriggers::new().every_nth_instruction(STRIDE), move |_, _| {
            if counted.fetch_add(1, Ordering::Relaxed) < MAX_STRIDES {
                Ok(VmState::Continue)
            } else {
                Err(mlua::Error::runtime("function takes too long"))
            }
        })?;
        let compile = |code: &String| {
            let function = load(&lua, code, Some(&environment)).map_err(mlua::Error::runtime)?;
            Ok(Compiled { function, has_run: false })
        };
        let functions = code.iter().map(compile).collect::<mlua::Result<Vec<_>>>()?;
        Ok(Self { lua, bridge, functions, strides })
    }

    fn run(
        &mut self,
        which: usize,
        id: &str,
        (bridge, kept): (Bridge<'_>, &mut Kept),
        mut piece: Option<&mut Piece>,
    ) -> Outcome {
        let Some(compiled) = self.functions.get_mut(which) else {
            return Outcome::Done(serde_json::Value::Null);
        };
        self.strides.store(0, Ordering::Relaxed);
        let state = RefCell::new(bridge);
        let opened = open(&self.lua, &self.bridge, (id, kept), piece.as_deref());
        let result = opened.and_then(|()| {
            self.lua.scope(|scope| {
                let call = scope.create_function(
                    |lua, (name, arguments): (mlua::String, MultiValue)| {
                        state.borrow_mut().call(lua, &name.to_string_lossy(), &arguments)
                    },
                )?;
                self.bridge.set("call", call)?;
                let result = compiled.call();
                close(&self.bridge, id, kept)?;
                result
            })
        });
        let bridge = state.into_inner();
        if let Some(piece) = &mut piece {
            piece.take(&self.bridge, &bridge);
        }
        if let Some(answer) = bridge.into_answer() {
            return Outcome::Answered(Box::new(answer));
        }
        match result {
            Ok(value) => Outcome::Done(convert::to_json(&value, 0)),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

impl Compiled {
    /// Runs the code. A function that the first run returns takes its place: so it can keep state.
    fn call(&mut self) -> mlua::Result<Value> {
        let value = self.function.call::<Value>(())?;
        match value {
            Value::Function(function) if !self.has_run => {
                self.has_run = true;
                self.function = function;
                self.function.call(())
            }
            other => {
                self.has_run = true;
                Ok(other)
            }
        }
    }
}

/// A piece of an answer's body, and whether it is the last.
struct Piece {
    data: Bytes,
    last: bool,
}

impl Piece {
    /// Takes what a function made of it: by `set_raw_body`, or by `ngx.arg`.
    fn take(&mut self, table: &Table, bridge: &Bridge<'_>) {
        let body = bridge.body.clone().unwrap_or_default();
        if body != self.data {
            self.data = body;
            return;
        }
        let argument = table.get::<Table>("ngx_arg").and_then(|all| all.get::<Value>(1));
        self.data = match argument {
            Ok(Value::String(text)) => Bytes::copy_from_slice(&text.as_bytes()),
            Ok(_) => Bytes::new(),
            Err(_) => return,
        };
    }
}

/// Lays out what the request has kept so far.
fn open(
    lua: &Lua,
    bridge: &Table,
    (id, kept): (&str, &Kept),
    piece: Option<&Piece>,
) -> mlua::Result<()> {
    let nothing = Map::new();
    let plugin = kept.plugin.get(id).and_then(serde_json::Value::as_object).unwrap_or(&nothing);
    bridge.set("shared", convert::table(lua, &kept.shared)?)?;
    bridge.set("ngx_ctx", convert::table(lua, &kept.own)?)?;
    bridge.set("plugin", convert::table(lua, plugin)?)?;
    let arguments = lua.create_table()?;
    if let Some(piece) = piece {
        arguments.set(1, lua.create_string(&piece.data)?)?;
        arguments.set(2, piece.last)?;
    }
    bridge.set("ngx_arg", arguments)
}

/// Takes back what functions have put there.
fn close(bridge: &Table, id: &str, kept: &mut Kept) -> mlua::Result<()> {
    let read = |name: &str| -> mlua::Result<Map<String, serde_json::Value>> {
        Ok(match convert::to_json(&bridge.get(name)?, 0) {
            serde_json::Value::Object(fields) => fields,
            _ => Map::new(),
        })
    };
    kept.shared = read("shared")?;
    kept.own = read("ngx_ctx")?;
    kept.plugin.insert(id.to_owned(), serde_json::Value::Object(read("plugin")?));
    Ok(())
}
