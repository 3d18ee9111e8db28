use proptest::{collection::vec, option, prelude::*};

use super::*;

fn whole(bytes: &[u8]) -> Header {
    match parse(bytes, Accepts::Any) {
        Ok(Parsed::Whole { length, header }) if length == bytes.len() => header,
        other => panic!("{other:?}"),
    }
}

fn refused(bytes: &[u8]) -> Malformed {
    parse(bytes, Accepts::Any).expect_err("no header")
}

fn between(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

/// A header of version 2 with this command, family and rest.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = v2::SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

const TCP4_BLOCK: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdb, 0xfc, 0x01, 0xbb];

/// Version 2 over TCP4 with these TLVs.
fn with_tlvs(tlvs: &[u8]) -> Vec<u8> {
    v2(0x21, 0x11, &[&TCP4_BLOCK, tlvs].concat())
}

#[test]
fn the_lines_of_the_specification() {
    // Sections 2.1 and 2.3: examples, and the longest of each kind.
    assert_eq!(
        whole(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n").addresses,
        between("255.255.255.255:65535", "255.255.255.255:65535")
    );
    let longest = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                    ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let everywhere = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    assert_eq!((longest.len(), whole(longest).addresses), (104, between(everywhere, everywhere)));
    assert_eq!(whole(b"PROXY UNKNOWN\r\n"), Header::default());
    let worst = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                  ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!((worst.len(), whole(worst)), (v1::MAX, Header::default()));
    let request = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    let Ok(Parsed::Whole { length, header }) = parse(request, Accepts::V1) else { panic!() };
    assert_eq!(&request[length..length + 5], b"GET /");
    assert_eq!(header.addresses, between("192.168.0.1:56324", "192.168.0.11:443"));
}

#[test]
fn version_1_is_taken_word_for_word() {
    assert_eq!(whole(b"PROXY TCP6 ::1 2001:DB8::2 0 1\r\n").addresses, between("[::1]:0", "[2001:db8::2]:1"));
    assert_eq!(
        whole(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n").addresses,
        between("192.0.2.1:1", "192.0.2.2:2")
    );
    for (line, why) in [
        (&b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"[..], Malformed::LineEnd),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\rx", Malformed::LineEnd),
        (b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Malformed::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Malformed::Line),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", Malformed::Line),
        (b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        (b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        (b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        (b"PROXY UNKNOWNX\r\n", Malformed::Line),
        (b"PROXY \r\n", Malformed::Line),
        (b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", Malformed::Address),
        (b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n", Malformed::Address),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", Malformed::Address),
        (b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Address),
        (b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n", Malformed::Address),
        (b"PROXY TCP6 [::1] ::1 1 2\r\n", Malformed::Address),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", Malformed::Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Malformed::Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Malformed::Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 -2\r\n", Malformed::Port),
        (b"PROXYTCP4", Malformed::Signature),
        (b"proxy ", Malformed::Signature),
        (b"GET / HTTP/1.1\r\n", Malformed::Signature),
        (b"POST / HTTP/1.1\r\n", Malformed::Signature),
        (b"\x16\x03\x01", Malformed::Signature),
        (b"\r\n\r\n\r\n", Malformed::Signature),
    ] {
        assert_eq!(refused(line), why, "{}", line.escape_ascii());
    }
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    assert_eq!(parse(&endless[..v1::MAX - 1], Accepts::Any), Ok(Parsed::Partial));
    assert_eq!(refused(&endless[..v1::MAX]), Malformed::LineEnd, "no more is waited for");
    let late = [&endless[..v1::MAX - 1], b"\r\n"].concat();
    assert_eq!(refused(&late), Malformed::LineEnd);
}

#[test]
fn version_2_by_its_fields() {
    let addresses = between("192.0.2.1:56316", "198.51.100.2:443");
    assert_eq!(whole(&with_tlvs(&[])), Header { addresses, ..Header::default() });
    let block = [&[0x20; 16][..], &[0x30; 16], &[0, 1, 0, 2]].concat();
    assert_eq!(
        whole(&v2(0x21, 0x21, &block)).addresses,
        between("[2020:2020:2020:2020:2020:2020:2020:2020]:1", "[3030:3030:3030:3030:3030:3030:3030:3030]:2")
    );
    // LOCAL: all that follows is discarded, whatever it is.
    for (family, rest) in [(0, &b""[..]), (0xff, b"anything"), (0x11, &TCP4_BLOCK)] {
        assert_eq!(whole(&v2(0x20, family, rest)), Header { local: true, ..Header::default() });
    }
    // Unspecified, UDP and Unix: valid, and the socket's own addresses hold.
    for (family, length) in [(0, 0), (0, 7), (0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)] {
        assert_eq!(whole(&v2(0x21, family, &vec![0; length])), Header::default(), "{family:#x}");
    }
    for (bytes, why) in [
        (v2(0x22, 0x11, &TCP4_BLOCK), Malformed::Command),
        (v2(0x2f, 0x11, &TCP4_BLOCK), Malformed::Command),
        (v2(0x11, 0x11, &TCP4_BLOCK), Malformed::Version),
        (v2(0x31, 0x11, &TCP4_BLOCK), Malformed::Version),
        (v2(0x21, 0x10, &TCP4_BLOCK), Malformed::Family),
        (v2(0x21, 0x01, &TCP4_BLOCK), Malformed::Family),
        (v2(0x21, 0x13, &TCP4_BLOCK), Malformed::Family),
        (v2(0x21, 0x41, &TCP4_BLOCK), Malformed::Family),
        (v2(0x21, 0x11, &TCP4_BLOCK[..11]), Malformed::TooShort),
        (v2(0x21, 0x21, &[0; 35]), Malformed::TooShort),
        (v2(0x21, 0x31, &[0; 215]), Malformed::TooShort),
        (v2(0x21, 0x11, &[0; MAX_LENGTH]), Malformed::TooLong),
        (v2(0x20, 0x00, &[0; MAX_LENGTH]), Malformed::TooLong),
    ] {
        assert_eq!(refused(&bytes), why, "{}", bytes[..16].escape_ascii());
    }
    assert_eq!(refused(&v2(0x21, 0x11, &[0; MAX_LENGTH])[..16]), Malformed::TooLong, "before it has come");
    assert_eq!(refused(&v2::SIGNATURE.map(|byte| if byte == b'U' { b'u' } else { byte })), Malformed::Signature);
}

#[test]
fn tlvs_are_checked_and_some_are_kept() {
    let tlvs = b"\x01\0\x02h2\x02\0\x0bexample.org\x05\0\x04abcd\x30\0\x04blue\x04\0\x03\0\0\0\xea\0\x01x";
    let header = whole(&with_tlvs(tlvs));
    let wanted = Tlvs {
        alpn: Some(b"h2"[..].into()),
        authority: Some("example.org".into()),
        unique_id: Some(b"abcd"[..].into()),
        netns: Some("blue".into()),
    };
    assert_eq!(header.tlvs, wanted);
    let ssl = b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3";
    assert_eq!(whole(&with_tlvs(ssl)).tlvs, Tlvs::default());
    let most = [&b"\x05\0\x80"[..], &[1; MAX_UNIQUE_ID]].concat();
    assert_eq!(whole(&with_tlvs(&most)).tlvs.unique_id.map(|id| id.len()), Some(MAX_UNIQUE_ID));
    for (tlvs, why) in [
        (&b"\x04"[..], Malformed::TlvBounds),
        (b"\x04\0", Malformed::TlvBounds),
        (b"\x04\0\x01", Malformed::TlvBounds),
        (b"\x04\xff\xff", Malformed::TlvBounds),
        (b"\x20\0\x04\0\0\0\0", Malformed::TlvBounds),
        (b"\x20\0\x08\x01\0\0\0\0\x21\0\x01", Malformed::TlvBounds),
        (b"\x03\0\x03abc", Malformed::TlvValue),
        (b"\x03\0\x05abcde", Malformed::TlvValue),
        (b"\x02\0\x01\xff", Malformed::TlvValue),
        (b"\x30\0\x02\xc3\xa4", Malformed::TlvValue),
        (b"\x01\0\x01a\x01\0\x01b", Malformed::TlvValue),
        (b"\x03\0\x04\0\0\0\0", Malformed::Checksum),
        (&[&b"\x05\0\x81"[..], &[1; MAX_UNIQUE_ID + 1]].concat(), Malformed::TlvValue),
    ] {
        assert_eq!(refused(&with_tlvs(tlvs)), why, "{}", tlvs.escape_ascii());
    }
}

#[test]
fn the_checksum_is_that_of_rfc_4960() {
    // RFC 3720 B.4: 32 bytes of zeroes give 0x8a9136aa.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    let bytes = encode_v2(between("192.0.2.1:1", "192.0.2.2:2"), &Tlvs::default(), true);
    assert_eq!(tlv::checksum_of(&bytes, bytes.len() - 4).to_be_bytes(), bytes[bytes.len() - 4..]);
    assert!(matches!(parse(&bytes, Accepts::V2), Ok(Parsed::Whole { .. })));
}

#[test]
fn who_has_no_address_has_an_id() {
    let tlvs = Tlvs { unique_id: Some(Box::from(&b"7f"[..])), ..Tlvs::default() };
    let bytes = encode_v2(None, &tlvs, true);
    assert_eq!(bytes[13..21], [0, 0, 12, 5, 0, 2, b'7', b'f']);
    assert_eq!(tlv::checksum_of(&bytes, bytes.len() - 4).to_be_bytes(), bytes[bytes.len() - 4..]);
    assert_eq!(whole(&bytes), Header::default());
}

#[test]
fn only_what_is_taken() {
    let (one, two) = (encode_v1(None), encode_v2(None, &Tlvs::default(), false));
    assert!(matches!(parse(&one, Accepts::V1), Ok(Parsed::Whole { .. })));
    assert!(matches!(parse(&two, Accepts::V2), Ok(Parsed::Whole { .. })));
    assert_eq!(parse(&one, Accepts::V2), Err(Malformed::NotAccepted));
    assert_eq!(parse(&two, Accepts::V1), Err(Malformed::NotAccepted));
    assert_eq!(parse(b"", Accepts::Any), Ok(Parsed::Partial));
}

#[test]
fn netds_own_connections_are_local() {
    let bytes = encode_v2_local();
    assert_eq!(bytes, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert_eq!(whole(&bytes), Header { local: true, ..Header::default() });
    assert_eq!(whole(&encode_v1(None)), Header::default());
}

#[test]
fn mixed_families_are_written_as_ipv6() {
    let mixed = between("192.0.2.1:1", "[2001:db8::1]:2");
    assert_eq!(encode_v1(mixed), b"PROXY TCP6 0:0:0:0:0:ffff:c000:201 2001:db8::1 1 2\r\n");
    assert_eq!(whole(&encode_v1(mixed)).addresses, mixed);
    assert_eq!(whole(&encode_v2(mixed, &Tlvs::default(), false)).addresses, mixed);
}

/// Beginnings that somebody might send.
#[test]
fn the_corpus_is_refused_or_never_whole() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/proxy/malformed.txt");
    let text = std::fs::read_to_string(folder).unwrap();
    let mut count = 0;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let bytes: Vec<u8> =
            (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect();
        assert!(!matches!(parse(&bytes, Accepts::Any), Ok(Parsed::Whole { .. })), "{line}");
        count += 1;
    }
    assert!(count >= 40, "{count}");
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![any::<([u8; 4], u16)>().prop_map(SocketAddr::from), any::<([u8; 16], u16)>().prop_map(SocketAddr::from)]
        .prop_map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
}

fn addresses() -> impl Strategy<Value = Addresses> {
    (address(), address()).prop_map(|(source, destination)| Addresses { source, destination })
}

fn tlvs() -> impl Strategy<Value = Tlvs> {
    let text = || option::of("[ -~]{0,40}".prop_map(Box::<str>::from));
    let bytes = || option::of(vec(any::<u8>(), 0..=MAX_UNIQUE_ID).prop_map(Box::<[u8]>::from));
    (text(), bytes(), bytes(), text()).prop_map(|(authority, alpn, unique_id, netns)| Tlvs {
        authority,
        alpn,
        unique_id,
        netns,
    })
}

fn header() -> impl Strategy<Value = (Vec<u8>, Header)> {
    let one =
        option::of(addresses()).prop_map(|addresses| (encode_v1(addresses), Header { addresses, ..Header::default() }));
    let two = (addresses(), tlvs(), any::<bool>()).prop_map(|(addresses, tlvs, checksum)| {
        let bytes = encode_v2(Some(addresses), &tlvs, checksum);
        (bytes, Header { local: false, addresses: Some(addresses), tlvs })
    });
    prop_oneof![one, two]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_wherever_it_is_split((bytes, header) in header(), behind in vec(any::<u8>(), 0..50)) {
        for end in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..end], Accepts::Any), Ok(Parsed::Partial), "{}", end);
        }
        let length = bytes.len();
        prop_assert_eq!(parse(&[bytes, behind].concat(), Accepts::Any), Ok(Parsed::Whole { length, header }));
    }

    #[test]
    fn a_flipped_bit_under_a_checksum_is_noticed(
        addresses in addresses(), tlvs in tlvs(), at in any::<prop::sample::Index>(), bit in 0..8_u8,
    ) {
        let mut bytes = encode_v2(Some(addresses), &tlvs, true);
        let at = v2::FIXED + at.index(bytes.len() - v2::FIXED);
        bytes[at] ^= 1 << bit;
        // One in the type or length of the checksum's own TLV may hide it.
        let own = bytes.len() - 7..bytes.len() - 4;
        let hidden = matches!(parse(&bytes, Accepts::Any), Ok(Parsed::Whole { .. }));
        prop_assert!(!hidden || own.contains(&at) || !bytes[..at].is_empty() && length_field(&bytes, at));
    }

    #[test]
    fn mutations_never_panic_and_never_take_more_than_there_is(
        (bytes, _) in header(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(Parsed::Whole { length, .. }) = parse(&bytes, Accepts::Any) {
            prop_assert!(length <= bytes.len().min(MAX_LENGTH));
        }
    }

    #[test]
    fn noise_is_no_header(bytes in vec(any::<u8>(), 0..300)) {
        prop_assume!(!v1::may_begin(&bytes) && !v2::may_begin(&bytes));
        prop_assert_eq!(parse(&bytes, Accepts::Any), Err(Malformed::Signature));
    }

    #[test]
    fn what_is_refused_stays_refused(start in prop_oneof![Just(&b"PROXY "[..]), Just(&v2::SIGNATURE[..])], rest in vec(any::<u8>(), 0..200)) {
        let bytes = [start, &rest].concat();
        let mut refused = false;
        for end in 0..=bytes.len() {
            let parsed = parse(&bytes[..end], Accepts::Any);
            prop_assert!(!refused || parsed.is_err());
            refused |= parsed.is_err();
        }
    }
}

/// A length that was changed may swallow what follows, the checksum with it.
fn length_field(bytes: &[u8], changed: usize) -> bool {
    let addresses = if bytes[13] == v2::TCP4 { 12 } else { 36 };
    let mut at = v2::FIXED + addresses;
    while at + 3 <= bytes.len() {
        if (at..at + 3).contains(&changed) {
            return true;
        }
        at += 3 + usize::from(u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]));
    }
    false
}
