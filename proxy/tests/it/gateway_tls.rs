//! TLS in Gateway API's words, done by the real binary: what upstreams must show, and what clients must.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use rustls::{Stream, StreamOwned};
use serde_json::{Value, json};

use crate::gateway::{self, Gateway, PATIENCE, read_all};

/// An authority of a test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A chain with its key.
type Pair = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for a host and a URI, as DER and as PEM.
    fn issue(&self, host: &str) -> (Pair, (String, String)) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let uri = format!("spiffe://{host}/id");
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.0).unwrap();
        let der = (leaf.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        (der, (leaf.pem(), key.serialize_pem()))
    }
}

/// An upstream under TLS that answers with the name that it was asked for and whether it was shown a certificate.
fn upstream((chain, key): Pair, authority: &Authority) -> u16 {
    let clients = WebPkiClientVerifier::builder(authority.roots()).allow_unauthenticated();
    let config = ServerConfig::builder()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![chain], key);
    let config = Arc::new(config.unwrap());
    gateway::upstream(move |stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        // A gateway that refuses the certificate ends the handshake.
        let _ = answer(StreamOwned::new(connection, stream));
    })
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>) -> io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let name = stream.conn.server_name().unwrap_or_default();
    let shown = stream.conn.peer_certificates().is_some();
    let body = format!("{name} {shown}");
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    stream.flush()
}

/// A service at this port whose TLS is demanded so.
fn config(port: u16, tls: &Value) -> Value {
    json!({
        "_format_version": "3.0",
        "services": [{
            "name": "web", "url": format!("http://127.0.0.1:{port}"), "retries": 0,
            "plugins": [{ "name": "flotilla-upstream", "config": { "tls": tls } }],
            "routes": [{ "name": "all", "paths": ["/"], "preserve_host": true }],
        }],
    })
}

#[test]
fn an_upstream_must_show_one_of_the_listed_names_and_a_known_authority() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (pair, _) = authority.issue("web.example");
    let port = upstream(pair, &authority);
    let gateway = Gateway::start(&[]);
    let (known, unknown) = (authority.pem(), stranger.pem());
    for (status, name, dns, uris, pem) in [
        (200, "web.example", vec![], vec![], &known),
        (502, "other.example", vec![], vec![], &known),
        (502, "web.example", vec![], vec![], &unknown),
        (200, "other.example", vec!["no.example", "web.example"], vec![], &known),
        (502, "web.example", vec!["no.example"], vec![], &known),
        (200, "other.example", vec![], vec!["spiffe://web.example/id"], &known),
        (502, "web.example", vec!["no.example"], vec!["spiffe://web.example/other"], &known),
        (502, "other.example", vec!["web.example"], vec![], &unknown),
    ] {
        let tls = json!({
            "server_name": name, "dns_names": dns, "uris": uris, "authorities": [pem],
        });
        gateway.configure(&config(port, &tls).to_string());
        let (answered, body) = gateway.get("/");
        assert_eq!(answered, status, "{tls}: {body}");
        assert!(status != 200 || body == format!("{name} false"), "{tls}: {body}");
    }
}

/// A gateway with one entrance, and the entrance's port. Another process may take the port before the gateway does.
fn with_entrance() -> (Gateway, u16) {
    for _ in 0..5 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}-{port}");
        let start = || Gateway::start(&[("FLOTILLA_GATEWAY_LISTEN", &listen)]);
        if let Ok(gateway) = std::panic::catch_unwind(start) {
            return (gateway, port);
        }
    }
    panic!("no port was left for an entrance");
}

/// The answer to a request for `host` on a connection for `sni` that shows this certificate.
fn ask(port: u16, (sni, host): (&str, &str), shown: Option<Pair>) -> io::Result<String> {
    let builder = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(runtime::tls::judged_by(runtime::tls::Anyone));
    let config = match shown {
        Some((chain, key)) => builder.with_client_auth_cert(vec![chain], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from(sni.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut stream = Stream::new(&mut connection, &mut socket);
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

#[test]
fn an_entrance_that_asks_for_certificates_takes_nobody_without() {
    let authority = Authority::new();
    let (pair, _) = authority.issue("web.example");
    let upstream = upstream(pair, &authority);
    let (gateway, port) = with_entrance();
    let (_, (cert, key)) = authority.issue("gateway.example");
    let shown = "d7a1e35c-3b0e-4d8b-9d0c-6c1f4e2a9b10";
    let mut config = config(
        upstream,
        &json!({ "server_name": "web.example", "authorities": [authority.pem()] }),
    );
    config["certificates"] = json!([{ "id": shown, "cert": cert, "key": key }]);
    config["plugins"] = json!([{ "name": "flotilla-listeners", "config": { "entrances": [{
        "port": port, "hostnames": ["*", "other.example"],
        "client_authorities": [authority.pem()], "certificate": shown,
    }] } }]);
    gateway.configure(&config.to_string());
    let entrance = |change: Value| {
        let mut config = config.clone();
        for (field, value) in change.as_object().unwrap() {
            config["plugins"][0]["config"]["entrances"][0][field] = value.clone();
        }
        gateway.configure(&config.to_string());
    };

    let own = || Some(authority.issue("client.example").0);
    let answer = ask(port, ("a.example", "a.example"), own()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("web.example true"), "the upstream was shown nothing: {answer}");
    let answer = ask(port, ("other.example", "a.example"), own()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");

    for stranger in [None, Some(Authority::new().issue("client.example").0)] {
        let answer = ask(port, ("a.example", "a.example"), stranger);
        assert!(answer.is_err(), "{answer:?}");
    }
    let mut clear = TcpStream::connect(("127.0.0.1", port)).unwrap();
    clear.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    let answer = String::from_utf8_lossy(&read_all(&mut clear)).into_owned();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    entrance(json!({ "client_optional": true }));
    for stranger in [None, Some(Authority::new().issue("client.example").0)] {
        let answer = ask(port, ("a.example", "a.example"), stranger).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    entrance(json!({ "closed": true }));
    assert!(ask(port, ("a.example", "a.example"), own()).is_err());
}
