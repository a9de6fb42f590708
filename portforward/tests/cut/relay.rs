//! A relay for one connection, which cuts it behind a number of bytes of one direction.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// End of file both ways; within TLS that is one without its close_notify.
    Fin,
    /// A reset both ways.
    Rst,
    /// End of file in the counted direction; the other one goes on.
    HalfClose,
}

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub way: Way,
    pub after: usize,
    pub manner: Manner,
}

/// What passed, up and down.
pub type Passed = Arc<[Mutex<Vec<u8>>; 2]>;

/// How long the ends may take to go after a cut.
const AFTER: Duration = Duration::from_secs(8);

pub struct Relay {
    pub address: SocketAddr,
    pub passed: Passed,
    task: JoinHandle<io::Result<()>>,
}

impl Relay {
    pub async fn start(server: SocketAddr, cut: Option<Cut>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let passed = Passed::default();
        let task = tokio::spawn(relay(listener, server, cut, Arc::clone(&passed)));
        Ok(Self {
            address,
            passed,
            task,
        })
    }

    /// What passed in a direction until now.
    pub fn bytes(&self, way: Way) -> Vec<u8> {
        self.passed[way as usize].lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    listener: TcpListener,
    server: SocketAddr,
    cut: Option<Cut>,
    passed: Passed,
) -> io::Result<()> {
    let (client, _) = listener.accept().await?;
    drop(listener);
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let limit = |way| cut.filter(|cut| cut.way == way).map(|cut| cut.after);
    let mut up = Half::new(from_client, to_server, limit(Way::Up));
    let mut down = Half::new(from_server, to_client, limit(Way::Down));
    let manner = cut.map(|cut| cut.manner);
    let keep_going = manner == Some(Manner::HalfClose);
    {
        let up = up.pass(&passed[0], keep_going);
        let down = down.pass(&passed[1], keep_going);
        tokio::pin!(up, down);
        let (mut up_over, mut down_over) = (false, false);
        while !(up_over && down_over) {
            let over = tokio::select! {
                over = &mut up, if !up_over => { up_over = true; over }
                over = &mut down, if !down_over => { down_over = true; over }
            };
            match over {
                Over::Broken => break,
                Over::Cut if !keep_going => break,
                Over::Cut | Over::Ended => {}
            }
        }
    }
    match manner {
        Some(Manner::Rst) if up.cut || down.cut => {
            for half in [&up.to, &down.to] {
                let socket: &TcpStream = half.as_ref();
                socket.set_zero_linger()?;
            }
        }
        Some(Manner::Fin) if up.cut || down.cut => {
            drop(up.to.shutdown().await);
            drop(down.to.shutdown().await);
            // Read to the ends, or the kernel makes resets of what it holds.
            drop(timeout(AFTER, async { tokio::join!(up.discard(), down.discard()) }).await);
        }
        _ => {}
    }
    Ok(())
}

/// How a direction is over.
enum Over {
    Ended,
    Cut,
    /// One of its sides is gone: so is the whole connection.
    Broken,
}

struct Half {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    left: Option<usize>,
    cut: bool,
}

impl Half {
    fn new(from: OwnedReadHalf, to: OwnedWriteHalf, left: Option<usize>) -> Self {
        Self {
            from,
            to,
            left,
            cut: false,
        }
    }

    /// Until the end, or the cut.
    async fn pass(&mut self, passed: &Mutex<Vec<u8>>, half_close: bool) -> Over {
        let mut buffer = vec![0; 32 << 10];
        loop {
            if self.left == Some(0) {
                self.cut = true;
                if half_close {
                    drop(self.to.shutdown().await);
                    drop(timeout(AFTER, self.discard()).await);
                }
                return Over::Cut;
            }
            let most = self.left.unwrap_or(buffer.len()).min(buffer.len());
            match self.from.read(&mut buffer[..most]).await {
                Ok(n) if n > 0 => {
                    passed.lock().unwrap().extend_from_slice(&buffer[..n]);
                    self.left = self.left.map(|left| left - n);
                    if self.to.write_all(&buffer[..n]).await.is_err() {
                        return Over::Broken;
                    }
                }
                Ok(_) => {
                    drop(self.to.shutdown().await);
                    return Over::Ended;
                }
                Err(_) => {
                    // What broke on one side breaks on the other.
                    let socket: &TcpStream = self.to.as_ref();
                    drop(socket.set_zero_linger());
                    return Over::Broken;
                }
            }
        }
    }

    async fn discard(&mut self) {
        let mut buffer = vec![0; 32 << 10];
        while matches!(self.from.read(&mut buffer).await, Ok(n) if n > 0) {}
    }
}
