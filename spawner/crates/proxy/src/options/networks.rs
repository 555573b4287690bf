//! Whom to believe about where a request came from.

use std::net::IpAddr;

use anyhow::{Context, ensure};

/// The proxies in front of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    /// Whoever connects, as configurable-http-proxy does.
    Everybody,
    These(Vec<Network>),
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    start: IpAddr,
    bits: u8,
}

impl Trusted {
    /// From `10.0.0.0/8`, `::1`, and `none`.
    pub(super) fn parse(texts: &[String]) -> anyhow::Result<Self> {
        if texts.is_empty() {
            return Ok(Self::Everybody);
        }
        let some = texts.iter().filter(|text| *text != "none");
        Ok(Self::These(some.map(|text| Network::parse(text)).collect::<anyhow::Result<_>>()?))
    }

    /// `ip` is absent on a unix socket, which only the machine's own programs reach.
    pub(crate) fn includes(&self, ip: Option<IpAddr>) -> bool {
        match (self, ip) {
            (Self::Everybody, _) | (_, None) => true,
            (Self::These(networks), Some(ip)) => {
                networks.iter().any(|network| network.holds(ip.to_canonical()))
            }
        }
    }
}

impl Network {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let wanted =
            || format!("--trusted-proxy {text:?} is no address, network such as 10.0.0.0/8, or `none`");
        let (start, bits) = match text.split_once('/') {
            Some((start, bits)) => (start, Some(bits)),
            None => (text, None),
        };
        let start: IpAddr = start.parse().with_context(wanted)?;
        let all = if start.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse().with_context(wanted))?;
        ensure!(bits <= all, wanted());
        Ok(Self { start, bits })
    }

    fn holds(self, ip: IpAddr) -> bool {
        let (mine, other, all) = match (self.start, ip) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                (u128::from(mine.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => (mine.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        // Nothing is left of either where no bit counts.
        let shift = u32::from(all - self.bits);
        mine.checked_shr(shift).unwrap_or(0) == other.checked_shr(shift).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(texts: &[&str]) -> anyhow::Result<Trusted> {
        Trusted::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn includes(texts: &[&str], ip: &str) -> bool {
        trusted(texts).unwrap().includes(Some(ip.parse().unwrap()))
    }

    #[test]
    fn addresses_are_held_against_networks() {
        assert!(includes(&[], "1.2.3.4"));
        assert!(!includes(&["none"], "127.0.0.1"));
        assert!(trusted(&["none"]).unwrap().includes(None));
        let some = ["10.0.0.0/8", "192.168.1.7", "fd00::/16", "::/0"];
        assert!(includes(&some[..1], "10.200.0.1") && includes(&some[..1], "::ffff:10.1.1.1"));
        assert!(!includes(&some[..3], "11.0.0.1") && !includes(&some[..3], "192.168.1.8"));
        assert!(includes(&some[..3], "192.168.1.7") && includes(&some[..3], "fd00:1::2"));
        assert!(
            !includes(&some[..3], "fd01::1") && includes(&some, "fd01::1") && !includes(&some, "11.0.0.1")
        );
        assert!(includes(&["0.0.0.0/0"], "1.2.3.4"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "hub", "10.0.0.0/33", "10.0.0.0/x", "::1/129", "10.0.0"] {
            assert!(trusted(&[text]).is_err(), "{text}");
        }
    }
}
