//! Which addresses a cluster may name as its dashboard's. The rules are plain functions; resolving is at the end.
//!
//! This service stands on the hub's machine, so what it connects to on somebody's word must be neither the hub nor
//! anything else that only this machine can reach, unless that somebody is on this machine too.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use axum::http::{HeaderMap, Uri};

const RESOLVE_LIMIT: Duration = Duration::from_secs(3);
const ADDRESSES_MAX: usize = 4;
/// Lower ports are for the system's own services, which no user's dashboard is.
const USER_PORTS_FROM: u16 = 1024;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("dashboard must be http://HOST:PORT and nothing else")]
    NotAnAddress,
    #[error("port {0} cannot be a dashboard's: it belongs to the system or to the hub")]
    Port(u16),
    #[error("{0} is not an address that a dashboard can have")]
    NotAHost(IpAddr),
    #[error(
        "{0} is an address of the hub's own machine, and the registration came from elsewhere; a cluster that \
         listens on loopback can be seen only from the machine it runs on"
    )]
    HubsMachine(IpAddr),
    #[error("the name {0} has no address here")]
    Unknown(String),
}

/// Where a registration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CameFrom {
    ThisMachine,
    Elsewhere,
}

impl CameFrom {
    /// Requests through the proxy come from loopback too, but not from a process here; it marks them.
    pub(crate) fn of(peer: SocketAddr, headers: &HeaderMap) -> Self {
        let is_forwarded =
            ["x-forwarded-for", "forwarded", "x-real-ip"].iter().any(|name| headers.contains_key(*name));
        if !is_forwarded && is_of_this_machine(peer.ip().to_canonical()) {
            Self::ThisMachine
        } else {
            Self::Elsewhere
        }
    }
}

/// Host and port of `http://HOST:PORT`.
pub(crate) fn parse(dashboard: &str) -> Result<(String, u16), AddressError> {
    let wrong = || AddressError::NotAnAddress;
    if dashboard.len() > 300 || dashboard.contains('#') {
        return Err(wrong());
    }
    let uri: Uri = dashboard.parse().map_err(|_| wrong())?;
    let authority = uri.authority().ok_or_else(wrong)?;
    let is_plain = uri.scheme_str() == Some("http")
        && !authority.as_str().contains('@')
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none();
    let port = authority.port_u16().ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_host = host.parse::<IpAddr>().is_ok()
        || (!host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)));
    if is_plain && is_host { Ok((host.to_owned(), port)) } else { Err(wrong()) }
}

/// Says whether a dashboard may be at `address`. `is_here`: whether the address is this machine's.
pub(crate) fn judge(
    address: SocketAddr,
    is_here: bool,
    from: CameFrom,
    own_ports: &[u16],
) -> Result<(), AddressError> {
    let (ip, port) = (address.ip(), address.port());
    if port < USER_PORTS_FROM || (is_here && own_ports.contains(&port)) {
        return Err(AddressError::Port(port));
    }
    let is_link_local = match ip {
        // Cloud machines answer questions about their secrets there.
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() || is_link_local {
        return Err(AddressError::NotAHost(ip));
    }
    if is_here && from == CameFrom::Elsewhere {
        return Err(AddressError::HubsMachine(ip));
    }
    Ok(())
}

/// Every address that `host` has, each of them allowed. Names are resolved once, here; what is used later is
/// an address.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    from: CameFrom,
    own_ports: &[u16],
) -> Result<Vec<SocketAddr>, AddressError> {
    let unknown = || AddressError::Unknown(host.to_owned());
    let found = tokio::time::timeout(RESOLVE_LIMIT, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| unknown())?.map_err(|_| unknown())?;
    let addresses: Vec<_> =
        found.map(|a| SocketAddr::new(a.ip().to_canonical(), a.port())).take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(unknown());
    }
    for address in &addresses {
        judge(*address, is_of_this_machine(address.ip()), from, own_ports)?;
    }
    Ok(addresses)
}

/// Only an own address can be bound; asking the kernel needs no list of interfaces.
fn is_of_this_machine(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || (!ip.is_multicast() && UdpSocket::bind((ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_addresses_are_read() {
        assert_eq!(parse("http://node7.cluster:41234"), Ok(("node7.cluster".into(), 41234)));
        assert_eq!(parse("http://10.0.0.7:41234/"), Ok(("10.0.0.7".into(), 41234)));
        assert_eq!(parse("http://[fd00::7]:41234"), Ok(("fd00::7".into(), 41234)));
        for bad in [
            "https://node7:41234",
            "http://node7",
            "http://user@node7:41234",
            "http://node7:41234/api",
            "http://node7:41234?x",
            "node7:41234",
            "http://:41234",
            "http://no de:1",
            "http://node7:99999",
            "http://node7:41234#x",
            "file:///etc/passwd",
            "",
            "http://node_7%0d:4000",
        ] {
            assert_eq!(parse(bad), Err(AddressError::NotAnAddress), "{bad}");
        }
    }

    #[test]
    fn the_hubs_machine_is_believed_only_from_itself_and_its_ports_never() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own = [8081, 8092];
        let judge = |text: &str, is_here, from| judge(at(text), is_here, from, &own);
        assert_eq!(judge("10.0.0.7:41234", false, CameFrom::Elsewhere), Ok(()));
        assert_eq!(judge("127.0.0.1:41234", true, CameFrom::ThisMachine), Ok(()));
        assert!(matches!(
            judge("127.0.0.1:41234", true, CameFrom::Elsewhere),
            Err(AddressError::HubsMachine(_))
        ));
        assert!(matches!(judge("[::1]:41234", true, CameFrom::Elsewhere), Err(AddressError::HubsMachine(_))));
        assert_eq!(judge("127.0.0.1:8081", true, CameFrom::ThisMachine), Err(AddressError::Port(8081)));
        assert_eq!(
            judge("10.0.0.7:8081", false, CameFrom::Elsewhere),
            Ok(()),
            "another machine's port is its own"
        );
        assert_eq!(judge("10.0.0.7:22", false, CameFrom::Elsewhere), Err(AddressError::Port(22)));
        for ip in [
            "169.254.169.254:8000",
            "0.0.0.0:8000",
            "224.0.0.1:8000",
            "[fe80::1]:8000",
            "255.255.255.255:8000",
        ] {
            assert!(
                matches!(judge(ip, false, CameFrom::ThisMachine), Err(AddressError::NotAHost(_))),
                "{ip}"
            );
        }
    }

    #[test]
    fn what_came_through_a_proxy_did_not_come_from_here() {
        let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(CameFrom::of(peer, &headers), CameFrom::ThisMachine);
        assert_eq!(CameFrom::of("[::ffff:127.0.0.1]:5".parse().unwrap(), &headers), CameFrom::ThisMachine);
        // 192.0.2.0/24 is for documentation, so nobody's machine has an address there.
        assert_eq!(CameFrom::of("192.0.2.1:5".parse().unwrap(), &headers), CameFrom::Elsewhere);
        headers.insert("x-forwarded-for", "127.0.0.1".parse().unwrap());
        assert_eq!(CameFrom::of(peer, &headers), CameFrom::Elsewhere);
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_points_to() {
        let refused = resolve("localhost", 41234, CameFrom::Elsewhere, &[]).await;
        assert!(matches!(refused, Err(AddressError::HubsMachine(_))), "{refused:?}");
        assert!(!resolve("localhost", 41234, CameFrom::ThisMachine, &[]).await.unwrap().is_empty());
        let unknown = resolve("no-such-host.invalid", 41234, CameFrom::Elsewhere, &[]).await;
        assert_eq!(unknown, Err(AddressError::Unknown("no-such-host.invalid".into())));
        // Other spellings of loopback are loopback.
        for spelling in ["127.1", "2130706433", "::ffff:127.0.0.1"] {
            assert!(resolve(spelling, 41234, CameFrom::Elsewhere, &[]).await.is_err(), "{spelling}");
        }
    }
}
