//! Between a gateway that is in order and the judge's own node: what the gateway asks, what it has read behind the
//! node's 101, and where it goes.

use super::http::{HEAD, Head};
use super::middle::LIFE;
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener as Bound};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// What a fault does there.
#[derive(Clone, Copy)]
pub enum LegB {
    /// Heads of requests.
    Request(fn(&mut Head)),
    /// What came in one piece with the head of a 101.
    Behind(fn(&mut Vec<u8>)),
    /// A redirect of the node is followed.
    Follow,
    /// The node is asked again after a redirect.
    Again,
}

/// Begins to stand before a node; where.
pub(super) fn stand_before(node: SocketAddr, act: LegB) -> std::io::Result<SocketAddr> {
    let listener = Bound::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(timeout(LIFE, async move {
        while let Ok((gateway, _)) = listener.accept().await {
            tokio::spawn(timeout(LIFE, stand_between(gateway, node, act)));
        }
    }));
    Ok(address)
}

async fn stand_between(mut gateway: TcpStream, node: SocketAddr, act: LegB) -> std::io::Result<()> {
    let (mut request, body) = head(&mut gateway).await?;
    if let LegB::Request(change) = act {
        change(&mut request);
    }
    let asked = [request.bytes(), body].concat();
    let (mut far, mut answer, mut behind) = ask(node, &asked).await?;
    if (300..400).contains(&answer.status()) {
        match act {
            LegB::Follow => {
                let (place, path) = place(answer.get("location")).ok_or(ErrorKind::InvalidData)?;
                let mut words: Vec<&str> = request.first.split(' ').collect();
                if let Some(target) = words.get_mut(1) {
                    *target = &path;
                }
                request.first = words.join(" ");
                (far, answer, behind) = ask(place, &request.bytes()).await?;
            }
            LegB::Again => (far, answer, behind) = ask(node, &asked).await?,
            LegB::Request(_) | LegB::Behind(_) => {}
        }
    }
    if let (LegB::Behind(change), 101) = (act, answer.status()) {
        change(&mut behind);
    }
    // In one piece, as it came.
    gateway
        .write_all(&[answer.bytes(), behind].concat())
        .await?;
    copy_bidirectional(&mut gateway, &mut far).await?;
    Ok(())
}

/// Connects and asks; the head of the answer, and what came in one piece with it.
async fn ask(place: SocketAddr, request: &[u8]) -> std::io::Result<(TcpStream, Head, Vec<u8>)> {
    let mut far = TcpStream::connect(place).await?;
    far.set_nodelay(true)?;
    far.write_all(request).await?;
    let (answer, behind) = head(&mut far).await?;
    Ok((far, answer, behind))
}

/// A head, and what came in one piece with its end.
async fn head(from: &mut TcpStream) -> std::io::Result<(Head, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(HEAD);
    loop {
        if from.read_buf(&mut bytes).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some((head, length)) = Head::parse(&bytes) {
            return Ok((head, bytes.split_off(length)));
        }
        if bytes.len() > HEAD {
            return Err(Error::other("a head that is too long"));
        }
    }
}

/// Address and path of a `Location`.
fn place(location: &str) -> Option<(SocketAddr, String)> {
    let rest = location.strip_prefix("http://")?;
    let (address, path) = rest.split_once('/')?;
    Some((address.parse().ok()?, format!("/{path}")))
}
