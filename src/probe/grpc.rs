//! `grpc.health.v1.Health/Check` over HTTP/2 without TLS: one request, written
//! whole, and as much of the answer's frames (RFC 9113) as it takes to know.
//! Header blocks of the answer are not decoded: what counts is in the message.

use super::talk::{Judgement, excerpt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const STREAM: u32 = 1;
/// The path of the method.
const PATH: &str = "/grpc.health.v1.Health/Check";
/// No frame that is sent before the answer may be longer (the default of
/// SETTINGS_MAX_FRAME_SIZE).
const LONGEST: usize = 16 * 1024;

/// The whole request: preface, settings, header, message.
pub(super) fn request(service: &str, authority: &str) -> Vec<u8> {
    let mut header = vec![0x83, 0x86]; // :method POST, :scheme http (RFC 7541, appendix A)
    literal(&mut header, &[0x04], PATH); // :path
    literal(&mut header, &[0x01], authority); // :authority
    literal(&mut header, &[0x0f, 0x10], "application/grpc"); // content-type
    header.push(0x00);
    string(&mut header, "te");
    string(&mut header, "trailers");
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a); // field 1, length-delimited
        varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let mut body = vec![0]; // not compressed
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&message);
    let mut out = PREFACE.to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    frame(&mut out, HEADERS, END_HEADERS, STREAM, &header);
    frame(&mut out, DATA, END_STREAM, STREAM, &body);
    out
}

/// Judges the frames that came.
pub(super) fn judge(received: &[u8]) -> Judgement {
    let (mut rest, mut first, mut body) = (received, true, Vec::new());
    loop {
        let Some((head, behind)) = rest.split_first_chunk::<9>() else { return Judgement::More };
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if (first && kind != SETTINGS) || length > LONGEST {
            return Judgement::Bad(format!("it answered {}, which is not HTTP/2", excerpt(received)));
        }
        let Some((payload, behind)) = behind.split_at_checked(length) else { return Judgement::More };
        let ours = u32::from_be_bytes(stream) & 0x7fff_ffff == STREAM;
        match kind {
            DATA if ours => {
                let Some(data) = without_padding(payload, flags) else { return broken() };
                body.extend_from_slice(data);
                if let Some(judgement) = message(&body) {
                    return judgement;
                }
                if flags & END_STREAM != 0 {
                    return broken();
                }
            }
            HEADERS if ours && flags & END_STREAM != 0 => {
                return Judgement::Bad("it answered an error: it knows no such service, or no health check".to_owned());
            }
            RST_STREAM if ours => return Judgement::Bad("it refused the request (RST_STREAM)".to_owned()),
            GOAWAY => return Judgement::Bad("it takes no requests (GOAWAY)".to_owned()),
            _ => {}
        }
        (rest, first) = (behind, false);
    }
}

fn broken() -> Judgement {
    Judgement::Bad("its answer is not that of grpc.health.v1".to_owned())
}

/// Judges the message, once it is whole.
fn message(body: &[u8]) -> Option<Judgement> {
    let ([compressed, length @ ..], rest) = body.split_first_chunk::<5>()?;
    let message = rest.get(..u32::from_be_bytes(*length) as usize)?;
    if *compressed != 0 {
        return Some(broken());
    }
    // ServingStatus is field 1; left out it is 0.
    let status = match message {
        [] => 0,
        [0x08, status, ..] => *status,
        _ => return Some(broken()),
    };
    Some(match status {
        1 => Judgement::Good,
        2 => Judgement::Bad("it answered NOT_SERVING".to_owned()),
        3 => Judgement::Bad("it answered SERVICE_UNKNOWN".to_owned()),
        _ => Judgement::Bad("it answered UNKNOWN".to_owned()),
    })
}

fn without_padding(payload: &[u8], flags: u8) -> Option<&[u8]> {
    if flags & PADDED == 0 {
        return Some(payload);
    }
    let (padding, data) = payload.split_first()?;
    data.len().checked_sub(usize::from(*padding)).map(|length| &data[..length])
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A header field without indexing whose name is in the static table.
fn literal(out: &mut Vec<u8>, name: &[u8], value: &str) {
    out.extend_from_slice(name);
    string(out, value);
}

/// A string of HPACK, not compressed: its length with a prefix of 7 bits.
fn string(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..127) => out.push(length),
        _ => {
            out.push(127);
            varint(out, text.len().saturating_sub(127));
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Seven bits a byte, the lowest first.
fn varint(out: &mut Vec<u8>, mut number: usize) {
    while number >= 128 {
        out.push((number % 128) as u8 | 128);
        number /= 128;
    }
    out.push(number as u8);
}
