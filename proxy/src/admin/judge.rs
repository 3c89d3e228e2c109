//! What only the gateway's engines can judge: certificates and their keys, and whether the router
//! can run a route.

use std::collections::BTreeMap;

use kong::schema::{Fault, Flavor};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Judges entities for a flavor of the router, at a time.
pub(super) struct Judge {
    /// The router's flavor.
    pub(super) flavor: Flavor,
    /// Seconds since 1970.
    pub(super) now: i64,
}

type Faults = BTreeMap<String, Fault>;

impl kong::declarative::Judge for Judge {
    fn judge(&self, kind: &str, entity: &Map<String, Value>, faults: &mut Faults) {
        match kind {
            "routes" if !matches!(self.flavor, Flavor::Traditional) => {
                if faults.is_empty()
                    && let Err(reason) = super::route::check(entity, self.flavor)
                {
                    let text = format!("Router Expression failed validation: {reason}");
                    add(faults, text);
                }
            }
            "plugins" => plugin(entity, faults),
            "certificates" => certificate(entity, faults),
            "ca_certificates" => self.authority(entity, faults),
            _ => {}
        }
    }
}

/// A plugin that is known and cannot be run is one that is not enabled, once all that it says is
/// right.
fn plugin(entity: &Map<String, Value>, faults: &mut Faults) {
    if !faults.is_empty() {
        return;
    }
    let Some(name) = text(entity, "name") else { return };
    if proxy_core::plugin::definition(name).is_none() {
        let text =
            format!("plugin '{name}' not enabled; add it to the 'plugins' configuration property");
        faults.insert("name".to_owned(), text.into());
    }
    if matches!(name, "pre-function" | "post-function") {
        functions(name, entity.get("config"), faults);
    }
}

/// Code must be code.
fn functions(plugin: &str, config: Option<&Value>, faults: &mut Faults) {
    let mut wrong = BTreeMap::new();
    for (phase, list) in config.and_then(Value::as_object).into_iter().flatten() {
        let code = list.as_array().into_iter().flatten().enumerate();
        let items: BTreeMap<usize, Fault> = code
            .filter_map(|(at, code)| {
                let problem = proxy_core::plugin::check_code(code.as_str()?).err()?;
                Some((at + 1, format!("error parsing {plugin}: {problem}").into()))
            })
            .collect();
        if !items.is_empty() {
            wrong.insert(phase.clone(), Fault::Items(items));
        }
    }
    if !wrong.is_empty() {
        faults.insert("config".to_owned(), Fault::Fields(wrong));
    }
}

fn add(faults: &mut Faults, text: String) {
    let all = faults.entry("@entity".to_owned()).or_insert_with(|| Fault::Items(BTreeMap::new()));
    if let Fault::Items(all) = all {
        all.insert(all.len() + 1, text.into());
    }
}

fn text<'a>(entity: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    let text = entity.get(field)?.as_str()?;
    (!text.starts_with("{vault://")).then_some(text)
}

/// The certificates of a PEM text.
fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

fn check_certificate(pem: &str) -> Result<(), String> {
    let wrong = "invalid certificate: x509.new: error:680008E:asn1 encoding routines:asn1_d2i_read_bio:not enough data:crypto/asn1/a_d2i_fp.c:218:";
    let first = chain(pem).into_iter().next().ok_or(wrong)?;
    X509Certificate::from_der(&first).map(drop).map_err(|_| wrong.to_owned())
}

fn check_key(pem: &str) -> Result<(), String> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .ok()
        .filter(|key| rustls::crypto::aws_lc_rs::sign::any_supported_type(key).is_ok())
        .map(drop)
        .ok_or_else(|| {
            "invalid key: pkey.new:load_key: error:4800068:PEM routines::no start line".to_owned()
        })
}

/// Whether the key is that of the certificate.
fn belongs(pem: &str, key: &str) -> bool {
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok();
    let signer = key.and_then(|key| rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).ok());
    let Some(signer) = signer else { return false };
    let certified = rustls::sign::CertifiedKey::new(chain(pem), signer);
    // An engine that cannot tell its public key does not refuse.
    !matches!(
        certified.keys_match(),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch))
    )
}

/// The algorithm of the certificate's key.
fn key_type(pem: &str) -> Option<String> {
    let first = chain(pem).into_iter().next()?;
    let (_, parsed) = X509Certificate::from_der(&first).ok()?;
    Some(parsed.public_key().algorithm.algorithm.to_id_string())
}

fn certificate(entity: &Map<String, Value>, faults: &mut Faults) {
    for (field, check) in [
        ("cert", check_certificate as fn(&str) -> Result<(), String>),
        ("key", check_key),
        ("cert_alt", check_certificate),
        ("key_alt", check_key),
    ] {
        if !faults.contains_key(field)
            && let Some(text) = text(entity, field)
            && let Err(message) = check(text)
        {
            faults.insert(field.to_owned(), message.into());
        }
    }
    let clean = |faults: &Faults, fields: [&str; 2]| {
        fields.iter().all(|field| !faults.contains_key(*field))
    };
    for (cert, key, message) in [
        ("cert", "key", "certificate does not match key"),
        ("cert_alt", "key_alt", "alternative certificate does not match key"),
    ] {
        if clean(faults, [cert, key])
            && let (Some(pem), Some(key)) = (text(entity, cert), text(entity, key))
            && !belongs(pem, key)
        {
            add(faults, message.to_owned());
        }
    }
    if clean(faults, ["cert", "cert_alt"])
        && let (Some(one), Some(other)) = (text(entity, "cert"), text(entity, "cert_alt"))
        && key_type(one) == key_type(other)
    {
        add(faults, "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided certificates were both of the same type".to_owned());
    }
}

impl Judge {
    fn authority(&self, entity: &Map<String, Value>, faults: &mut Faults) {
        if faults.contains_key("cert") {
            return;
        }
        let Some(pem) = text(entity, "cert") else { return };
        if let Err(message) = check_certificate(pem) {
            faults.insert("cert".to_owned(), message.into());
            return;
        }
        if pem.matches("-----BEGIN CERTIFICATE-----").count() > 1 {
            return add(faults, "please submit only one certificate at a time".to_owned());
        }
        let Some(first) = chain(pem).into_iter().next() else { return };
        let Ok((_, parsed)) = X509Certificate::from_der(&first) else { return };
        if parsed.validity().not_after.timestamp() < self.now {
            return add(
                faults,
                "certificate expired, \"Not After\" time is in the past".to_owned(),
            );
        }
        let authority = parsed.basic_constraints().ok().flatten().is_some_and(|one| one.value.ca);
        if !authority {
            add(faults, "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint".to_owned());
        }
    }
}
