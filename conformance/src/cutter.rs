//! A TCP relay that cuts a connection behind a number of bytes, once for each time it is armed.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    time::timeout,
};

/// How long the ends may take to go after a cut.
const AFTER: Duration = Duration::from_secs(8);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// An end of file both ways, without the end of TLS inside.
    Fin,
    /// A reset both ways.
    Rst,
    /// An end of file in the counted direction only.
    HalfClose,
}

/// A cut to come.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// What is counted.
    pub way: Way,
    /// Bytes that pass before.
    pub after: usize,
    /// How.
    pub manner: Manner,
}

/// Passes bytes on until it is dropped.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    cut: Option<Cut>,
    passed: [usize; 2],
    /// The newest connection: the only one that counts.
    newest: usize,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cutter {
    /// Starts a relay to `server` on a free port.
    pub fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let state = Arc::<Mutex<State>>::default();
        let theirs = Arc::clone(&state);
        let (listening, address) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = accept(server, &theirs, &listening) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address.recv().context("the relay does not listen")?;
        Ok(Self {
            address,
            state,
            _stop: stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts anew from here, on the newest connection; one that comes later takes its place.
    pub fn arm(&self, cut: Option<Cut>) {
        let mut state = lock(&self.state);
        (state.cut, state.passed) = (cut, [0; 2]);
    }

    /// Whether the cut has been made.
    #[must_use]
    pub fn has_cut(&self) -> bool {
        lock(&self.state).cut.is_none()
    }

    /// Bytes that passed since it was armed.
    #[must_use]
    pub fn passed(&self, way: Way) -> usize {
        lock(&self.state).passed[way as usize]
    }
}

async fn accept(
    server: SocketAddr,
    state: &Arc<Mutex<State>>,
    listening: &mpsc::Sender<SocketAddr>,
) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    if listening.send(listener.local_addr()?).is_err() {
        return Ok(());
    }
    loop {
        let (client, _) = listener.accept().await?;
        let number = {
            let mut state = lock(state);
            state.passed = [0; 2];
            state.newest += 1;
            state.newest
        };
        tokio::spawn(relay(client, server, number, Arc::clone(state)));
    }
}

async fn relay(
    client: TcpStream,
    server: SocketAddr,
    number: usize,
    state: Arc<Mutex<State>>,
) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mut up, mut down) = ((from_client, to_server), (from_server, to_client));
    let cut = {
        let up = pass(&mut up, Way::Up, number, &state);
        let down = pass(&mut down, Way::Down, number, &state);
        tokio::pin!(up, down);
        tokio::select! {
            cut = &mut up => match cut { None => down.await, cut => cut },
            cut = &mut down => match cut { None => up.await, cut => cut },
        }
    };
    match cut {
        Some(Manner::Rst) => {
            for to in [&up.1, &down.1] {
                let socket: &TcpStream = to.as_ref();
                socket.set_zero_linger()?;
            }
        }
        Some(Manner::Fin) => {
            drop(up.1.shutdown().await);
            drop(down.1.shutdown().await);
            // Read to the ends, or the kernel makes resets of what it holds.
            let (up, down) = (discard(&mut up.0), discard(&mut down.0));
            drop(timeout(AFTER, async { tokio::join!(up, down) }).await);
        }
        Some(Manner::HalfClose) | None => {}
    }
    Ok(())
}

/// Until the end, or the cut.
async fn pass(
    (from, to): &mut (OwnedReadHalf, OwnedWriteHalf),
    way: Way,
    number: usize,
    state: &Mutex<State>,
) -> Option<Manner> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let Ok(came) = from.read(&mut buffer).await else {
            let socket: &TcpStream = (*to).as_ref();
            drop(socket.set_zero_linger());
            return None;
        };
        if came == 0 {
            drop(to.shutdown().await);
            return None;
        }
        let (passes, cut) = {
            let mut state = lock(state);
            let counts = state.newest == number;
            let cut = state.cut.filter(|cut| counts && cut.way == way);
            let left = cut.map(|cut| cut.after - state.passed[way as usize]);
            let passes = came.min(left.unwrap_or(came));
            if counts {
                state.passed[way as usize] += passes;
            }
            let cut = cut.filter(|_| left.is_some_and(|left| left <= came));
            if cut.is_some() {
                state.cut = None;
            }
            (passes, cut)
        };
        if to.write_all(&buffer[..passes]).await.is_err() {
            return None;
        }
        match cut.map(|cut| cut.manner) {
            None => {}
            Some(Manner::HalfClose) => {
                drop(to.shutdown().await);
                drop(timeout(AFTER, discard(from)).await);
                // The other direction goes on.
                return None;
            }
            manner => return manner,
        }
    }
}

async fn discard(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; 32 << 10];
    while matches!(from.read(&mut buffer).await, Ok(n) if n > 0) {}
}
