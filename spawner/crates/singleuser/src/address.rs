//! Where the user server listens, and whether the one that listens there is ours.
//!
//! A free port is found by binding it and letting it go again, so another user of the node may take it first and
//! collect what the hub sends there. The kernel knows whose socket listens: nothing is reported before it says
//! that it is ours.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use anyhow::Context;

/// The address this node uses towards `service`, or that of `bind`.
pub(crate) fn choose(bind: Option<&str>, service: &reqwest::Url) -> anyhow::Result<IpAddr> {
    if let Some(name) = bind {
        let address = resolve(name, 0)?;
        TcpListener::bind((address, 0))
            .with_context(|| format!("--bind {name}: {address} is not this node's"))?;
        return Ok(address);
    }
    let host = service.host_str().context("the service's address has no host")?;
    let port = service.port_or_known_default().context("the service's address has no port")?;
    let target = SocketAddr::new(resolve(host.trim_matches(['[', ']']), port)?, port);
    let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a datagram socket sends nothing: it only asks the routing table.
    let socket = UdpSocket::bind((any, 0)).context("cannot open a socket")?;
    socket.connect(target).with_context(|| format!("this node has no route to the service at {target}"))?;
    Ok(socket.local_addr().context("cannot tell this node's own address")?.ip())
}

fn resolve(name: &str, port: u16) -> anyhow::Result<IpAddr> {
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let mut found: Vec<IpAddr> = (name, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve the host name {name}"))?
        .map(|address| address.ip())
        .collect();
    // The hub's side is more likely to speak IPv4 too.
    found.sort_by_key(IpAddr::is_ipv6);
    found.first().copied().with_context(|| format!("the host name {name} has no address"))
}

pub(crate) fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((address, 0)).with_context(|| format!("cannot bind a port on {address}"))?;
    Ok(listener.local_addr().context("cannot tell the port that was bound")?.port())
}

/// Who listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Nobody,
    Ours,
    /// Another user, by number.
    Other(u32),
}

/// Reads the kernel's own tables, which show every socket of this network namespace with its owner.
pub(crate) fn listener(address: IpAddr, port: u16) -> anyhow::Result<Listener> {
    let own = nix::unistd::getuid().as_raw();
    let mut found = Listener::Nobody;
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = match std::fs::read_to_string(path) {
            Ok(table) => table,
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.ends_with('6') => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        for uid in owners(&table, address, port) {
            if uid != own {
                return Ok(Listener::Other(uid));
            }
            found = Listener::Ours;
        }
    }
    Ok(found)
}

/// The users that listen on `port` of `address`, or of all addresses.
fn owners(table: &str, address: IpAddr, port: u16) -> Vec<u32> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_ascii_whitespace().collect();
            let (local, state, uid) = (columns.get(1)?, columns.get(3)?, columns.get(7)?);
            let (local_address, local_port) = local.split_once(':')?;
            let local_address = parse_address(local_address)?;
            let is_listening = *state == "0A";
            let is_port = u16::from_str_radix(local_port, 16).ok()? == port;
            let is_address = local_address == address || local_address.is_unspecified();
            (is_listening && is_port && is_address).then(|| uid.parse().ok()).flatten()
        })
        .collect()
}

/// Hexadecimal words in the machine's byte order; an IPv4 address in IPv6 clothes is the IPv4 address.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words: Vec<u32> = (0..text.len() / 8)
        .map(|index| u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok())
        .collect::<Option<_>>()?;
    match words.as_slice() {
        [word] => Some(IpAddr::from(word.to_ne_bytes())),
        [_, _, _, _] => {
            let mut bytes = [0; 16];
            for (chunk, word) in bytes.chunks_exact_mut(4).zip(&words) {
                chunk.copy_from_slice(&word.to_ne_bytes());
            }
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_listener_is_ours() {
        let address: IpAddr = [127, 0, 0, 1].into();
        let listener_socket = TcpListener::bind((address, 0)).unwrap();
        let port = listener_socket.local_addr().unwrap().port();
        assert_eq!(listener(address, port).unwrap(), Listener::Ours);
        drop(listener_socket);
        assert_eq!(listener(address, port).unwrap(), Listener::Nobody);
    }

    #[test]
    fn owners_are_read_from_the_kernel_s_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1\n\
            1: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 2 1\n\
            2: 0100007F:1F92 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1003        0 3 1\n";
        let local: IpAddr = [127, 0, 0, 1].into();
        assert_eq!(owners(table, local, 8080), [1001]);
        assert_eq!(owners(table, [10, 0, 0, 1].into(), 8080), [] as [u32; 0]);
        assert_eq!(owners(table, [10, 0, 0, 1].into(), 8081), [1002], "all addresses");
        assert_eq!(owners(table, local, 8082), [] as [u32; 0], "a connection is no listener");
    }

    #[test]
    fn addresses_are_in_the_machine_s_byte_order() {
        assert_eq!(parse_address("0100007F"), Some([127, 0, 0, 1].into()));
        assert_eq!(parse_address("0000000000000000FFFF00000100007F"), Some([127, 0, 0, 1].into()));
        assert_eq!(parse_address("00000000000000000000000001000000"), Some(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(parse_address("01"), None);
    }

    #[test]
    fn the_service_s_side_decides_the_address() {
        let url = reqwest::Url::parse("http://127.0.0.1:8092/services/nuna").unwrap();
        assert_eq!(choose(None, &url).unwrap(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(choose(Some("127.0.0.1"), &url).unwrap(), IpAddr::from([127, 0, 0, 1]));
        let error = choose(Some("192.0.2.1"), &url).unwrap_err();
        assert!(error.to_string().contains("is not this node's"), "{error:#}");
    }
}
