//! Real servers behind plugins: Redis that counts for rate-limiting, OpenLDAP that knows who ldap-auth asks for.
//!
//! They run under `make test-servers`, which `make test` does.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::debian::{self, Server};
use crate::gateway::{Gateway, answering, exchange, split};

/// A gateway with one plugin on its only service.
fn gateway(plugin: &str, config: &Value) -> Gateway {
    let gateway = Gateway::start(&[]);
    let document = json!({ "_format_version": "3.0", "services": [{
        "name": "s", "url": format!("http://127.0.0.1:{}", answering()), "retries": 0,
        "routes": [{ "name": "r", "paths": ["/"] }],
        "plugins": [{ "name": plugin, "config": config }],
    }]});
    gateway.configure(&document.to_string());
    gateway
}

/// The status that the gateway answers with.
fn status(gateway: &Gateway, headers: &str) -> u16 {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    split(&exchange(gateway.proxy, request.as_bytes()).unwrap()).0
}

#[test]
fn redis_counts_for_every_gateway_that_asks_it() {
    if !debian::servers() {
        return;
    }
    let redis = Server::start(|port, folder| {
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
    let directory = Server::start(|port, folder| {
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
