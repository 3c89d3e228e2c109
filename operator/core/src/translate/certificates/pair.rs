//! A certificate and its private key, from a Secret: both must be readable and belong together.

use crate::secret::Secret;
use x509_parser::asn1_rs::{FromDer, Sequence};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION};
use x509_parser::pem::Pem;

/// Why a Secret holds no usable pair.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// A key of the Secret's data is missing.
    #[error("no {0} in secret")]
    Missing(&'static str),
    /// The certificate is no PEM of a certificate.
    #[error("tls.crt is not a certificate in PEM")]
    Certificate,
    /// The key is no PEM of a private key.
    #[error("tls.key is not a private key in PEM")]
    Key,
    /// The key is another certificate's.
    #[error("private key does not match public key of the certificate")]
    Mismatch,
}

/// Certificate and key as PEM, without blanks around them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Pair {
    /// Reads `tls.crt` and `tls.key`.
    pub(super) fn of(secret: &Secret) -> Result<Self, Unusable> {
        let text = |key: &'static str| {
            let value = secret.data.as_ref().and_then(|data| data.get(key));
            let text = value.and_then(|value| std::str::from_utf8(&value.0).ok());
            text.map(|text| text.trim().to_owned()).ok_or(Unusable::Missing(key))
        };
        let pair = Self { cert: text("tls.crt")?, key: text("tls.key")? };
        pair.check()?;
        Ok(pair)
    }

    fn check(&self) -> Result<(), Unusable> {
        let certificate = pems(&self.cert).into_iter().find(|pem| pem.label == "CERTIFICATE");
        let certificate = certificate.ok_or(Unusable::Certificate)?;
        let parsed = certificate.parse_x509().map_err(|_| Unusable::Certificate)?;
        let public = &parsed.public_key().subject_public_key.data;
        let key = pems(&self.key).into_iter().find(|pem| pem.label.ends_with("PRIVATE KEY"));
        let key = key.ok_or(Unusable::Key)?;
        match belonging(&key, public) {
            Some(true) => Ok(()),
            Some(false) => Err(Unusable::Mismatch),
            None => Err(Unusable::Key),
        }
    }
}

fn pems(text: &str) -> Vec<Pem> {
    Pem::iter_from_buffer(text.as_bytes()).filter_map(Result::ok).collect()
}

/// Whether the key is that of `public`; nothing if it cannot be read.
///
/// A key that does not carry its public half cannot be compared and is taken as it is: the proxy
/// refuses it if it is wrong.
fn belonging(key: &Pem, public: &[u8]) -> Option<bool> {
    let der = key.contents.as_slice();
    match key.label.as_str() {
        "RSA PRIVATE KEY" => rsa(der, public),
        "EC PRIVATE KEY" => Some(ec(der, public)?),
        _ => {
            let (_, outer) = Sequence::from_der(der).ok()?;
            let content: &[u8] = &outer.content;
            let (rest, _) = u64::from_der(content).ok()?;
            let (rest, algorithm) = Sequence::from_der(rest).ok()?;
            let (_, inner) = <&[u8]>::from_der(rest).ok()?;
            let (_, oid) = x509_parser::der_parser::oid::Oid::from_der(&algorithm.content).ok()?;
            if oid == OID_PKCS1_RSAENCRYPTION {
                rsa(inner, public)
            } else if oid == OID_KEY_TYPE_EC_PUBLIC_KEY || oid == OID_EC_P256 {
                ec(inner, public)
            } else {
                Some(true)
            }
        }
    }
}

/// Compares modulus and exponent, which stand in both halves of an RSA key.
fn rsa(private: &[u8], public: &[u8]) -> Option<bool> {
    use x509_parser::asn1_rs::Integer;
    let (_, private) = Sequence::from_der(private).ok()?;
    let (rest, _version) = Integer::from_der(&private.content).ok()?;
    let (rest, modulus) = Integer::from_der(rest).ok()?;
    let (_, exponent) = Integer::from_der(rest).ok()?;
    let (_, public) = Sequence::from_der(public).ok()?;
    let (rest, known) = Integer::from_der(&public.content).ok()?;
    let (_, power) = Integer::from_der(rest).ok()?;
    Some(modulus == known && exponent == power)
}

/// Compares the point, where the private half carries it.
fn ec(private: &[u8], public: &[u8]) -> Option<bool> {
    use x509_parser::asn1_rs::{Any, BitString};
    let (_, sequence) = Sequence::from_der(private).ok()?;
    let mut rest: &[u8] = &sequence.content;
    while !rest.is_empty() {
        let (next, item) = Any::from_der(rest).ok()?;
        if item.tag().0 == 1 && item.class() == x509_parser::asn1_rs::Class::ContextSpecific {
            let (_, point) = BitString::from_der(item.data).ok()?;
            return Some(&*point.data == public);
        }
        rest = next;
    }
    Some(true)
}
