//! Version 1, section 2.1 of the specification: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, Malformed, Parsed, Tlvs};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// Most bytes of a line with its CR and LF.
pub(super) const MAX: usize = 107;

/// Whether a line of version 1 may begin so.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    let common = bytes.len().min(SIGNATURE.len());
    bytes[..common] == SIGNATURE[..common]
}

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    if !may_begin(bytes) {
        return Err(Malformed::Signature);
    }
    let seen = &bytes[..bytes.len().min(MAX)];
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if seen.len() < MAX { Ok(Parsed::Partial) } else { Err(Malformed::LineEnd) };
    };
    match seen[end..] {
        [b'\r'] if seen.len() < MAX => Ok(Parsed::Partial),
        [b'\r', b'\n', ..] => {
            let addresses = line(&seen[SIGNATURE.len().min(end)..end])?;
            let header = Header { local: false, addresses, tlvs: Tlvs::default() };
            Ok(Parsed::Whole { length: end + 2, header })
        }
        _ => Err(Malformed::LineEnd),
    }
}

/// What stands behind `PROXY `.
fn line(line: &[u8]) -> Result<Option<Addresses>, Malformed> {
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        // Anything that follows is to be ignored.
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Malformed::Line);
    let (family, source, destination, source_port, destination_port) = (word()?, word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(Malformed::Line);
    }
    let read = match family {
        "TCP4" => |text: &str| text.parse::<Ipv4Addr>().map(IpAddr::V4),
        "TCP6" => |text: &str| text.parse::<Ipv6Addr>().map(IpAddr::V6),
        _ => return Err(Malformed::Line),
    };
    let address = |ip: &str, port: &str| {
        let ip = read(ip).map_err(|_| Malformed::Address)?;
        Ok(SocketAddr::new(ip.to_canonical(), self::port(port)?))
    };
    let (source, destination) = (address(source, source_port)?, address(destination, destination_port)?);
    Ok(Some(Addresses { source, destination }))
}

fn port(text: &str) -> Result<u16, Malformed> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(Malformed::Port);
    }
    text.parse().map_err(|_| Malformed::Port)
}
