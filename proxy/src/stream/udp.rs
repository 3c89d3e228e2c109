//! Datagrams: one socket to the upstream for each client that is talking.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxy_core::route::Protocol;
use runtime::Shutdown;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::session::Session;
use super::{Ends, find};
use crate::app::Gateway;
use crate::forward::choose::Chooser;

/// The largest datagram.
const LARGEST: usize = 65_535;
/// How many datagrams of one client wait.
const WAITING: usize = 64;
/// How many clients talk at once.
const CLIENTS: usize = 10_000;

/// The clients that are talking, each with the way to its session.
type Sessions = Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>>;

/// Serves a datagram listener until shutdown.
pub async fn serve(gateway: Arc<Gateway>, socket: UdpSocket, shutdown: Shutdown) -> io::Result<()> {
    let socket = Arc::new(socket);
    let local = socket.local_addr()?;
    let sessions = Sessions::default();
    let mut buffer = vec![0; LARGEST];
    loop {
        // Biased: a stop wins over another datagram.
        let (length, client) = tokio::select! {
            biased;
            () = shutdown.requested() => return Ok(()),
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // An earlier answer that could not be delivered; the next datagram is not at fault.
                Err(_) => continue,
            },
        };
        let datagram = buffer[..length].to_vec();
        let known = sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        let way = match known {
            Some(way) => way,
            None => match open(&gateway, &socket, &sessions, Ends { client, local }) {
                Some(way) => way,
                None => continue,
            },
        };
        // A client that talks faster than its upstream listens loses datagrams, as on any network.
        let _ = way.try_send(datagram);
    }
}

fn open(
    gateway: &Arc<Gateway>,
    socket: &Arc<UdpSocket>,
    sessions: &Sessions,
    ends: Ends,
) -> Option<mpsc::Sender<Vec<u8>>> {
    let (way, datagrams) = mpsc::channel(WAITING);
    {
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= CLIENTS {
            return None;
        }
        sessions.insert(ends.client, way.clone());
    }
    let (gateway, socket, sessions) =
        (Arc::clone(gateway), Arc::clone(socket), Arc::clone(sessions));
    tokio::spawn(async move {
        if let Err(error) = session(&gateway, &socket, datagrams, ends).await {
            tracing::debug!(client = %ends.client, %error, "datagrams ended");
        }
        sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&ends.client);
    });
    Some(way)
}

async fn session(
    gateway: &Arc<Gateway>,
    socket: &UdpSocket,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
    ends: Ends,
) -> io::Result<()> {
    let generation = gateway.state.current();
    let Some(route) = find(&generation, Protocol::Udp, None, ends) else { return Ok(()) };
    let Some(service) = &route.service else { return Ok(()) };
    let Some(mut session) = Session::begin(&route, Protocol::Udp, ends).await else {
        return Ok(());
    };
    let mut chooser = Chooser::for_stream(gateway, &generation, service, ends.client.ip());
    let chosen = chooser.next().await.map_err(|_| io::ErrorKind::HostUnreachable)?;
    let any = if chosen.address.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let upstream = UdpSocket::bind((any, 0)).await?;
    upstream.connect(chosen.address).await?;
    session.tries(chosen.address, false);
    let mut said = (0, 0);
    let ended =
        carry((socket, &upstream), &mut datagrams, (ends, service.read_timeout), &mut said).await;
    session.end(said);
    ended
}

/// Carries datagrams both ways until nobody has spoken for so long; counts their bytes.
async fn carry(
    (socket, upstream): (&UdpSocket, &UdpSocket),
    datagrams: &mut mpsc::Receiver<Vec<u8>>,
    (ends, silence): (Ends, Duration),
    said: &mut (u64, u64),
) -> io::Result<()> {
    let mut buffer = vec![0; LARGEST];
    loop {
        let turn = async {
            // Biased: answers first, so that a flood of questions cannot starve them.
            tokio::select! {
                biased;
                received = upstream.recv(&mut buffer) => received.map(Err),
                datagram = datagrams.recv() => Ok(Ok(datagram)),
            }
        };
        match timeout(silence, turn).await {
            Ok(Ok(Err(length))) => {
                said.1 += length as u64;
                socket.send_to(&buffer[..length], ends.client).await?;
            }
            Ok(Ok(Ok(Some(datagram)))) => {
                said.0 += datagram.len() as u64;
                upstream.send(&datagram).await?;
            }
            Ok(Ok(Ok(None))) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error),
        }
    }
}
