//! Who listens on a local port: for the message about a port in use. Best effort, Linux only.

use std::net::IpAddr;

/// `process NAME (pid N)` of the program that has `ip:port`, if it may be known.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn find(_ip: IpAddr, _port: u16) -> Option<String> {
    None
}

/// `process NAME (pid N)` of the program that has `ip:port`, if it may be known.
#[cfg(target_os = "linux")]
pub(crate) fn find(ip: IpAddr, port: u16) -> Option<String> {
    let inodes = linux::listening_inodes(ip, port);
    let pid = linux::owner(&inodes)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = portforward::escape::line(name.trim());
    Some(format!("process {name} (pid {pid})"))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// Sockets in state LISTEN on the port, at this address or at any.
    pub(super) fn listening_inodes(ip: IpAddr, port: u16) -> Vec<String> {
        ["/proc/net/tcp", "/proc/net/tcp6"]
            .into_iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .flat_map(|table| inodes(&table, ip, port))
            .collect()
    }

    pub(super) fn inodes(table: &str, ip: IpAddr, port: u16) -> Vec<String> {
        let line = |line: &str| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else {
                return None;
            };
            let (address, number) = local.split_once(':')?;
            let (address, number) = (address_of(address)?, u16::from_str_radix(number, 16).ok()?);
            let same = number == port && (address == ip || address.is_unspecified());
            same.then(|| inode.to_owned())
        };
        table.lines().filter_map(line).collect()
    }

    /// The kernel prints each 32-bit word of an address in the byte order of the machine.
    fn address_of(hex: &str) -> Option<IpAddr> {
        let word = |at: usize| {
            let end = at.checked_add(8)?;
            let word = u32::from_str_radix(hex.get(at..end)?, 16).ok()?;
            Some(word.to_ne_bytes())
        };
        match hex.len() {
            8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
            32 => {
                let mut bytes = [0; 16];
                for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                    part.copy_from_slice(&word(at.checked_mul(8)?)?);
                }
                Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
            }
            _ => None,
        }
    }

    /// The first process with one of these sockets open. Other users' processes cannot be looked
    /// into without privileges.
    pub(super) fn owner(inodes: &[String]) -> Option<u32> {
        if inodes.is_empty() {
            return None;
        }
        let wanted: Vec<String> = inodes
            .iter()
            .map(|inode| format!("socket:[{inode}]"))
            .collect();
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .find_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let mut files = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten();
                files
                    .any(|file| {
                        std::fs::read_link(file.path()).ok().is_some_and(|to| {
                            wanted
                                .iter()
                                .any(|socket| to.as_os_str() == socket.as_str())
                        })
                    })
                    .then_some(pid)
            })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn finds_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = find(IpAddr::V4(Ipv4Addr::LOCALHOST), port).unwrap();
        assert!(
            text.ends_with(&format!("(pid {})", std::process::id())),
            "{text}"
        );
        drop(listener);
        assert_eq!(find(IpAddr::V4(Ipv4Addr::LOCALHOST), port), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:1F90 0100007F:E000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n\
             2: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4713 1 0\n\
             3: 00000000:1F92 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4714 1 0\n";
        let find = |ip: &str, port| linux::inodes(table, ip.parse().unwrap(), port);
        assert_eq!(find("127.0.0.1", 8080), ["4711"]);
        assert_eq!(find("::1", 8081), ["4713"]);
        assert_eq!(find("127.0.0.1", 8082), ["4714"]);
        assert!(find("127.0.0.1", 8081).is_empty());
        assert!(find("127.0.0.2", 8080).is_empty());
    }
}
