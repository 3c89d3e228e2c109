//! Pages over TLS, with a certificate that may be replaced at any time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use runtime::Shutdown;
use runtime::tls::Reloading;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

/// How many connections are served at once.
const CONNECTIONS: usize = 128;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What is served, and for how long.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, for logs.
    pub name: &'static str,
    /// The pages.
    pub app: Router,
    /// The TLS configuration; nobody is served before there is one.
    pub tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    /// How long one connection may last.
    pub longest: Duration,
}

/// Serves until shutdown, then until the exchanges under way are over, or two seconds.
///
/// # Errors
/// Never: a connection that fails is its own affair.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let Service { name, app, tls, longest } = service;
    if let Ok(address) = listener.local_addr() {
        info!(%address, name, "listening");
    }
    let mut tls = Reloading::new(tls);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut served = JoinSet::new();
    loop {
        // Shutdown first: nobody is accepted after it.
        let stream = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(_) = served.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!(%error, name, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let (Ok(place), Some(config)) = (room.clone().try_acquire_owned(), tls.current().await)
        else {
            // Whoever is turned away comes back after a pause of its own.
            continue;
        };
        let (app, stop) = (app.clone(), shutdown.clone());
        served.spawn(async move {
            let exchange = exchange(name, (stream, config), app, stop);
            if timeout(longest, exchange).await.is_err() {
                debug!(name, "connection took too long");
            }
            drop(place);
        });
    }
    let _ = timeout(Duration::from_secs(2), async { while served.join_next().await.is_some() {} })
        .await;
    Ok(())
}

async fn exchange(
    name: &'static str,
    (stream, config): (TcpStream, Arc<ServerConfig>),
    app: Router,
    shutdown: Shutdown,
) {
    let stream = match timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, name, "handshake failed"),
        Err(_) => return debug!(name, "handshake took too long"),
    };
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    // Biased: what is being answered is still finished.
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(error, name, "connection failed");
    }
}
