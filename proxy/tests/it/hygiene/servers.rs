//! Real servers that log what they are asked: node, and nginx and Apache where they are to be had.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::debian;
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

/// A running server; dropping it ends it.
pub(super) struct Server {
    process: Child,
    /// Where it listens.
    pub(super) port: u16,
    log: PathBuf,
    read: usize,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a server by its name.
    pub(super) fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("requests.log");
        File::create(&log).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let at = folder.path().display();
        let mut command = match name {
            "node" => {
                let mut command = Command::new("node");
                command.args(["-e", NODE, &port.to_string()]).arg(&log);
                command
            }
            "nginx" => {
                let text = format!(
                    "daemon off; master_process off; pid {at}/pid; error_log {at}/errors; events {{}}\n\
                     http {{ log_format asked '$request_method $request_uri'; access_log {at}/requests.log asked;\n\
                     client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
                     server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}\n"
                );
                fs::write(folder.path().join("conf"), text).unwrap();
                let mut command = debian::program("usr/sbin/nginx");
                command.arg("-c").arg(folder.path().join("conf")).arg("-p").arg(folder.path());
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
                fs::write(folder.path().join("conf"), text).unwrap();
                let mut command = debian::program("usr/sbin/apache2");
                command.arg("-X").arg("-f").arg(folder.path().join("conf"));
                command
            }
            other => panic!("no server is called {other}"),
        };
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { process, port, log, read: 0, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{name} does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
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
