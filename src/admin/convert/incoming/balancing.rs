//! Requests about the sharing out of connections.

use std::net::{IpAddr, SocketAddr};

use super::{Checked, MAX_WEIGHT, expires_in, invalid, name, provenance};
use crate::{config::PoolShare, control, pb};

/// Most pools of one listener.
const MAX_SHARES: usize = 64;

/// Shares of a listener's pools.
pub(in crate::admin) fn set_split(request: pb::SetSplitRequest, peer: &str) -> Checked<control::SetSplit> {
    let listener = name("listener", request.listener)?;
    let expires_in = expires_in(request.expires_in)?;
    let shares = match (request.clear, request.shares.is_empty()) {
        (true, true) if expires_in.is_some() => {
            return invalid("expires_in is set, but clearing leaves nothing that could expire");
        }
        (true, true) => None,
        (true, false) => return invalid("both shares and clear are set; use one of them"),
        (false, true) => return invalid("nothing to set; give shares, or clear"),
        (false, false) if request.shares.len() > MAX_SHARES => {
            return invalid(format!("too many shares: at most {MAX_SHARES}"));
        }
        (false, false) => Some(request.shares.into_iter().map(share).collect::<Checked<Vec<_>>>()?),
    };
    Ok(control::SetSplit { listener, shares, expires_in, by: provenance(request.by, peer)? })
}

fn share(share: pb::set_split_request::Share) -> Checked<PoolShare> {
    match u16::try_from(share.weight) {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(PoolShare { name: name("shares.pool", share.pool)?, weight }),
        _ => invalid(format!("weight is {}; use 0 (takes none) to {MAX_WEIGHT}", share.weight)),
    }
}

/// A connection that might come.
pub(in crate::admin) fn explain(request: pb::ExplainRequest) -> Checked<control::ExplainRequest> {
    let text = request.source;
    let source = match (text.as_str(), text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        ("", ..) => None,
        (_, Ok(ip), _) => Some(SocketAddr::new(ip, 0)),
        (_, _, Ok(source)) => Some(source),
        _ => return invalid(format!("source (--from) `{text}` is no address; write IP or IP:PORT, as in 10.1.2.3")),
    };
    Ok(control::ExplainRequest { listener: name("listener", request.listener)?, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_with_and_without_a_port() {
        let source = |text: &str| {
            explain(pb::ExplainRequest { listener: "web".to_owned(), source: text.to_owned() }).map(|it| it.source)
        };
        assert_eq!(source(""), Ok(None));
        assert_eq!(source("10.1.2.3"), Ok(Some("10.1.2.3:0".parse().unwrap())));
        assert_eq!(source("2001:db8::7"), Ok(Some("[2001:db8::7]:0".parse().unwrap())));
        assert_eq!(source("[2001:db8::7]:9"), Ok(Some("[2001:db8::7]:9".parse().unwrap())));
        assert!(source("web.example").is_err() && source("10.1.2.0/24").is_err());
    }

    #[test]
    fn splits_are_checked() {
        let request = |shares: &[(&str, u32)], clear| pb::SetSplitRequest {
            listener: "web".to_owned(),
            shares: shares
                .iter()
                .map(|(pool, weight)| pb::set_split_request::Share { pool: (*pool).to_owned(), weight: *weight })
                .collect(),
            clear,
            ..Default::default()
        };
        let set = set_split(request(&[("app", 95), ("canary", 5)], false), "ann").unwrap();
        assert_eq!(set.shares.unwrap()[1], PoolShare { name: "canary".to_owned(), weight: 5 });
        assert_eq!(set_split(request(&[], true), "ann").unwrap().shares, None);
        for wrong in [request(&[], false), request(&[("app", 1)], true), request(&[("app", 1001)], false)] {
            assert!(set_split(wrong, "ann").is_err());
        }
        assert!(set_split(request(&[("app", 1); 65], false), "ann").is_err());
    }
}
