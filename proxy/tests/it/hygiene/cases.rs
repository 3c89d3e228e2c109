//! The table: what a client sends, what the gateway answers, and what reaches the upstream.
//!
//! What Kong's own nginx refuses is refused here; what it takes in more than one spelling goes on in one.

/// One connection's worth of bytes.
pub(super) struct Case {
    /// What is tried.
    pub(super) name: &'static str,
    /// The bytes.
    pub(super) sent: &'static str,
    /// The statuses of the gateway's answers, in order.
    pub(super) statuses: &'static [u16],
    /// What the upstream is asked: method, target and body of each request, in order.
    pub(super) seen: &'static [&'static str],
}

const fn case(
    name: &'static str,
    sent: &'static str,
    statuses: &'static [u16],
    seen: &'static [&'static str],
) -> Case {
    Case { name, sent, statuses, seen }
}

/// Refused with this status, and nothing of it goes on.
const fn refused(name: &'static str, sent: &'static str, status: &'static [u16]) -> Case {
    case(name, sent, status, &[])
}

/// The request that hides in the body of another one in many cases below.
macro_rules! hidden {
    ($head:literal) => {
        concat!($head, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    };
}

pub(super) const CASES: &[Case] = &[
    // ---- plain framing -------------------------------------------------------------------------
    case("no body", "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", &[200], &["GET /a "]),
    case(
        "a length",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        &[200],
        &["POST /a hello"],
    ),
    case(
        "chunks",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        &[200],
        &["POST /a hello"],
    ),
    case(
        "a length of zero",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        &[200],
        &["POST /a "],
    ),
    case(
        "a length with leading zeros",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
        &[200],
        &["POST /a hello"],
    ),
    case(
        "two requests in one packet",
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200, 200],
        &["GET /a ", "GET /b "],
    ),
    case(
        "a body and the next request",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200, 200],
        &["POST /a hi", "GET /b "],
    ),
    case(
        "chunks and the next request",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200, 200],
        &["POST /a hi", "GET /b "],
    ),
    case(
        "a GET with a body",
        "GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        &[200],
        &["GET /a hello"],
    ),
    case(
        "a body that looks like a request",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n"),
        &[200],
        &["POST /a GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"],
    ),
    case(
        "line ends without carriage returns",
        "GET /a HTTP/1.1\nHost: a\n\n",
        &[200],
        &["GET /a "],
    ),
    case(
        "empty lines before the request",
        "\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200],
        &["GET /a "],
    ),
    // ---- both lengths --------------------------------------------------------------------------
    refused(
        "a length and chunks",
        hidden!(
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        &[400],
    ),
    refused(
        "chunks and a length",
        hidden!(
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
        ),
        &[400],
    ),
    refused(
        "two equal lengths",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        &[400],
    ),
    refused(
        "two lengths",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n"),
        &[400],
    ),
    refused(
        "two lengths in one header",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        &[400],
    ),
    refused(
        "a length with a sign",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        &[400],
    ),
    refused(
        "a negative length",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        &[400],
    ),
    refused(
        "a hexadecimal length",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        &[400],
    ),
    refused(
        "a length with a fraction",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\nhello",
        &[400],
    ),
    refused(
        "an empty length",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
        &[400],
    ),
    refused(
        "a length of words",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello",
        &[400],
    ),
    refused(
        "a length beyond all numbers",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        &[400],
    ),
    refused(
        "a length with a blank inside",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\nhellohello",
        &[400],
    ),
    refused(
        "a length with a tab behind it",
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\t\r\n\r\nhello",
        &[400],
    ),
    refused(
        "a blank before the colon of the length",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length : 38\r\n\r\n"),
        &[400],
    ),
    // ---- codings -------------------------------------------------------------------------------
    case(
        "chunked in capitals",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        &[200],
        &["POST /a hi"],
    ),
    refused(
        "two codings",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[501],
    ),
    refused(
        "chunked twice in one header",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        &[501],
    ),
    refused(
        "chunked in two headers",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    refused(
        "chunked and identity",
        hidden!(
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
        ),
        &[400],
    ),
    refused(
        "an unknown coding",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        &[501],
    ),
    refused(
        "identity",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        &[501],
    ),
    refused(
        "an empty coding",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
        &[501],
    ),
    refused(
        "a coding behind a tab",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"),
        &[501],
    ),
    refused(
        "a coding before a vertical tab",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n"),
        &[501],
    ),
    refused(
        "a coding in quotes",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
        &[501],
    ),
    refused(
        "a coding with a parameter",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
        &[501],
    ),
    refused(
        "a blank before the colon of the coding",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        &[400],
    ),
    refused(
        "a coding on a folded line",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        &[400],
    ),
    refused(
        "chunks in HTTP/1.0",
        "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
    ),
    case(
        "a coding under another name",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
        &[200],
        &["POST /a hi"],
    ),
    case(
        "a coding whose name ends oddly",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\u{1f}: chunked\r\nContent-Length: 2\r\n\r\nhi",
        &[400],
        &[],
    ),
    // ---- chunks --------------------------------------------------------------------------------
    case(
        "chunks with extensions",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nhi\r\n0;z\r\n\r\n",
        &[200],
        &["POST /a hi"],
    ),
    case(
        "chunks with trailers",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nHost: evil\r\nContent-Length: 9\r\n\r\n",
        &[200],
        &["POST /a hi"],
    ),
    case(
        "chunk sizes with leading zeros",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0002\r\nhi\r\n000\r\n\r\n",
        &[200],
        &["POST /a hi"],
    ),
    refused(
        "a chunk size that is none",
        hidden!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        &[400],
    ),
    refused(
        "a negative chunk size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        &[400],
    ),
    refused(
        "a chunk size with a prefix",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
        &[400],
    ),
    refused(
        "a chunk size beyond all numbers",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n",
        &[400],
    ),
    refused(
        "an empty chunk size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n",
        &[400],
    ),
    refused(
        "a chunk that is longer than it says",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
        &[400],
    ),
    refused(
        "a blank before the chunk size",
        "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nhi\r\n0\r\n\r\n",
        &[400],
    ),
    // ---- the request line ----------------------------------------------------------------------
    refused("a method in small letters", "get /a HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a method with a tab behind it", "GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a blank before the method", " GET /a HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a target with a control character", "GET /a\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a target with a tab", "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a target with a carriage return", "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a target with a blank", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a target without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("an unknown protocol", "GET /a HTTQ/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("a version without a minor one", "GET /a HTTP/1\r\nHost: a\r\n\r\n", &[400]),
    refused("HTTP/2 in a request line", "GET /a HTTP/2.0\r\nHost: a\r\n\r\n", &[505]),
    refused("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
    refused("TRACE", "TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
    case("blanks round the target", "GET  /a  HTTP/1.1\r\nHost: a\r\n\r\n", &[200], &["GET /a "]),
    case("an absolute target", "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", &[200], &["GET /b "]),
    case(
        "an absolute target of another host",
        "GET http://b/b HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200],
        &["GET /b "],
    ),
    case(
        "an escaped line end in the target",
        "GET /a%0d%0aX:%20y HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200],
        &["GET /a%0D%0AX:%20y "],
    ),
    // ---- headers -------------------------------------------------------------------------------
    refused("no host", "GET /a HTTP/1.1\r\n\r\n", &[400]),
    refused("an empty host", "GET /a HTTP/1.1\r\nHost:\r\n\r\n", &[400]),
    refused("two hosts", "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
    refused("a host with a slash", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400]),
    refused("a host with a blank", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
    refused(
        "a folded header",
        "GET /a HTTP/1.1\r\nHost: a\r\nX: 1\r\n\tContent-Length: 5\r\n\r\n",
        &[400],
    ),
    refused(
        "a header line that begins with a blank",
        "GET /a HTTP/1.1\r\n Host: a\r\n\r\n",
        &[400],
    ),
    refused("a header without a name", "GET /a HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", &[400]),
    refused("a blank in a name", "GET /a HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", &[400]),
    refused("a zero byte in a value", "GET /a HTTP/1.1\r\nHost: a\r\nX: 1\u{0}2\r\n\r\n", &[400]),
    refused(
        "a carriage return in a value",
        hidden!("GET /a HTTP/1.1\r\nHost: a\r\nX: 1\rContent-Length: 35\r\n\r\n"),
        &[400],
    ),
    refused("a zero byte in a name", "GET /a HTTP/1.1\r\nHost: a\r\nX\u{0}: 1\r\n\r\n", &[400]),
    case(
        "headers of this hop",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n\r\n",
        &[200],
        &["GET /a "],
    ),
    case(
        "Connection names the length",
        "POST /a HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nhi",
        &[200],
        &["POST /a hi"],
    ),
    case(
        "an upgrade to HTTP/2 that is not offered",
        hidden!(
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ),
        &[200, 200],
        &["GET /a ", "GET /smuggled "],
    ),
    case(
        "a body that was announced with Expect",
        "POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        &[100, 200],
        &["POST /a hi"],
    ),
    case(
        "a request after the last one",
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        &[200],
        &["GET /a "],
    ),
    case(
        "a good request and a broken one",
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost : a\r\n\r\n",
        &[200, 400],
        &["GET /a "],
    ),
    case(
        "HTTP/1.0 without keep-alive",
        "GET /a HTTP/1.0\r\nHost: a\r\n\r\nGET /smuggled HTTP/1.0\r\nHost: a\r\n\r\n",
        &[200],
        &["GET /a "],
    ),
];
