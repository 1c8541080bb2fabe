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
use super::answer::{Answer, Delivery, Framing};
use super::endpoint::Endpoint;
use super::imds::{Imds, Reply};
use super::request::{Requests, Unreadable};
use super::settings::USUAL_HOP_LIMIT;

const DRIP_PERIOD: Duration = Duration::from_secs(1);

/// What is spoken on the simulated IMDS's connections.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) imds: Arc<Imds>,
}

impl Service for Connection {
    async fn serve(&self, stream: &mut TcpStream) {
        self.imds.count_connection();
        let mut requests = Requests::new(stream);
        let mut hop_limit = USUAL_HOP_LIMIT;
        loop {
            let request = match requests.next().await {
                Ok((request, _)) => request,
                Err(Unreadable::Malformed) => {
                    let framing = Framing { server: "EC2ws", date: None, keep_alive: false, head_only: false };
                    let _ = requests.stream.write_all(&Answer::error(400).encode(&framing)).await;
                    return;
                }
                Err(Unreadable::TooLarge | Unreadable::Gone) => return,
            };
            let endpoint = Endpoint::of(&request);
            let delay = self.imds.count(&request, &endpoint);
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let reply = self.imds.reply(&request, &endpoint);
            // It holds until the next request: what is lost is sent again, and must be lost again.
            if reply.hop_limit != hop_limit {
                if limit_hops(requests.stream, reply.hop_limit).is_err() {
                    return;
                }
                hop_limit = reply.hop_limit;
            }
            match deliver(&mut requests, reply).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
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

/// Delivers the reply, and tells whether the connection stays open.
async fn deliver(requests: &mut Requests<'_>, reply: Reply) -> io::Result<bool> {
    let bytes = reply.answer.encode(&reply.framing);
    match reply.delivery {
        Delivery::Whole => {
            requests.stream.write_all(&bytes).await?;
            return Ok(reply.framing.keep_alive);
        }
        Delivery::Drip => {
            for byte in bytes.chunks(1) {
                requests.stream.write_all(byte).await?;
                sleep(DRIP_PERIOD).await;
            }
            return Ok(reply.framing.keep_alive);
        }
        Delivery::Cut => {
            // The answer to `HEAD` has no body of which a part could be missing.
            let missing = if reply.framing.head_only { 0 } else { reply.answer.body.len().div_ceil(2) };
            let cut = bytes.len() - missing;
            requests.stream.write_all(&bytes[..cut]).await?;
        }
        Delivery::Instead(other) => requests.stream.write_all(other).await?,
        Delivery::Never => requests.ended().await,
        Delivery::Close => {}
        Delivery::Reset => requests.stream.set_zero_linger()?,
    }
    Ok(false)
}
