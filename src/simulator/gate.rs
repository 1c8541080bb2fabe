//! The port of the simulated IMDS: whether a connection is accepted, refused or left without an answer.
//!
//! Owns the listening socket through its ups and downs. Must not know HTTP or faults.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::acceptor::Acceptor;
use super::connection::Connection;

const BACKLOG: u32 = 1024;
/// How long a connection over loopback may take before the queue counts as full.
const FULL_AFTER: Duration = Duration::from_millis(100);
/// Linux lets one connection more than the backlog into the queue; the rest is distrust.
const MAX_FILLERS: usize = 8;
/// Another process may hold the port for a moment between our closing and binding it.
const BIND_ATTEMPTS: usize = 5;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// How the port behaves towards a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Posture {
    /// Connections are served.
    Open,
    /// Connections are refused.
    Refusing,
    /// Connections never come about.
    Silent,
}

pub(super) struct Gate {
    address: SocketAddr,
    connection: Connection,
    socket: Socket,
}

enum Socket {
    Serving(Acceptor),
    /// Bound, so that nobody takes the port, but not listening.
    Reserved {
        _socket: TcpSocket,
    },
    /// Listening with a full queue, from which nothing is ever accepted.
    Full {
        _listener: TcpListener,
        _fillers: Vec<TcpStream>,
    },
    /// A change was interrupted.
    Closed,
}

impl Gate {
    pub(super) fn open(address: SocketAddr, connection: Connection) -> io::Result<Self> {
        let listener = bind(address)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let socket = Socket::Serving(Acceptor::start(listener, connection.clone()));
        Ok(Self { address, connection, socket })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes the posture; all connections are dead before it returns, unless it was the posture already.
    pub(super) async fn take(&mut self, posture: Posture) -> io::Result<()> {
        if self.posture() == Some(posture) {
            return Ok(());
        }
        self.close().await;
        let socket = rebind(self.address).await?;
        self.socket = match posture {
            Posture::Open => Socket::Serving(Acceptor::start(socket.listen(BACKLOG)?, self.connection.clone())),
            Posture::Refusing => Socket::Reserved { _socket: socket },
            Posture::Silent => {
                let listener = socket.listen(0)?;
                let fillers = fill(self.address).await?;
                Socket::Full { _listener: listener, _fillers: fillers }
            }
        };
        Ok(())
    }

    /// Closes the port and kills its connections.
    pub(super) async fn close(&mut self) {
        if let Socket::Serving(acceptor) = mem::replace(&mut self.socket, Socket::Closed) {
            acceptor.stop().await;
        }
    }

    const fn posture(&self) -> Option<Posture> {
        match self.socket {
            Socket::Serving(_) => Some(Posture::Open),
            Socket::Reserved { .. } => Some(Posture::Refusing),
            Socket::Full { .. } => Some(Posture::Silent),
            Socket::Closed => None,
        }
    }
}

async fn rebind(address: SocketAddr) -> io::Result<TcpSocket> {
    for _ in 1..BIND_ATTEMPTS {
        match bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => tokio::time::sleep(BIND_PAUSE).await,
            done => return done,
        }
    }
    bind(address)
}

/// Binds a listener's socket.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections that ended not long ago must not keep the port from being bound again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Fills the queue of a listener that accepts nothing: once it is full, Linux drops whoever else asks.
async fn fill(mut address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let mut fillers = vec![TcpStream::connect(address).await?];
    while fillers.len() < MAX_FILLERS {
        let Ok(filler) = timeout(FULL_AFTER, TcpStream::connect(address)).await else { return Ok(fillers) };
        fillers.push(filler?);
    }
    Err(io::Error::other("the queue of a listener that accepts nothing does not fill up"))
}
