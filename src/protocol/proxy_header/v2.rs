//! Version 2, section 2.2 of the specification: binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, MAX_LENGTH, Malformed, Parsed, Tlvs, tlv};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
pub(super) const FIXED: usize = 16;
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;

/// Whether a header of version 2 may begin so.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let common = bytes.len().min(SIGNATURE.len());
    bytes[..common] == SIGNATURE[..common]
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if !may_begin(bytes) {
        return Err(Malformed::Signature);
    }
    // What is wrong is refused before more of it is waited for.
    let local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(byte) if byte >> 4 == 2 => return Err(Malformed::Command),
        Some(_) => return Err(Malformed::Version),
    };
    let Some(&family) = bytes.get(13) else { return Ok(Parsed::Partial) };
    // The family of a LOCAL header is to be ignored.
    let addresses = if local { 0 } else { addresses_length(family)? };
    let Some(&[high, low]) = bytes.get(14..FIXED) else { return Ok(Parsed::Partial) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < addresses {
        return Err(Malformed::TooShort);
    }
    if FIXED + length > MAX_LENGTH {
        return Err(Malformed::TooLong);
    }
    let Some(whole) = bytes.get(..FIXED + length) else { return Ok(Parsed::Partial) };
    let header = if local { Header { local, ..Header::default() } } else { proxied(whole, family, addresses)? };
    Ok(Parsed::Whole { length: whole.len(), header })
}

/// Bytes of the addresses of a family with its transport protocol. Bytes that
/// the specification does not list must be refused.
fn addresses_length(family: u8) -> Result<usize, Malformed> {
    match family {
        0x00 => Ok(0),
        TCP4 | 0x12 => Ok(12),
        TCP6 | 0x22 => Ok(36),
        0x31 | 0x32 => Ok(216),
        _ => Err(Malformed::Family),
    }
}

fn proxied(whole: &[u8], family: u8, addresses: usize) -> Result<Header, Malformed> {
    if family == 0 {
        // Address information of an unknown length may stand before the TLVs.
        return Ok(Header::default());
    }
    let tlvs = tlv::read(whole, FIXED + addresses)?;
    let block = &whole[FIXED..FIXED + addresses];
    // UDP and Unix sockets are valid and not served here: as if unspecified.
    let addresses = match family {
        TCP4 => split::<4>(block, |ip| Ipv4Addr::from(ip).into()),
        TCP6 => split::<16>(block, |ip| Ipv6Addr::from(ip).to_canonical()),
        _ => None,
    };
    let tlvs = if addresses.is_some() { tlvs } else { Tlvs::default() };
    Ok(Header { local: false, addresses, tlvs })
}

/// Two addresses of N bytes, then two ports.
fn split<const N: usize>(block: &[u8], ip: impl Fn([u8; N]) -> IpAddr) -> Option<Addresses> {
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, ports) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = *ports.first_chunk::<4>()?;
    Some(Addresses {
        source: SocketAddr::new(ip(*source), u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(ip(*destination), u16::from_be_bytes([c, d])),
    })
}
