//! One connection to the simulated IMDS.
//!
//! Owns the order of reading, waiting and delivering. Must not know the rules of IMDS.

use std::io;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::acceptor::Service;
use super::answer::{Answer, Delivery};
use super::endpoint::Endpoint;
use super::imds::{Imds, Reply, USUAL_HOP_LIMIT};
use super::request::{Requests, Unreadable};

/// What is spoken on the simulated IMDS's connections.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) imds: Arc<Imds>,
}

impl Service for Connection {
    async fn serve(&self, stream: &mut TcpStream) {
        let Ok(client) = stream.peer_addr() else { return };
        self.imds.count_connection();
        let mut requests = Requests::new(stream);
        let mut hop_limit = USUAL_HOP_LIMIT;
        loop {
            let request = match requests.next().await {
                Ok((request, _)) => request,
                Err(Unreadable::Malformed) => {
                    let _ = requests.stream.write_all(&Answer::error(400).encode(false, false)).await;
                    return;
                }
                Err(Unreadable::TooLarge | Unreadable::Gone) => return,
            };
            let endpoint = Endpoint::of(&request);
            let delay = self.imds.count(&request, endpoint, client);
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let reply = self.imds.reply(&request, endpoint);
            // It holds until the next request: what is lost is sent again, and must be lost again.
            if reply.hop_limit != hop_limit {
                if limit_hops(requests.stream, reply.hop_limit).is_err() {
                    return;
                }
                hop_limit = reply.hop_limit;
            }
            let head_only = request.method == "HEAD";
            if deliver(&mut requests, &reply, head_only).await.is_err() || !reply.keeps_open() {
                return;
            }
        }
    }
}

/// Lets packets pass this many hops.
fn limit_hops(stream: &TcpStream, limit: NonZeroU8) -> io::Result<()> {
    let (socket, limit) = (SockRef::from(stream), limit.get().into());
    // A socket of both families has IPv4 peers too.
    if stream.local_addr()?.ip().to_canonical().is_ipv4() {
        socket.set_ttl_v4(limit)
    } else {
        socket.set_unicast_hops_v6(limit)
    }
}

async fn deliver(requests: &mut Requests<'_>, reply: &Reply, head_only: bool) -> io::Result<()> {
    let bytes = reply.answer.encode(reply.keep_alive, head_only);
    let in_pieces = async |stream: &mut TcpStream, size: usize, pause: Duration| {
        for (index, piece) in bytes.chunks(size).enumerate() {
            if index > 0 {
                sleep(pause).await;
            }
            stream.write_all(piece).await?;
        }
        Ok(())
    };
    match reply.delivery {
        Delivery::Pieces(count, pause) => in_pieces(requests.stream, bytes.len().div_ceil(count), pause).await,
        Delivery::BytePerSecond => in_pieces(requests.stream, 1, Duration::from_secs(1)).await,
        Delivery::Cut => {
            // The answer to `HEAD` has no body of which a part could be missing.
            let missing = if head_only { 0 } else { reply.answer.body.len().div_ceil(2) };
            requests.stream.write_all(&bytes[..bytes.len() - missing]).await
        }
        Delivery::Instead(other) => requests.stream.write_all(other).await,
        Delivery::Never => {
            requests.ended().await;
            Ok(())
        }
        Delivery::Close => Ok(()),
        Delivery::Reset => requests.stream.set_zero_linger(),
    }
}
