//! One connection to the simulated IMDS.
//!
//! Owns the order of reading, waiting and delivering. Must not know the rules of IMDS.

use std::io;
use std::num::NonZeroU8;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::acceptor::Service;
use super::answer::{Answer, Delivery};
use super::imds::{Reply, SharedImds, USUAL_HOP_LIMIT};
use super::imds_request::ImdsRequests;

impl Service for SharedImds {
    async fn serve(&self, stream: &mut TcpStream) -> io::Result<()> {
        let client = stream.peer_addr()?;
        self.lock().counts.connections += 1;
        let mut requests = ImdsRequests::new(stream);
        let mut hop_limit = USUAL_HOP_LIMIT;
        loop {
            let request = match requests.next().await {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return requests.stream().write_all(&Answer::error(400).encode(false, false)).await;
                }
                read => read?,
            };
            let delay = self.lock().count(&request, client);
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let reply = self.lock().reply(&request);
            // It holds until the next request: what is lost is sent again, and must be lost again.
            if reply.hop_limit != hop_limit {
                limit_hops(requests.stream(), reply.hop_limit)?;
                hop_limit = reply.hop_limit;
            }
            deliver(&mut requests, &reply, request.method == "HEAD").await?;
            if !reply.keeps_open() {
                return Ok(());
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

async fn deliver(requests: &mut ImdsRequests<'_>, reply: &Reply, head_only: bool) -> io::Result<()> {
    let bytes = reply.answer.encode(reply.keep_alive, head_only);
    let (piece_bytes, pause) = match reply.delivery {
        Delivery::Pieces(count, pause) => (bytes.len().div_ceil(count), pause),
        Delivery::BytePerSecond => (1, Duration::from_secs(1)),
        Delivery::Cut => {
            // The answer to `HEAD` has no body of which a part could be missing.
            let missing = if head_only { 0 } else { reply.answer.body.len().div_ceil(2) };
            return requests.stream().write_all(&bytes[..bytes.len() - missing]).await;
        }
        Delivery::Instead(other) => return requests.stream().write_all(other).await,
        Delivery::Never => return requests.ended().await,
        Delivery::Close => return Ok(()),
        Delivery::Reset => return requests.stream().set_zero_linger(),
    };
    for (index, piece) in bytes.chunks(piece_bytes).enumerate() {
        if index > 0 {
            sleep(pause).await;
        }
        requests.stream().write_all(piece).await?;
    }
    Ok(())
}
