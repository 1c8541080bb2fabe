//! The port of the simulated IMDS: it accepts connections, refuses them, or never answers.
//!
//! Owns the listening socket. Must not know HTTP, or why the port is in a state.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::acceptor::Acceptor;
use super::fault::PortState;
use super::imds::SharedImds;

const BACKLOG: u32 = 1024;
/// How long a connection over loopback may take before the backlog counts as full.
const FULL_AFTER: Duration = Duration::from_millis(100);
/// Linux accepts one connection more than the backlog; the rest is a safety margin.
const MAX_FILLERS: usize = 8;
/// Another process may hold the port for a moment between our closing and binding it.
const BIND_ATTEMPTS: usize = 5;
const BIND_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Port {
    pub(super) address: SocketAddr,
    imds: SharedImds,
    /// `None` after a change that was interrupted.
    state: Option<PortState>,
    socket: Socket,
}

#[expect(dead_code, reason = "sockets are open as long as they are held")]
enum Socket {
    Serving(Acceptor),
    /// Bound, so that no other process takes the port, but not listening.
    Reserved(TcpSocket),
    /// Listening with a full backlog from which nothing is accepted.
    Full(TcpListener, Vec<TcpStream>),
    Closed,
}

impl Port {
    pub(super) fn open(address: SocketAddr, imds: SharedImds) -> io::Result<Self> {
        let acceptor = Acceptor::start(bind(address)?.listen(BACKLOG)?, imds.clone())?;
        let (address, state) = (acceptor.address, Some(PortState::Open));
        Ok(Self { address, imds, state, socket: Socket::Serving(acceptor) })
    }

    /// Changes to `state`. All connections are closed before it returns, unless the port is in that state already.
    pub(super) async fn set(&mut self, state: PortState) -> io::Result<()> {
        if self.state == Some(state) {
            return Ok(());
        }
        self.close().await;
        let socket = rebind(self.address).await?;
        self.socket = match state {
            PortState::Open => Socket::Serving(Acceptor::start(socket.listen(BACKLOG)?, self.imds.clone())?),
            PortState::Refusing => Socket::Reserved(socket),
            PortState::Silent => Socket::Full(socket.listen(0)?, fill(self.address).await?),
        };
        self.state = Some(state);
        Ok(())
    }

    pub(super) async fn close(&mut self) {
        self.state = None;
        if let Socket::Serving(acceptor) = mem::replace(&mut self.socket, Socket::Closed) {
            acceptor.stop().await;
        }
    }
}

async fn rebind(address: SocketAddr) -> io::Result<TcpSocket> {
    let mut more_attempts = 1..BIND_ATTEMPTS;
    loop {
        match bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && more_attempts.next().is_some() => {
                sleep(BIND_PAUSE).await;
            }
            done => return done,
        }
    }
}

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections that ended not long ago must not keep the port from being bound again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Fills the backlog of a listener that accepts nothing: once it is full, Linux drops further connections.
async fn fill(mut address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let mut fillers = vec![TcpStream::connect(address).await?];
    while fillers.len() < MAX_FILLERS {
        let Ok(filler) = timeout(FULL_AFTER, TcpStream::connect(address)).await else { return Ok(fillers) };
        fillers.push(filler?);
    }
    Err(io::Error::other("the backlog of a listener that accepts nothing does not fill up"))
}
