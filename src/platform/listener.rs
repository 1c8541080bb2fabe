//! Listening on an address, or on all or loopback's of IPv6 and IPv4.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

const BACKLOG: i32 = 1024;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// All addresses, IPv6 and IPv4, at this port: `:10169`.
    AllInterfaces(u16),
    /// Loopback, IPv6 and IPv4, at this port: `localhost:10169`.
    Localhost(u16),
    /// This address and port.
    Address(SocketAddr),
}

impl ListenAddress {
    /// The addresses at which this machine reaches itself, the most likely first.
    pub(crate) fn reachable(&self) -> Vec<SocketAddr> {
        let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
        let (ips, port) = match *self {
            Self::AllInterfaces(port) | Self::Localhost(port) => (vec![v4, v6], port),
            Self::Address(address) if address.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED) => (vec![v4], address.port()),
            Self::Address(address) if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) => {
                (vec![v6, v4], address.port())
            }
            Self::Address(address) => (vec![address.ip()], address.port()),
        };
        ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
    }

    /// Listens. Where the system has one family of addresses alone, all interfaces and localhost are those of that family.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(self) -> io::Result<Vec<TcpListener>> {
        let unless_in_use =
            |error: io::Error| if error.kind() == io::ErrorKind::AddrInUse { Err(error) } else { Ok(()) };
        match self {
            Self::Address(address) => Ok(vec![TcpListener::bind(address).await?]),
            Self::AllInterfaces(port) => match dual_stack(port) {
                Ok(listener) => Ok(vec![listener]),
                Err(error) => {
                    unless_in_use(error)?;
                    Ok(vec![TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?])
                }
            },
            Self::Localhost(port) => match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(v6) => {
                    // Port 0 is the same free port for both.
                    let port = v6.local_addr()?.port();
                    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                        Ok(v4) => Ok(vec![v4, v6]),
                        Err(error) => unless_in_use(error).map(|()| vec![v6]),
                    }
                }
                Err(error) => {
                    unless_in_use(error)?;
                    Ok(vec![TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?])
                }
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
        let port =
            |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        let named = match text.rsplit_once(':') {
            Some(("", digits)) => port(digits).map(Self::AllInterfaces),
            Some(("localhost", digits)) => port(digits).map(Self::Localhost),
            _ => text.parse().map(Self::Address).ok(),
        };
        named.ok_or(())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllInterfaces(port) => write!(f, ":{port}"),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}
