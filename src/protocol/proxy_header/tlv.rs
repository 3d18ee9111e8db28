//! Type, length, value: what a header of version 2 says besides addresses.

use super::Malformed;

pub(super) const ALPN: u8 = 0x01;
pub(super) const AUTHORITY: u8 = 0x02;
pub(super) const CRC32C: u8 = 0x03;
pub(super) const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
pub(super) const NETNS: u8 = 0x30;

/// Most bytes of a unique id (section 2.2.5).
pub const MAX_UNIQUE_ID: usize = 128;
/// Bytes of an SSL TLV before its own TLVs: `client`, `verify`.
const SSL_FIXED: usize = 5;

/// What is passed on. Of a header's other TLVs only the form is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tlvs {
    /// The host that the client asked for, mostly its TLS server name.
    pub authority: Option<Box<str>>,
    /// The protocol that was agreed on, as ALPN names it.
    pub alpn: Option<Box<[u8]>>,
    /// Names the connection over several proxies; at most 128 bytes.
    pub unique_id: Option<Box<[u8]>>,
    /// Name of the network namespace that it came in on; ASCII.
    pub netns: Option<Box<str>>,
}

/// Reads the TLVs that begin at `start`, and checks the checksum if there is
/// one.
pub(super) fn read(whole: &[u8], start: usize) -> Result<Tlvs, Malformed> {
    let mut tlvs = Tlvs::default();
    let mut checksum = None;
    let mut at = start;
    while at < whole.len() {
        let (kind, value) = next(&whole[at..])?;
        let place = at + 3;
        at = place + value.len();
        match kind {
            ALPN => once(&mut tlvs.alpn, value.into())?,
            AUTHORITY => once(&mut tlvs.authority, text(value)?.into())?,
            UNIQUE_ID if value.len() <= MAX_UNIQUE_ID => once(&mut tlvs.unique_id, value.into())?,
            NETNS if value.is_ascii() => once(&mut tlvs.netns, text(value)?.into())?,
            UNIQUE_ID | NETNS => return Err(Malformed::TlvValue),
            CRC32C => {
                let said = value.try_into().map(u32::from_be_bytes).map_err(|_| Malformed::TlvValue)?;
                once(&mut checksum, (place, said))?;
            }
            SSL => {
                let mut inner = value.get(SSL_FIXED..).ok_or(Malformed::TlvBounds)?;
                while !inner.is_empty() {
                    inner = &inner[3 + next(inner)?.1.len()..];
                }
            }
            _ => {}
        }
    }
    match checksum {
        Some((place, said)) if checksum_of(whole, place) != said => Err(Malformed::Checksum),
        _ => Ok(tlvs),
    }
}

/// CRC32C of a header with the four bytes of the checksum taken as 0.
pub(super) fn checksum_of(whole: &[u8], place: usize) -> u32 {
    let before = crc32c::crc32c(&whole[..place]);
    let with = crc32c::crc32c_append(before, &[0; 4]);
    crc32c::crc32c_append(with, &whole[place + 4..])
}

fn next(bytes: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    let (&[kind, high, low], rest) = bytes.split_first_chunk::<3>().ok_or(Malformed::TlvBounds)?;
    let value = rest.get(..usize::from(u16::from_be_bytes([high, low]))).ok_or(Malformed::TlvBounds)?;
    Ok((kind, value))
}

/// What stands twice is not known to be either.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::TlvValue),
    }
}

fn text(value: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(value).map_err(|_| Malformed::TlvValue)
}
