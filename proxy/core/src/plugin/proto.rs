//! `.proto` files: the services that they define, and their messages between JSON and the wire.
//!
//! A file is compiled when its plugin is built. One that cannot be had or read then is tried again by every request that
//! needs it, and each of them fails, as in Kong. Imports are looked for where Kong looks, then beside the file; what
//! Google publishes (`google/protobuf/*`, `google/api/annotations.proto`) need not be there.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use prost_reflect::MethodDescriptor;
use protox::Compiler;
use protox::file::{File, FileResolver, GoogleFileResolver};

use super::{Config, Services};

pub(super) use convert::{decode, encode};
pub(super) use framing::{Messages, frame, unframe};
pub(super) use rules::{Body, Rule};

mod convert;
mod framing;
mod google;
mod rules;

/// Where Kong looks for files, in its order.
const FOLDERS: [&str; 5] = [
    "",
    "/usr/local/kong/include",
    "/usr/local/opt/protobuf/include",
    "/usr/include",
    "kong/include",
];

/// What a `.proto` file and its imports define.
pub(super) struct Proto {
    methods: HashMap<String, MethodDescriptor>,
    rules: Vec<Rule>,
}

/// Why a `.proto` file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("failed to compile '{file}': {source}")]
pub(super) struct ProtoError {
    file: String,
    source: protox::Error,
}

/// Reads a file as text.
type Read = Arc<dyn Fn(&str) -> io::Result<String> + Send + Sync>;

impl Proto {
    /// Compiles a file with its imports.
    fn compile(file: &str, read: Read) -> Result<Self, ProtoError> {
        let path = Path::new(file);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| file.to_owned());
        let beside = path.parent().map(|parent| parent.to_string_lossy().into_owned());
        let places = Places {
            root: (name.clone(), file.to_owned()),
            beside: beside.unwrap_or_default(),
            google: GoogleFileResolver::new(),
            read,
        };
        let mut compiler = Compiler::with_file_resolver(places);
        compiler.open_file(&name).map_err(|source| ProtoError { file: file.to_owned(), source })?;
        let pool = compiler.descriptor_pool();
        let (mut methods, mut rules) = (HashMap::new(), Vec::new());
        for service in pool.services() {
            for method in service.methods() {
                rules::collect(&method, &mut rules);
                methods.insert(path_of(&method), method);
            }
        }
        Ok(Self { methods, rules })
    }

    /// The method that a path calls.
    pub(super) fn method(&self, path: &str) -> Option<&MethodDescriptor> {
        self.methods.get(path)
    }

    /// What a request for a resource calls: the first rule that fits, with what it takes out of the path.
    ///
    /// # Errors
    /// No rule has the method, or none of those that have it fits the path.
    pub(super) fn resource(
        &self,
        method: &str,
        path: &str,
    ) -> Result<(&Rule, Vec<String>), String> {
        let mut known = false;
        for rule in self.rules.iter().filter(|rule| rule.is_for(method)) {
            known = true;
            if let Some(captures) = rule.captures(path) {
                return Ok((rule, captures));
            }
        }
        Err(if known {
            format!("Unknown path {}", quoted(path))
        } else {
            format!("Unknown method {}", quoted(method))
        })
    }
}

/// The path that calls a method.
pub(super) fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Text as Lua quotes it.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\\n"))
}

/// Where files are.
struct Places {
    /// The name and the path of the file that all begins with.
    root: (String, String),
    /// Its folder.
    beside: String,
    google: GoogleFileResolver,
    read: Read,
}

impl FileResolver for Places {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name.starts_with("google/protobuf/") {
            return self.google.open_file(name);
        }
        let (root, path) = &self.root;
        let wanted = if name == root { path } else { name };
        let found = FOLDERS
            .into_iter()
            .chain([self.beside.as_str()])
            .find_map(|folder| (self.read)(&join(folder, wanted)).ok());
        match found.as_deref().or_else(|| google::source(name)) {
            Some(source) => File::from_source(name, source),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// A plugin's `.proto` file.
pub(super) struct ProtoFile {
    path: String,
    services: Arc<dyn Services>,
    compiled: OnceLock<Proto>,
}

impl ProtoFile {
    /// The file that the field `proto` names, if it names one.
    pub(super) fn of(config: &Config<'_>) -> Option<Self> {
        let path = config.text("proto")?.to_owned();
        let services = Arc::clone(&config.context.services);
        let file = Self { path, services, compiled: OnceLock::new() };
        // What is wrong is logged, and said to every request.
        let _ = file.get();
        Some(file)
    }

    /// What the file defines; nothing, and a line in the log, while it cannot be used.
    pub(super) fn get(&self) -> Option<&Proto> {
        if let Some(proto) = self.compiled.get() {
            return Some(proto);
        }
        let services = Arc::clone(&self.services);
        match Proto::compile(&self.path, Arc::new(move |path| services.read_file(path))) {
            Ok(proto) => Some(self.compiled.get_or_init(|| proto)),
            Err(error) => {
                self.services.log("error", &error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
