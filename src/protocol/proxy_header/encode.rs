//! Headers that netd sends.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Addresses, Tlvs,
    tlv::{ALPN, AUTHORITY, CRC32C, NETNS, UNIQUE_ID, checksum_of},
    v2::{FIXED, SIGNATURE, TCP4, TCP6},
};

/// Version 2, command PROXY.
const VERSION_AND_COMMAND: u8 = 0x21;
/// Version 2, command LOCAL.
const VERSION_AND_LOCAL: u8 = 0x20;

/// A header of version 1; `None`: `UNKNOWN`.
pub fn encode_v1(addresses: Option<Addresses>) -> Vec<u8> {
    let Some(Addresses { source, destination }) = addresses else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let (from, to) = (source.port(), destination.port());
    let line = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => format!("PROXY TCP4 {source} {destination} {from} {to}\r\n"),
        (source, destination) => format!("PROXY TCP6 {} {} {from} {to}\r\n", groups(source), groups(destination)),
    };
    line.into_bytes()
}

/// A header of version 2; no addresses: of an unspecified family. `checksum`:
/// with a CRC32C. Values too long for a header are left out.
pub fn encode_v2(addresses: Option<Addresses>, tlvs: &Tlvs, checksum: bool) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.push(VERSION_AND_COMMAND);
    match addresses.map(|each| (each, each.source.ip(), each.destination.ip())) {
        None => bytes.extend([0, 0, 0]),
        Some((each, IpAddr::V4(source), IpAddr::V4(destination))) => {
            bytes.extend([TCP4, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            ports(&mut bytes, each);
        }
        Some((each, source, destination)) => {
            bytes.extend([TCP6, 0, 0]);
            bytes.extend(wide(source).octets());
            bytes.extend(wide(destination).octets());
            ports(&mut bytes, each);
        }
    }
    // Without addresses they begin at once.
    let text = |text: &Option<Box<str>>| text.as_deref().map(|text| text.as_bytes().to_vec());
    for (kind, value) in [
        (ALPN, tlvs.alpn.as_deref().map(<[u8]>::to_vec)),
        (AUTHORITY, text(&tlvs.authority)),
        (UNIQUE_ID, tlvs.unique_id.as_deref().map(<[u8]>::to_vec)),
        (NETNS, text(&tlvs.netns)),
    ] {
        if let Some(value) = value {
            tlv(&mut bytes, kind, &value);
        }
    }
    let place = checksum.then(|| {
        tlv(&mut bytes, CRC32C, &[0; 4]);
        bytes.len() - 4
    });
    let length = u16::try_from(bytes.len() - FIXED).unwrap_or(u16::MAX);
    bytes[FIXED - 2..FIXED].copy_from_slice(&length.to_be_bytes());
    if let Some(place) = place {
        let sum = checksum_of(&bytes, place);
        bytes[place..].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// A header of version 2 of a connection that is netd's own: command LOCAL,
/// unspecified family, nothing else. The receiver takes the addresses of the
/// socket.
pub fn encode_v2_local() -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([VERSION_AND_LOCAL, 0, 0, 0]);
    bytes
}

fn ports(bytes: &mut Vec<u8>, addresses: Addresses) {
    bytes.extend(addresses.source.port().to_be_bytes());
    bytes.extend(addresses.destination.port().to_be_bytes());
}

fn tlv(bytes: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // Room for the checksum behind it.
    const MOST: usize = u16::MAX as usize - 7;
    if bytes.len() + 3 + value.len() > FIXED + MOST {
        return;
    }
    let Ok(length) = u16::try_from(value.len()) else { return };
    bytes.push(kind);
    bytes.extend(length.to_be_bytes());
    bytes.extend(value);
}

fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The specification knows groups of hexadecimal digits alone, no IPv4 tail.
fn groups(ip: IpAddr) -> String {
    let ip = wide(ip);
    match ip.to_ipv4_mapped() {
        None => ip.to_string(),
        Some(_) => ip.segments().map(|group| format!("{group:x}")).join(":"),
    }
}
