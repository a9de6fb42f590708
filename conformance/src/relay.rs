//! A TCP relay that stands before a server and can be cut.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Passes bytes on until it is cut or dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cut: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Starts a relay to `server` on a free port.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if theirs.cut.load(Ordering::SeqCst) {
                    return;
                }
                // A failed connection is closed, as by a server that is not there.
                drop(client.and_then(|client| relay(client, server, &theirs)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and accepts no more.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::SeqCst);
        for socket in self.shared.open().drain(..) {
            drop(socket.shutdown(Shutdown::Both)); // fails if it is closed already
        }
        // Wakes the listener up so that it goes away.
        drop(TcpStream::connect(self.address));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

fn relay(client: TcpStream, server: SocketAddr, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
        shared.open().push(socket.try_clone()?);
    }
    if shared.cut.load(Ordering::SeqCst) {
        server.shutdown(Shutdown::Both)?;
        return client.shutdown(Shutdown::Both);
    }
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            // However it ends, the other side learns of it.
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Write));
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn it_passes_on_until_it_is_cut() -> io::Result<()> {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = Relay::start(server.local_addr()?)?;
        let mut client = TcpStream::connect(relay.address())?;
        let (mut served, _) = server.accept()?;
        client.write_all(b"there")?;
        served.read_exact(&mut [0; 5])?;
        served.write_all(b"back")?;
        client.read_exact(&mut [0; 4])?;
        relay.cut();
        assert_eq!(client.read(&mut [0])?, 0);
        assert_eq!(served.read(&mut [0])?, 0);
        Ok(())
    }
}
