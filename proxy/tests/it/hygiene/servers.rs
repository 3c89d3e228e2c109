//! Real servers that log what they are asked: node, and nginx and Apache where they are to be had.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::debian::{self, Server};
use crate::gateway::PATIENCE;

/// What node runs: it writes down every request once its body is there.
const NODE: &str = r#"
const [port, log] = process.argv.slice(1);
require("http").createServer((request, response) => {
  request.resume().on("end", () => {
    require("fs").appendFileSync(log, request.method + " " + request.url + "\n");
    response.end("ok");
  });
}).listen(Number(port), "127.0.0.1");
"#;

/// A server that logs what it is asked.
pub(super) struct Logging {
    server: Server,
    log: PathBuf,
    read: usize,
}

impl Logging {
    /// Starts a server by its name.
    pub(super) fn start(name: &str) -> Self {
        let server = Server::start(|port, folder| command(name, port, folder));
        let log = log(server.folder.path());
        Self { server, log, read: 0 }
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.server.port
    }

    /// What it was asked since the last time; waits until so many requests are logged.
    pub(super) fn seen(&mut self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(&self.log).unwrap();
            let new: Vec<String> = text[self.read..]
                .lines()
                .map(|line| line.strip_suffix(" HTTP/1.1").unwrap_or(line).to_owned())
                .collect();
            if new.len() >= count || Instant::now() >= deadline {
                self.read = text.len();
                return new;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Where a server in `folder` logs.
fn log(folder: &Path) -> PathBuf {
    folder.join("requests.log")
}

/// How a server is started that logs in `folder`.
fn command(name: &str, port: u16, folder: &Path) -> Command {
    File::create(log(folder)).unwrap();
    let at = folder.display();
    match name {
        "node" => {
            let mut command = Command::new("node");
            command.args(["-e", NODE, &port.to_string()]).arg(log(folder));
            command
        }
        "nginx" => {
            let text = format!(
                "daemon off; master_process off; pid {at}/pid; error_log {at}/errors; events {{}}\n\
                     http {{ log_format asked '$request_method $request_uri'; access_log {at}/requests.log asked;\n\
                     client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
                     server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}\n"
            );
            fs::write(folder.join("conf"), text).unwrap();
            let mut command = debian::program("usr/sbin/nginx");
            command.arg("-c").arg(folder.join("conf")).arg("-p").arg(folder);
            command
        }
        "apache2" => {
            let modules = debian::path("usr/lib/apache2/modules");
            let modules = modules.display();
            let text = format!(
                "ServerRoot {at}\nServerName a\nListen 127.0.0.1:{port}\nPidFile {at}/pid\nErrorLog {at}/errors\nDocumentRoot {at}\n\
                     LoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module {modules}/mod_authz_core.so\n\
                     LogFormat \"%r\" asked\nCustomLog {at}/requests.log asked\n"
            );
            fs::write(folder.join("conf"), text).unwrap();
            let mut command = debian::program("usr/sbin/apache2");
            command.arg("-X").arg("-f").arg(folder.join("conf"));
            command
        }
        other => panic!("no server is called {other}"),
    }
}
