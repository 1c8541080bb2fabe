//! HTTP requests over a connection of their own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::wait::{DEADLINE, answer_within};

/// What came back until the server closed the connection.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Head and body.
    pub(crate) text: String,
}

impl Response {
    fn parse(text: String) -> Option<Self> {
        let status = text.split(' ').nth(1)?.parse().ok()?;
        text.contains("\r\n\r\n").then_some(Self { status, text })
    }

    pub(crate) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").expect("a response has a body").1
    }
}

/// Another address of this machine: to the exporter, another client.
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A connection that comes from this address.
pub(crate) async fn connect_from(address: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there are descriptors");
    socket.bind(SocketAddr::new(address, 0)).expect("all of 127.0.0.0/8 is loopback");
    timeout(DEADLINE, socket.connect(to)).await.expect("it connects in time").expect("it listens")
}

/// Sends as much as the server accepts; returns what comes back until the end.
pub(crate) async fn send_over(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        let _closed = writer.write_all(bytes).await;
        let _closed = writer.shutdown().await;
    };
    let both = async { tokio::join!(write, reader.read_to_end(&mut answer)) };
    let _reset = timeout(DEADLINE, both).await.expect("the connection ends");
    answer
}

/// The head of a request that a server of the tests gets; `None` if the connection ends before it does.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(head)
}

/// The status of an answer, if there is one.
pub(crate) fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

async fn exchange(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    // A body may be compressed.
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// Sends the request as it is written.
pub(crate) async fn send(address: SocketAddr, request: &str) -> Response {
    let response = timeout(DEADLINE, exchange(address, request)).await.expect("a response in time");
    Response::parse(response.expect("a response")).expect("a response in HTTP")
}

pub(crate) async fn request(address: SocketAddr, method: &str, path: &str) -> Response {
    send(address, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path).await
}

/// The body of a response with status 200, if that is what comes. HTTP/1.0, so that it has no chunks.
pub(crate) async fn try_get(address: SocketAddr, path: &str) -> Option<String> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let response = timeout(DEADLINE, exchange(address, &request)).await.ok()?.ok()?;
    Response::parse(response).filter(|response| response.status == 200).map(|response| response.body().to_owned())
}

/// Sends GET requests until the response is as wanted.
pub(crate) async fn get_until(address: SocketAddr, path: &str, wanted: impl Fn(&Response) -> bool) -> Response {
    let response = answer_within(DEADLINE, async || Some(get(address, path).await).filter(&wanted)).await;
    response.unwrap_or_else(|| panic!("{path} does not become as wanted"))
}

/// The exposition, once it contains this text.
pub(crate) async fn metrics_with(address: SocketAddr, text: &str) -> String {
    get_until(address, "/metrics", |response| response.body().contains(text)).await.body().to_owned()
}
