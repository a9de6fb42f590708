//! Local listeners (PROTOCOL.md 6.3): bound before any call to the cluster, listening only once the
//! session stands, so that nobody can connect to a forward that does not work yet.
//!
//! A departure from kubectl: a port in use on one family of `localhost` is an error and no partial
//! success, unless `--allow-partial`. A half-bound `localhost` lets another program answer in our
//! place.

use crate::exit::{Exit, Failure, Hop};
use crate::holder;
use crate::output::Output;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use tokio::net::TcpListener;

/// How often another free port is tried when the first address's choice is taken on the next.
const FREE_PORT_TRIES: u32 = 16;
/// As Go asks for; the kernel lowers it to what it allows.
const BACKLOG: i32 = 4096;

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// As the user wrote it, for the announcement.
    text: String,
    ip: IpAddr,
    /// From `localhost`: skipped if this machine has no such family.
    optional: bool,
}

/// Reads the values of `--address`.
///
/// # Errors
/// In kubectl's words.
pub(crate) fn addresses(values: &[String]) -> Result<Vec<Address>, Failure> {
    let mut found: BTreeMap<String, Address> = BTreeMap::new();
    for text in values {
        if text == "localhost" {
            for ip in [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ] {
                let text = ip.to_string();
                found.entry(text.clone()).or_insert(Address {
                    text,
                    ip,
                    optional: true,
                });
            }
            continue;
        }
        let ip: IpAddr = text.parse().map_err(|_| {
            Failure::usage(format!(
                "{} is not a valid IP",
                portforward::escape::line(text)
            ))
            .advise("give --address IP addresses or localhost, separated by commas")
        })?;
        // An IPv4 address in IPv6 clothes is an IPv4 address.
        let ip = ip.to_canonical();
        let text = text.clone();
        found.insert(
            text.clone(),
            Address {
                text,
                ip,
                optional: false,
            },
        );
    }
    // kubectl goes by the text; one address written in two ways would be in its own way.
    let mut addresses: Vec<Address> = Vec::new();
    for address in found.into_values() {
        match addresses.iter_mut().find(|known| known.ip == address.ip) {
            Some(known) => known.optional &= address.optional,
            None => addresses.push(address),
        }
    }
    if addresses.is_empty() {
        return Err(Failure::usage("you must specify at least 1 address"));
    }
    Ok(addresses)
}

/// The warning about listening where others can connect, if that is so.
pub(crate) fn exposure(addresses: &[Address]) -> Option<String> {
    let open: Vec<&str> = addresses
        .iter()
        .filter(|address| !address.ip.is_loopback())
        .map(|address| address.text.as_str())
        .collect();
    (!open.is_empty()).then(|| {
        format!(
            "warning: listening on {}: whoever reaches this machine there reaches the pod, unauthenticated",
            open.join(", ")
        )
    })
}

/// A port reserved on its addresses, not yet listening.
#[derive(Debug)]
pub(crate) struct Bound {
    port: NonZeroU16,
    sockets: Vec<(String, Socket)>,
}

/// Reserves one port (`None`: any free one) on all addresses.
///
/// # Errors
/// Exit code 5, naming the address and, if it can be found out, who has it.
pub(crate) fn bind(
    addresses: &[Address],
    port: Option<NonZeroU16>,
    partial: bool,
    output: &Output,
) -> Result<Bound, Failure> {
    let mut tries = if port.is_none() { FREE_PORT_TRIES } else { 1 };
    loop {
        tries = tries.saturating_sub(1);
        match bind_once(addresses, port, partial && tries == 0, output) {
            // Chosen by the first address, taken on another: a fresh choice may do.
            Err(fault) if tries > 0 && fault.chosen.is_some() => {}
            Err(fault) => return Err(fault.into_failure()),
            Ok(bound) => return Ok(bound),
        }
    }
}

fn bind_once(
    addresses: &[Address],
    port: Option<NonZeroU16>,
    partial: bool,
    output: &Output,
) -> Result<Bound, Fault> {
    let mut chosen = port;
    let mut sockets = Vec::with_capacity(addresses.len());
    let mut faults: Vec<Fault> = Vec::new();
    for address in addresses {
        match reserve(address.ip, chosen) {
            Ok((socket, port)) => {
                chosen = Some(port);
                sockets.push((address.text.clone(), socket));
            }
            Err(error) => faults.push(Fault {
                address: address.clone(),
                port: chosen.map_or(0, NonZeroU16::get),
                chosen: if port.is_none() { chosen } else { None },
                error,
            }),
        }
    }
    // A family this machine lacks is no fault while another address works; a taken port is.
    faults.retain(|fault| {
        let skip = !sockets.is_empty() && fault.address.optional && (fault.is_absence() || partial);
        if skip && !fault.is_absence() {
            output.note(format!("warning: {}", fault.text()));
        }
        !skip
    });
    match (chosen, faults.into_iter().next()) {
        (_, Some(fault)) => Err(fault),
        (Some(port), None) => Ok(Bound { port, sockets }),
        // Only without any address, which `addresses` rules out.
        (None, None) => Err(Fault {
            address: Address {
                text: String::new(),
                ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
                optional: false,
            },
            port: 0,
            chosen: None,
            error: io::ErrorKind::InvalidInput.into(),
        }),
    }
}

fn reserve(ip: IpAddr, port: Option<NonZeroU16>) -> io::Result<(Socket, NonZeroU16)> {
    let address = SocketAddr::new(ip, port.map_or(0, NonZeroU16::get));
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Or connections of a forward just ended would keep its port for a minute. On Windows the flag
    // means something else: to share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    let port = socket
        .local_addr()?
        .as_socket()
        .and_then(|address| NonZeroU16::new(address.port()))
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    Ok((socket, port))
}

impl Bound {
    pub(crate) const fn port(&self) -> NonZeroU16 {
        self.port
    }

    /// Starts to listen, and tells so on stdout as kubectl does, one line for each address.
    ///
    /// # Errors
    /// As [`bind`]: two programs may reserve one port, but only one can listen on it.
    pub(crate) fn listen(
        self,
        remote: NonZeroU16,
        output: &Output,
    ) -> Result<Vec<TcpListener>, Failure> {
        let mut listeners = Vec::with_capacity(self.sockets.len());
        for (text, socket) in self.sockets {
            let listener = socket
                .listen(BACKLOG)
                .and_then(|()| TcpListener::from_std(socket.into()))
                .map_err(|error| {
                    let ip = text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                    let address = Address {
                        text: text.clone(),
                        ip,
                        optional: false,
                    };
                    Fault {
                        address,
                        port: self.port.get(),
                        chosen: None,
                        error,
                    }
                    .into_failure()
                })?;
            listeners.push((text, listener));
        }
        Ok(listeners
            .into_iter()
            .map(|(text, listener)| {
                let local = join(&text, self.port.get());
                output.line(format!("Forwarding from {local} -> {remote}"));
                listener
            })
            .collect())
    }
}

/// `host:port` with brackets where the host has colons.
fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A listener that could not be opened.
#[derive(Debug)]
struct Fault {
    address: Address,
    port: u16,
    /// The port, if it was chosen by an earlier address.
    chosen: Option<NonZeroU16>,
    error: io::Error,
}

impl Fault {
    /// This machine has no such address (or family of addresses).
    fn is_absence(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrNotAvailable
            || matches!(self.error.raw_os_error(), Some(code) if is_no_family(code))
    }

    fn text(&self) -> String {
        // Half of kubectl's sentence, with the cause in the system's words.
        format!(
            "Unable to listen on port {}: unable to create listener: {}: {}",
            self.port,
            join(&self.address.text, self.port),
            cause(&self.error)
        )
    }

    fn into_failure(self) -> Failure {
        let failure = Failure::new(Exit::Bind, Hop::Local, self.text());
        let other = "or forward another local port: OTHER:REMOTE, or :REMOTE for any free one";
        match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                let who = holder::find(self.address.ip, self.port).map_or_else(
                    || "end the program that has the port".to_owned(),
                    |holder| format!("end {holder}"),
                );
                let partial = if self.address.optional {
                    "; --allow-partial goes on with the other address family"
                } else {
                    ""
                };
                failure.advise(format!("{who}, {other}{partial}"))
            }
            io::ErrorKind::PermissionDenied => failure.advise(format!(
                "low ports need privileges on this system; {}",
                other.trim_start_matches("or ")
            )),
            io::ErrorKind::AddrNotAvailable => {
                failure.advise("give --address an address that this machine has")
            }
            _ => failure,
        }
    }
}

/// Why a port cannot be listened on.
pub(crate) fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(unix)]
fn is_no_family(code: i32) -> bool {
    [
        rustix::io::Errno::AFNOSUPPORT,
        rustix::io::Errno::PROTONOSUPPORT,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}

#[cfg(not(unix))]
const fn is_no_family(code: i32) -> bool {
    // WSAEAFNOSUPPORT, WSAEPROTONOSUPPORT.
    matches!(code, 10047 | 10043)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[&str]) -> Vec<(String, bool)> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        addresses(&values)
            .unwrap()
            .into_iter()
            .map(|address| (address.text, address.optional))
            .collect()
    }

    fn quiet() -> Output {
        Output::new(0).unwrap()
    }

    #[test]
    fn addresses_as_kubectl_reads_them() {
        let own = |list: &[(&str, bool)]| -> Vec<(String, bool)> {
            list.iter()
                .map(|(text, optional)| ((*text).to_owned(), *optional))
                .collect()
        };
        let local = own(&[("127.0.0.1", true), ("::1", true)]);
        assert_eq!(texts(&["localhost"]), local);
        assert_eq!(texts(&["localhost", "localhost"]), local);
        assert_eq!(
            texts(&["localhost", "10.19.21.23"]),
            own(&[("10.19.21.23", false), ("127.0.0.1", true), ("::1", true)])
        );
        // What is named on its own must work.
        let strict = own(&[("127.0.0.1", false), ("::1", true)]);
        assert_eq!(texts(&["localhost", "127.0.0.1"]), strict);
        assert_eq!(texts(&["127.0.0.1", "localhost"]), strict);
        assert_eq!(texts(&["::"]), own(&[("::", false)]));
        assert_eq!(
            texts(&["0:0:0:0:0:0:0:1", "::1"]),
            own(&[("0:0:0:0:0:0:0:1", false)])
        );
    }

    #[test]
    fn bad_addresses() {
        for value in [
            "",
            "example.com",
            "1.2.3",
            "1.2.3.4.5",
            "::1%lo",
            "[::1]",
            "127.0.0.1:80",
        ] {
            let failure = addresses(&[value.to_owned()]).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(
                failure
                    .to_string()
                    .starts_with(&format!("error: {value} is not a valid IP"))
            );
        }
        assert!(addresses(&[]).is_err());
    }

    #[test]
    fn exposure_is_told() {
        let of = |value: &str| exposure(&addresses(&[value.to_owned()]).unwrap());
        assert_eq!(of("localhost"), None);
        assert_eq!(of("127.0.0.2"), None);
        assert!(of("0.0.0.0").unwrap().contains("0.0.0.0"));
        assert!(of("::").unwrap().starts_with("warning: "));
    }

    /// T28: somebody sits on one family.
    #[tokio::test]
    async fn a_squatter_on_one_family_is_an_error() {
        let Ok(squatter) = std::net::TcpListener::bind("[::1]:0") else {
            return; // no IPv6 here: nothing to test
        };
        let port = NonZeroU16::new(squatter.local_addr().unwrap().port());
        let localhost = addresses(&["localhost".to_owned()]).unwrap();
        let failure = bind(&localhost, port, false, &quiet()).unwrap_err();
        assert_eq!(failure.exit, Exit::Bind);
        let text = failure.to_string();
        assert!(
            text.contains(&format!("[::1]:{}: address already in use", port.unwrap())),
            "{text}"
        );
        assert!(text.contains("--allow-partial"), "{text}");

        let bound = bind(&localhost, port, true, &quiet()).unwrap();
        assert_eq!(bound.sockets.len(), 1);
        // Named on its own, the address must work even so.
        let both = addresses(&["localhost".to_owned(), "::1".to_owned()]).unwrap();
        assert!(bind(&both, port, true, &quiet()).is_err());
    }

    #[tokio::test]
    async fn reserved_is_not_listening() {
        let one = addresses(&["127.0.0.1".to_owned()]).unwrap();
        let bound = bind(&one, None, false, &quiet()).unwrap();
        let address = ("127.0.0.1", bound.port().get());
        assert!(std::net::TcpStream::connect(address).is_err());
        let remote = NonZeroU16::new(80).unwrap();
        let listeners = bound.listen(remote, &quiet()).unwrap();
        assert_eq!(listeners.len(), 1);
        assert!(std::net::TcpStream::connect(address).is_ok());
    }

    #[tokio::test]
    async fn a_free_port_is_the_same_everywhere() {
        let addresses = addresses(&["127.0.0.1".to_owned(), "127.0.0.2".to_owned()]).unwrap();
        let bound = bind(&addresses, None, false, &quiet()).unwrap();
        for (_, socket) in &bound.sockets {
            assert_eq!(
                socket.local_addr().unwrap().as_socket().unwrap().port(),
                bound.port().get()
            );
        }
    }

    #[test]
    fn an_address_of_another_machine() {
        let other = addresses(&["203.0.113.1".to_owned()]).unwrap();
        let failure = bind(&other, None, false, &quiet()).unwrap_err();
        assert_eq!(failure.exit, Exit::Bind);
        assert!(failure.to_string().contains("this machine"), "{failure}");
    }
}
