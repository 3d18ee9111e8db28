//! What each source address has done lately, in bounded memory.
//!
//! A table of a fixed number of places, eight to a row; an address may stand
//! only in the row that its hash names. When a row is full, the source goes
//! that is the nearest to being forgotten anyway: an address that floods stays,
//! one that came once goes. A source that was pushed out begins anew with a
//! full burst, so a flood from very many addresses at once is limited less
//! strictly than one from few; the listener's own rate is for that.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use super::{Arrivals, Rate};

/// Places in a row.
const ROW: usize = 8;

/// Rates of sources.
#[derive(Debug)]
pub struct Sources {
    rows: Box<[[Place; ROW]]>,
    hasher: RandomState,
    prefix_v4: u8,
    prefix_v6: u8,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The network; 0 is a place that was never used, which does no harm: it
    /// is forgotten.
    source: u128,
    arrivals: Arrivals,
}

impl Sources {
    /// A table for about `capacity` sources (rounded up to a power of two, at
    /// least 8), 32 bytes each. Addresses that have `prefix_v4` or `prefix_v6`
    /// bits in common are one source.
    pub fn new(capacity: usize, prefix_v4: u8, prefix_v6: u8) -> Self {
        let rows = capacity.div_ceil(ROW).next_power_of_two();
        Self {
            rows: vec![[Place::default(); ROW]; rows].into_boxed_slice(),
            hasher: RandomState::new(),
            prefix_v4: prefix_v4.min(32),
            prefix_v6: prefix_v6.min(128),
        }
    }

    /// Bytes that it takes, whatever comes in.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.rows)
    }

    /// The source that an address belongs to.
    pub fn source(&self, address: IpAddr) -> u128 {
        source_of(address, self.prefix_v4, self.prefix_v6)
    }

    /// Whether one more from `address` is within `rate`; if so, it is counted.
    #[must_use]
    pub fn admit(&mut self, address: IpAddr, rate: Rate, now: Duration) -> bool {
        let source = self.source(address);
        let row = self.hasher.hash_one(source) as usize & (self.rows.len() - 1);
        let row = &mut self.rows[row];
        if let Some(place) = row.iter_mut().find(|place| place.source == source) {
            return place.arrivals.admit(rate, now);
        }
        let mut fresh = Place { source, arrivals: Arrivals::default() };
        let admitted = fresh.arrivals.admit(rate, now);
        if let Some(place) = row.iter_mut().min_by_key(|place| place.arrivals.full_at()) {
            *place = fresh;
        }
        admitted
    }

    /// Sources that are not forgotten, each with the time until it is.
    pub fn left(&self, now: Duration) -> impl Iterator<Item = (u128, Duration)> {
        let places = self.rows.iter().flatten();
        places.map(move |place| (place.source, place.arrivals.left(now))).filter(|(_, left)| !left.is_zero())
    }

    /// Takes on what another process has counted of `address`.
    pub fn resume(&mut self, address: IpAddr, left: Duration, now: Duration) {
        let source = self.source(address);
        let row = self.hasher.hash_one(source) as usize & (self.rows.len() - 1);
        let row = &mut self.rows[row];
        if let Some(place) = row.iter_mut().find(|place| place.source == source) {
            return place.arrivals.resume(left, now);
        }
        let mut fresh = Place { source, arrivals: Arrivals::default() };
        fresh.arrivals.resume(left, now);
        if let Some(place) = row.iter_mut().min_by_key(|place| place.arrivals.full_at())
            && place.arrivals.full_at() < fresh.arrivals.full_at()
        {
            *place = fresh;
        }
    }

    /// After what time one more from `address` would be within `rate`.
    pub fn wait(&self, address: IpAddr, rate: Rate, now: Duration) -> Duration {
        let source = self.source(address);
        let row = self.hasher.hash_one(source) as usize & (self.rows.len() - 1);
        let known = self.rows[row].iter().find(|place| place.source == source);
        known.map_or(Duration::ZERO, |place| place.arrivals.wait(rate, now))
    }
}

/// The source that an address belongs to, as a number: its first `prefix_v4`
/// or `prefix_v6` bits. IPv4 addresses written as IPv6 ones count as IPv4.
pub fn source_of(address: IpAddr, prefix_v4: u8, prefix_v6: u8) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_v4.min(32))).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).to_ipv6_mapped().to_bits()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_v6.min(128))).unwrap_or(0);
            address.to_bits() & mask
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_on_in_another_process() {
        let now = Duration::from_secs(10);
        let (mut before, mut after) = (Sources::new(64, 32, 64), Sources::new(64, 32, 64));
        for n in 1..=2 {
            assert!((0..5).all(|_| before.admit(address(n), rate(), now)));
        }
        assert!(before.admit(address(3), rate(), now - Duration::from_secs(8)));
        let left: Vec<(u128, Duration)> = before.left(now).collect();
        assert_eq!(left.len(), 2, "the third is forgotten");
        for n in 1..=2 {
            let (_, left) = left.iter().find(|(source, _)| *source == before.source(address(n))).unwrap();
            after.resume(address(n), *left, Duration::ZERO);
            assert!(!after.admit(address(n), rate(), Duration::ZERO));
        }
        assert!(after.admit(address(3), rate(), Duration::ZERO));
    }

    #[test]
    fn who_comes_from_another_process_takes_no_place_of_one_that_is_limited_longer() {
        let mut sources = Sources::new(1, 32, 64);
        let limited = |sources: &Sources, n| {
            let source = sources.source(address(n));
            sources.left(Duration::ZERO).any(|(each, _)| each == source)
        };
        (1..=ROW as u32).for_each(|n| sources.resume(address(n), Duration::from_secs(100), Duration::ZERO));
        sources.resume(address(101), Duration::from_secs(1), Duration::ZERO);
        assert!((1..=ROW as u32).all(|n| limited(&sources, n)) && !limited(&sources, 101));
        sources.resume(address(102), Duration::from_secs(200), Duration::ZERO);
        assert!(limited(&sources, 102));
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    fn rate() -> Rate {
        Rate::new(1, Duration::from_secs(1), 5).unwrap()
    }

    #[test]
    fn every_source_has_its_own_bucket() {
        let mut sources = Sources::new(1024, 32, 64);
        let now = Duration::from_secs(100);
        for n in 1..=20 {
            assert_eq!((0..10).filter(|_| sources.admit(address(n), rate(), now)).count(), 5, "{n}");
        }
        assert_eq!(sources.wait(address(1), rate(), now), Duration::from_secs(1));
        assert_eq!(sources.wait(address(99), rate(), now), Duration::ZERO);
    }

    #[test]
    fn a_network_can_be_one_source() {
        let mut sources = Sources::new(64, 24, 64);
        let now = Duration::from_secs(1);
        let admitted = (0..=255).filter(|n| sources.admit([192, 0, 2, *n].into(), rate(), now)).count();
        assert_eq!(admitted, 5);
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(sources.source(v6("2001:db8::1")), sources.source(v6("2001:db8::ffff:1")));
        assert_ne!(sources.source(v6("2001:db8:0:1::1")), sources.source(v6("2001:db8::1")));
        assert_eq!(sources.source(v6("::ffff:192.0.2.7")), sources.source(v6("192.0.2.9")));
    }

    #[test]
    fn a_million_sources_take_no_more_memory_and_one_that_floods_stays_limited() {
        let mut sources = Sources::new(65_536, 32, 64);
        let bytes = sources.bytes();
        assert!(bytes <= 65_536 * 48, "{bytes}");
        let flooder = address(0x0a00_0001);
        let mut admitted = 0;
        for n in 0..1_000_000u32 {
            let now = Duration::from_micros(u64::from(n));
            let _ = sources.admit(address(0x1000_0000 + n), rate(), now);
            if n % 10 == 0 {
                admitted += usize::from(sources.admit(flooder, rate(), now));
            }
        }
        assert_eq!(sources.bytes(), bytes);
        // In one second: a burst and one that was earned, of 100,000.
        assert!((5..=6).contains(&admitted), "{admitted}");
    }
}
