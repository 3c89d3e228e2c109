//! From errors of sockets, TLS and HTTP to one word and a sentence.

use std::error::Error;
use std::io;

use operator_core::fleet::event::{Trouble, TroubleKind};
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use crate::trust::PeerError;

/// Names what went wrong. The deepest cause that says something wins.
pub(super) fn of(error: &(dyn Error + 'static)) -> Trouble {
    if let Some(peer) = PeerError::find(error) {
        return Trouble { kind: TroubleKind::IdentityMismatch, message: peer.to_string() };
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return of_tls(tls);
    }
    if let Some(io) = find::<io::Error>(error) {
        return of_io(io);
    }
    Trouble { kind: TroubleKind::Unreachable, message: last(error) }
}

fn of_tls(error: &rustls::Error) -> Trouble {
    let (kind, message) = match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => {
            (TroubleKind::IdentityMismatch, "its certificate carries another name".to_owned())
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => {
            let names = presented.join(", ");
            (TroubleKind::IdentityMismatch, format!("its certificate carries other names: {names}"))
        }
        rustls::Error::InvalidCertificate(reason) => {
            (TroubleKind::Handshake, format!("its certificate is not trusted: {reason}"))
        }
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            (TroubleKind::Handshake, "the port does not speak TLS".to_owned())
        }
        other => (TroubleKind::Handshake, other.to_string()),
    };
    Trouble { kind, message }
}

/// The peer ended the handshake and said why.
fn of_alert(alert: AlertDescription) -> (TroubleKind, String) {
    let why = match alert {
        AlertDescription::CertificateExpired => "it has expired",
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::CertificateRequired => "none was shown",
        AlertDescription::UnknownCA => "its authority is unknown there",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => "it is not accepted",
        other => {
            return (TroubleKind::Handshake, format!("the peer ended the handshake: {other:?}"));
        }
    };
    (TroubleKind::Unauthorized, format!("the proxy refuses the operator's certificate: {why}"))
}

fn of_io(error: &io::Error) -> Trouble {
    let message = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => "connection closed".to_owned(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route to it".to_owned()
        }
        _ => error.to_string(),
    };
    Trouble { kind: TroubleKind::Unreachable, message }
}

/// Finds an error of a type in the chain. An IO error hides what it wraps from `source`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    if let Some(found) = error.downcast_ref::<E>() {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        // The innermost IO error says most.
        return inner.and_then(|inner| find::<E>(inner)).or(Some(found));
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.and_then(|inner| find::<E>(inner)).or_else(|| error.source().and_then(find::<E>))
}

fn last(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: rustls::Error, kind: TroubleKind, says: &str) {
        let trouble = of(&io::Error::other(error));
        assert_eq!(trouble.kind, kind, "{trouble:?}");
        assert!(trouble.message.contains(says), "{trouble:?}");
    }

    #[test]
    fn tls_errors_are_told_apart() {
        let expired = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
        check(expired, TroubleKind::Unauthorized, "expired");
        let name = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        check(name, TroubleKind::IdentityMismatch, "another name");
        let issuer = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        check(issuer, TroubleKind::Handshake, "not trusted");
        let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        check(plain, TroubleKind::Handshake, "does not speak TLS");
    }

    #[test]
    fn refused_connection_is_unreachable() {
        let trouble = of(&io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(trouble.kind, TroubleKind::Unreachable);
        assert_eq!(trouble.message, "connection refused");
    }
}
