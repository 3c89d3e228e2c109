//! A gateway of a test's own, as a process, and the plainest of clients for it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running gateway; dropping it ends it.
pub(crate) struct Gateway {
    process: Child,
    /// Plain HTTP, HTTP/2 without TLS too.
    pub(crate) proxy: SocketAddr,
    /// The Admin API.
    pub(crate) admin: SocketAddr,
    /// Streams.
    pub(crate) stream: SocketAddr,
    prefix: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Gateway {
    /// Starts a gateway without configuration. Another process may take a port between its choice and its use, then
    /// others are chosen.
    pub(crate) fn start(env: &[(&str, &str)]) -> Self {
        let env: Vec<(String, String)> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for _ in 0..5 {
            let free: Vec<TcpListener> =
                (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            let [proxy, admin, stream] = [0, 1, 2].map(|at| free[at].local_addr().unwrap());
            drop(free);
            let prefix = tempfile::tempdir().unwrap();
            let process = spawn((proxy, admin, stream), &prefix, &env);
            let mut gateway = Self { process, proxy, admin, stream, prefix, env: env.clone() };
            if gateway.is_up() {
                return gateway;
            }
        }
        panic!("the gateway did not start");
    }

    /// Starts a gateway that routes everything to a port of this machine.
    pub(crate) fn before(port: u16) -> Self {
        let gateway = Self::start(&[]);
        gateway.configure(&format!(
            r#"{{"_format_version":"3.0","services":[{{"name":"s","url":"http://127.0.0.1:{port}","retries":0,
            "routes":[{{"name":"r","paths":["/"],"strip_path":false}}]}}]}}"#
        ));
        gateway
    }

    /// Kills the gateway and starts it again on the same ports with what it kept.
    pub(crate) fn restart(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.process = spawn((self.proxy, self.admin, self.stream), &self.prefix, &self.env);
        assert!(self.is_up(), "the gateway did not come back");
    }

    /// Whether it comes to answer, it and no other process.
    /// Asks the process to end, as a kubelet does, and waits until it takes no more connections.
    pub(crate) fn terminate(&mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(self.proxy).is_ok() {
            assert!(Instant::now() < end, "the gateway goes on listening");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end of a process that was asked to end.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        self.process.wait().unwrap()
    }

    fn is_up(&mut self) -> bool {
        let own = format!("\"master\":{}", self.process.id());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            let root =
                exchange(self.admin, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            if root.is_ok_and(|answer| answer.contains(&own))
                && TcpStream::connect(self.proxy).is_ok()
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Sends a request to the Admin API; status and body.
    pub(crate) fn admin(&self, line: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = exchange(self.admin, &[head.as_bytes(), body].concat()).unwrap();
        split(&answer)
    }

    /// Loads a configuration.
    pub(crate) fn configure(&self, text: &str) {
        let (status, body) = self.admin("POST /config", "text/yaml", text.as_bytes());
        assert_eq!(status, 201, "{body}");
    }

    /// Sends a request for a path to the proxy; status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let head = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
        split(&exchange(self.proxy, head.as_bytes()).unwrap())
    }

    /// Kilobytes of memory in use.
    pub(crate) fn resident(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

fn spawn(
    (proxy, admin, stream): (SocketAddr, SocketAddr, SocketAddr),
    prefix: &tempfile::TempDir,
    env: &[(String, String)],
) -> Child {
    Command::new(env!("CARGO_BIN_EXE_flotilla-proxy"))
        .env("KONG_PREFIX", prefix.path())
        .env("KONG_PROXY_LISTEN", format!("{proxy} http2"))
        .env("KONG_ADMIN_LISTEN", admin.to_string())
        .env("KONG_STREAM_LISTEN", stream.to_string())
        .env("KONG_STATUS_LISTEN", "off")
        .env("KONG_PROXY_ACCESS_LOG", "off")
        .env("KONG_LOG_LEVEL", "error")
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends bytes and reads to the end of the connection.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    // A hundred megabytes take their time where nothing is optimized.
    stream.set_read_timeout(Some(10 * PATIENCE))?;
    // The other side may refuse before it has read everything.
    let _ = stream.write_all(request);
    Ok(String::from_utf8_lossy(&read_all(&mut stream)).into_owned())
}

/// What comes until the connection ends, however it ends.
pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    answer
}

/// Status and body of one answer; 0 where there is none.
pub(crate) fn split(answer: &str) -> (u16, String) {
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// Listens on a free port and gives every connection to `serve`, each on a thread of its own.
pub(crate) fn upstream(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = std::sync::Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

/// An upstream that answers every request without a body with 200, for as long as a connection lasts.
pub(crate) fn answering() -> u16 {
    upstream(|mut stream| {
        while matches!(stream.read(&mut [0; 4096]), Ok(read) if read > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}
