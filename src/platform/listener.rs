//! Listening on an address, or on all of IPv6 and IPv4.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// All addresses, IPv6 and IPv4, at this port: `:10169`.
    AllInterfaces(u16),
    /// This address and port.
    Address(SocketAddr),
}

impl ListenAddress {
    /// The addresses at which this machine reaches itself, the most likely first.
    #[must_use]
    pub fn reachable(self) -> Vec<SocketAddr> {
        let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        let (ips, port) = match self {
            Self::AllInterfaces(port) => (vec![v4, v6], port),
            Self::Address(address) if address.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED) => (vec![v4], address.port()),
            Self::Address(address) if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
                (vec![v6, v4], address.port())
            }
            Self::Address(address) => (vec![address.ip()], address.port()),
        };
        ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
    }

    /// Listens. All interfaces are IPv4's alone where the system has no IPv6.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(self) -> io::Result<TcpListener> {
        match self {
            Self::Address(address) => TcpListener::bind(address).await,
            Self::AllInterfaces(port) => match dual_stack(port) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
                Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
                Ok(listener) => Ok(listener),
            },
        }
    }
}

fn dual_stack(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl FromStr for ListenAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix(':') {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().map(Self::AllInterfaces).map_err(|_| ())
            }
            _ => text.parse().map(Self::Address).map_err(|_| ()),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllInterfaces(port) => write!(f, ":{port}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}
