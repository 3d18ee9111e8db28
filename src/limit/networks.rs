//! Lists of networks: is this address in one of them? A binary search over
//! sorted ranges, so that a list of a hundred thousand is as good as one of
//! ten.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An address and the number of its bits that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of `address` with the first `prefix` bits in common; the
    /// bits behind are cleared. `None` if there are not so many bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(_) if prefix > 32 => return None,
            IpAddr::V6(_) if prefix > 128 => return None,
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Some(Self { address, prefix })
    }

    /// Whether the address is in it. IPv4 addresses written as IPv6 ones
    /// (`::ffff:1.2.3.4`) count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.prefix) == Some(*self)
    }

    /// First and last address, of IPv4 addresses as numbers below 2^32.
    fn range(&self) -> (u128, u128) {
        let (first, bits) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let free = bits - u32::from(self.prefix);
        (first, first | (1u128.checked_shl(free).unwrap_or(0).wrapping_sub(1)))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or an address alone. Bits behind
    /// the prefix must be 0: else it is likely that something else was meant.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{text}` is no network; write `10.0.0.0/8`, `2001:db8::/32` or an address"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|&bits: &u8| bits <= most && prefix.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| format!("`{text}`: the prefix of {address} is a number from 0 to {most}"))?,
        };
        let network = Self::new(address, prefix).ok_or_else(|| format!("`{text}` is no network"))?;
        if network.address == address {
            Ok(network)
        } else {
            Err(format!("`{text}` has bits set behind its prefix; the network is `{network}`"))
        }
    }
}

/// A set of networks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the address is in one of them. IPv4 addresses written as IPv6
    /// ones count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, address) = match address.to_canonical() {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits())),
            IpAddr::V6(address) => (&self.v6, address.to_bits()),
        };
        let after = ranges.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|index| address <= ranges[index].1)
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            if network.address.is_ipv4() { &mut v4 } else { &mut v6 }.push(network.range());
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }
}

/// Sorted, with those that overlap or touch made one.
fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let joins = next.0 <= before.1.saturating_add(1);
        if joins {
            before.1 = before.1.max(next.1);
        }
        joins
    });
    ranges.shrink_to_fit();
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read_and_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.7/32", "2001:db8::/32", "::/0", "::1/128"] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.168.1.7").to_string(), "192.168.1.7/32");
        for (text, hint) in [
            ("10.0.0.1/8", "`10.0.0.0/8`"),
            ("10.0.0.0/33", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("::/129", "0 to 128"),
            ("localhost", "no network"),
            ("10.0.0.0/", "0 to 32"),
        ] {
            assert!(text.parse::<Network>().unwrap_err().contains(hint), "{text}");
        }
    }

    #[test]
    fn ipv4_in_ipv6_is_ipv4() {
        let networks: Networks = [network("10.0.0.0/8")].into_iter().collect();
        assert!(networks.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(network("10.0.0.0/8").contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!networks.contains("::10.1.2.3".parse().unwrap()));
        assert!(!network("::/0").contains("10.1.2.3".parse().unwrap()));
    }

    #[test]
    fn the_ends_of_the_world() {
        let networks: Networks = [network("0.0.0.0/0"), network("::/0")].into_iter().collect();
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(networks.contains(address.parse().unwrap()), "{address}");
        }
        assert!(!Networks::default().contains("0.0.0.0".parse().unwrap()));
        assert!(Networks::default().is_empty());
    }

    #[test]
    fn neighbours_become_one() {
        let networks: Networks = (0..=255u8).map(|n| Network::new([10, 0, 0, n].into(), 32).unwrap()).collect();
        assert_eq!(networks.v4.len(), 1);
    }

    proptest! {
        #[test]
        fn the_set_says_what_its_members_say(
            members in prop::collection::vec((any::<u32>(), 0..=32u8), 0..40),
            wide in prop::collection::vec((any::<u128>(), 0..=128u8), 0..40),
            probes in prop::collection::vec(any::<(u32, u128)>(), 1..50),
        ) {
            let v4 = members.iter().filter_map(|(bits, prefix)| Network::new(Ipv4Addr::from_bits(*bits).into(), *prefix));
            let v6 = wide.iter().filter_map(|(bits, prefix)| Network::new(Ipv6Addr::from_bits(*bits).into(), *prefix));
            let all: Vec<Network> = v4.chain(v6).collect();
            let set: Networks = all.iter().copied().collect();
            let ends = all.iter().flat_map(|network| {
                let (first, last) = network.range();
                [first, last].map(|at| match network.address {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(at as u32)),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(at)),
                })
            });
            let random = probes.iter().flat_map(|(v4, v6)| {
                [IpAddr::V4(Ipv4Addr::from_bits(*v4)), IpAddr::V6(Ipv6Addr::from_bits(*v6))]
            });
            for address in random.chain(ends) {
                prop_assert_eq!(set.contains(address), all.iter().any(|network| network.contains(address)), "{}", address);
            }
        }
    }
}
