//! Signature Version 4: who asks, and that nobody changed what is asked.

use std::fmt::Write;
use std::time::Duration;

use hmac::{Hmac, Mac};
use http::HeaderValue;
use http::header::{AUTHORIZATION, HOST};
use sha2::{Digest, Sha256};
use url::Url;

use crate::plugin::HttpCall;

/// The keys of an account, and where they are used.
#[derive(Clone)]
pub(super) struct Keys {
    /// The public half.
    pub(super) id: String,
    /// The secret half.
    pub(super) secret: String,
    /// What goes along with keys that are lent.
    pub(super) token: Option<String>,
    /// The region.
    pub(super) region: String,
}

impl Keys {
    /// Signs a call to one of AWS's services for this moment; `None` for an address that is none.
    pub(super) fn sign(&self, call: &mut HttpCall, now: Duration, service: &str) -> Option<()> {
        let url = Url::parse(&call.url).ok()?;
        let seconds = i64::try_from(now.as_secs()).ok()?;
        let time = jiff::Timestamp::from_second(seconds).ok()?;
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        let digest = hex::encode(Sha256::digest(&call.body));
        call.headers.insert(HOST, HeaderValue::from_str(&host).ok()?);
        call.headers.insert("x-amz-date", HeaderValue::from_str(&time).ok()?);
        call.headers.insert("x-amz-content-sha256", HeaderValue::from_str(&digest).ok()?);
        if let Some(token) = &self.token {
            let mut token = HeaderValue::from_str(token).ok()?;
            token.set_sensitive(true);
            call.headers.insert("x-amz-security-token", token);
        }
        let (names, canonical) = canonical(call, &url, &digest);
        let scope = format!("{}/{}/{service}/aws4_request", time.get(..8)?, self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in scope.split('/') {
            key = mac(&key, part.as_bytes());
        }
        let signature = hex::encode(mac(&key, text.as_bytes()));
        let shown = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.id
        );
        let mut shown = HeaderValue::from_str(&shown).ok()?;
        shown.set_sensitive(true);
        call.headers.insert(AUTHORIZATION, shown);
        Some(())
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // A key of any length is a key.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The names of the signed headers, and the request as both sides write it.
fn canonical(call: &HttpCall, url: &Url, digest: &str) -> (String, String) {
    let mut headers: Vec<(&str, &str)> = call
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?.trim())))
        .collect();
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut text = format!("{}\n{}\n", call.method, escaped_again(url.path()));
    text.push_str(&query(url));
    text.push('\n');
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}:{value}");
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{names}\n{digest}");
    (names, text)
}

/// Paths are signed escaped twice.
fn escaped_again(path: &str) -> String {
    path.split('/').map(escape).collect::<Vec<_>>().join("/")
}

fn query(url: &Url) -> String {
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (escape(&name), escape(&value))).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;

    #[test]
    fn the_derivation_of_the_key_is_that_of_the_published_example() {
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for part in ["20120215", "us-east-1", "iam", "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let want = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d";
        assert_eq!(hex::encode(key), want);
    }

    #[test]
    fn a_signature_names_its_headers_and_changes_with_the_body() {
        let keys =
            Keys { id: "K".into(), secret: "s".into(), token: None, region: "eu-west-1".into() };
        let signed = |body: &'static str| {
            let mut call = HttpCall {
                method: Method::POST,
                url: "https://lambda.test:443/2015-03-31/functions/a:b/invocations?Qualifier=x"
                    .into(),
                headers: HeaderMap::new(),
                body: Bytes::from_static(body.as_bytes()),
                timeout: Duration::from_secs(1),
                verify: false,
                proxy: None,
            };
            keys.sign(&mut call, Duration::from_secs(1_732_190_400), "lambda").unwrap();
            call.headers[AUTHORIZATION].to_str().unwrap().to_owned()
        };
        let one = signed("{}");
        assert!(one.starts_with(
            "AWS4-HMAC-SHA256 Credential=K/20241121/eu-west-1/lambda/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature="
        ));
        assert_ne!(one, signed("{ }"));
    }
}
