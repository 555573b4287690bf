//! Owns the address at which other nodes reach this one.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};

/// What this machine's own name means, if others can use that; else the address of the interface that leads away from
/// it; else none: a machine without a network.
pub(crate) fn own_address() -> Option<IpAddr> {
    named().or_else(outward)
}

/// PBS itself needs nodes' names to mean addresses that other nodes reach.
fn named() -> Option<IpAddr> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let found: Vec<IpAddr> = (name.as_str(), 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    let usable = |ip: &&IpAddr| !ip.is_loopback() && !ip.is_unspecified() && is_here(**ip);
    let four = found.iter().filter(usable).find(|ip| ip.is_ipv4());
    four.or_else(|| found.iter().find(usable)).copied()
}

/// Where packets to far away would leave. None are sent; the address is one that is kept for documentation.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Whether this machine has that address: a name may be stale.
pub(crate) fn is_here(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_found_is_this_machines_and_not_only_its_own() {
        if let Some(ip) = own_address() {
            assert!(is_here(ip) && !ip.is_loopback(), "{ip}");
        }
        assert!(is_here("127.0.0.1".parse().unwrap()));
        assert!(!is_here("203.0.113.77".parse().unwrap()));
    }
}
