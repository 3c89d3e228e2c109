//! Real servers behind plugins: Redis that counts for rate-limiting, OpenLDAP that knows who ldap-auth asks for.
//!
//! They run under `make test-servers`, which `make test` does.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::debian;
use crate::gateway::{Gateway, PATIENCE, exchange};

/// A server of this test's own, ended with it.
struct Backend {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Backend {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Backend {
    /// Starts a server in a folder of its own.
    fn start(command: impl Fn(u16, &Path) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = command(port, folder.path());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let backend = Self { process, port, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        backend
    }
}

/// Answers every request with 200.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut read = Vec::new();
                let mut byte = [0];
                while !read.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    read.push(byte[0]);
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                // The gateway may have gone.
                let _ = stream.write_all(answer);
            });
        }
    });
    port
}

/// A gateway with one plugin on its only service.
fn gateway(plugin: &str, config: &Value) -> Gateway {
    let gateway = Gateway::start(&[]);
    let document = json!({ "_format_version": "3.0", "services": [{
        "name": "s", "url": format!("http://127.0.0.1:{}", upstream()), "retries": 0,
        "routes": [{ "name": "r", "paths": ["/"] }],
        "plugins": [{ "name": plugin, "config": config }],
    }]});
    gateway.configure(&document.to_string());
    gateway
}

/// The status that the gateway answers with.
fn status(gateway: &Gateway, headers: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    let answer = exchange(gateway.proxy, request.as_bytes()).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn redis_counts_for_every_gateway_that_asks_it() {
    if !debian::servers() {
        return;
    }
    let redis = Backend::start(|port, folder| {
        let mut command = debian::program("usr/bin/redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--requirepass", "word", "--dir"]).arg(folder);
        command
    });
    let config = |tolerant: bool| {
        json!({
            "year": 3, "policy": "redis", "limit_by": "ip", "fault_tolerant": tolerant,
            "redis": {
                "host": "127.0.0.1", "port": redis.port, "password": "word", "database": 1,
                "timeout": 30_000,
            },
        })
    };
    let (one, other) =
        (gateway("rate-limiting", &config(true)), gateway("rate-limiting", &config(false)));
    let answers = [&one, &other, &one, &one, &other].map(|gateway| status(gateway, ""));
    assert_eq!(answers, [200, 200, 200, 429, 429]);

    let mut client = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
    client.write_all(b"AUTH word\r\nSELECT 1\r\nKEYS *\r\nQUIT\r\n").unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    let key = said.lines().find(|line| line.starts_with("ratelimit:")).expect(&said);
    assert!(key.contains(":127.0.0.1:") && key.ends_with(":year"), "{key}");

    drop(redis);
    assert_eq!((status(&one, ""), status(&other, "")), (200, 500));
}

/// The credentials of a user as ldap-auth takes them.
fn credentials(user: &str, password: &str) -> String {
    format!("Authorization: ldap {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

const PEOPLE: &str = "dn: dc=test\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: test\n\n\
                      dn: cn=bob,dc=test\nobjectClass: person\ncn: bob\nsn: b\nuserPassword: word\n";

#[test]
fn a_directory_says_whose_password_is_right() {
    if !debian::servers() {
        return;
    }
    let directory = Backend::start(|port, folder| {
        let (at, schema) = (folder.display(), debian::path("etc/ldap/schema/core.schema"));
        let (schema, modules) = (schema.display(), debian::path("usr/lib/ldap"));
        let modules = modules.display();
        let text = format!(
            "include {schema}\nmodulepath {modules}\nmoduleload back_mdb\n\
             pidfile {at}/pid\ndatabase mdb\nsuffix \"dc=test\"\ndirectory {at}\n"
        );
        let (config, people) = (folder.join("slapd.conf"), folder.join("people.ldif"));
        fs::write(&config, text).unwrap();
        fs::write(&people, PEOPLE).unwrap();
        let mut add = debian::program("usr/sbin/slapadd");
        add.arg("-f").arg(&config).arg("-l").arg(&people);
        assert!(add.status().unwrap().success());
        let mut command = debian::program("usr/sbin/slapd");
        let address = format!("ldap://127.0.0.1:{port}");
        command.arg("-f").arg(&config).args(["-h", &address, "-d", "0"]);
        command
    });
    let gateway = gateway(
        "ldap-auth",
        &json!({
            "ldap_host": "127.0.0.1", "ldap_port": directory.port, "base_dn": "dc=test",
            "attribute": "cn", "timeout": 30_000,
        }),
    );
    assert_eq!(status(&gateway, ""), 401);
    assert_eq!(status(&gateway, &credentials("bob", "word")), 200);
    assert_eq!(status(&gateway, &credentials("bob", "else")), 401);
    assert_eq!(status(&gateway, &credentials("eve", "word")), 401);
    // A name cannot lead to another entry.
    assert_eq!(status(&gateway, &credentials("x,cn=bob", "word")), 401);
    drop(directory);
    assert_eq!(status(&gateway, &credentials("bob", "word")), 200, "what was said is remembered");
}
