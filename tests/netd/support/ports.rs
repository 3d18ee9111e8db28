//! Addresses for daemons that cannot be asked for the port they got.

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that the kernel gives to connections by itself, so that no
/// other test's connection can come in between (ip_local_port_range).
const RANGE: std::ops::Range<u16> = 20_000..32_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A loopback address that nothing uses, given out once in this process.
pub(crate) fn free() -> SocketAddr {
    let start = (std::process::id() % u32::from(RANGE.end - RANGE.start)) as u16;
    for _ in RANGE {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(7));
        let address = SocketAddr::from(([127, 0, 0, 1], RANGE.start + step % (RANGE.end - RANGE.start)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port in {RANGE:?}")
}
