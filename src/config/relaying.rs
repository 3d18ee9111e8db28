//! The schema of what a `tcp` listener relays to: `pool`, or `pools` with
//! shares.

use toml::{Spanned, de::DeValue};

use crate::config::{
    HashKey, PoolShare, Protocol,
    check::Place,
    default::{MAX_SHARES, WEIGHT, WEIGHT_RANGE},
    objects::Places,
    reader::{Reader, Section, Value},
    values::{hash_key, quote},
};

/// Keys that belong to `tcp` only.
pub(super) const TCP_KEYS: [&str; 4] = ["pool", "pools", "hash", "accelerate"];
const SHARE_KEYS: &[&str] = &["name", "weight"];
const EXAMPLE: &str = r#"[{ name = "app", weight = 95 }, { name = "canary", weight = 5 }]"#;

/// What a `tcp` listener relays to.
pub(super) fn relaying(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    index: usize,
    places: &mut Places,
) -> Option<Protocol> {
    let hash = section.optional(reader, "hash", HashKey::default(), |reader, value| reader.parsed(value, hash_key));
    let pools = match (section.get("pool"), section.get("pools")) {
        (Some(_), Some(pools)) => {
            let help = "keep `pool` for one pool, or `pools` for several";
            reader.problem(pools.key_span, "both `pool` and `pools` are there", help.to_owned());
            None
        }
        (Some(pool), None) => {
            places.insert(Place::ListenerPool(index, 0), pool.span.clone());
            reader.text(&pool).map(|name| vec![PoolShare { name, weight: WEIGHT }])
        }
        (None, Some(pools)) => shares(reader, section, &pools, index, places),
        (None, None) => {
            if !section.has("pool") && !section.has("pools") {
                reader.missing(
                    section.span.clone(),
                    format!("{} has no `pool` to relay to", section.title),
                    "add a line such as `pool = \"web\"`, and a [[pool]] of that name".to_owned(),
                );
            }
            None
        }
    };
    Some(Protocol::Tcp { pools: pools?, hash })
}

fn shares(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    value: &Value<'_>,
    index: usize,
    places: &mut Places,
) -> Option<Vec<PoolShare>> {
    let elements = reader.array(value, EXAMPLE)?;
    if elements.is_empty() {
        let help = format!("write at least one, as in {EXAMPLE}");
        reader.missing(value.span.clone(), format!("{} has no pool to relay to", section.title), help);
        return None;
    }
    if elements.len() > MAX_SHARES {
        let message = format!("too many pools of one listener: at most {MAX_SHARES}");
        reader.problem(value.span.clone(), message, None);
        return None;
    }
    let mut shares: Vec<PoolShare> = Vec::new();
    let mut whole = true;
    for (position, element) in elements.iter().enumerate() {
        let Some(share) = share(reader, element) else {
            whole = false;
            continue;
        };
        if shares.iter().any(|each| each.name == share.name) {
            let message = format!("pool {} is there already", quote(&share.name));
            reader.problem(element.span(), message, "remove one of them, and give the other its weight".to_owned());
            whole = false;
            continue;
        }
        places.insert(Place::ListenerPool(index, position), element.span());
        shares.push(share);
    }
    if whole && shares.iter().all(|share| share.weight == 0) {
        let help = "give at least one a weight of 1 to 1000".to_owned();
        reader.problem(value.span.clone(), "no pool has a share: all weights are 0", help);
        return None;
    }
    whole.then_some(shares)
}

/// `"NAME"`, or a table with a name and a weight.
fn share(reader: &mut Reader<'_>, element: &Spanned<DeValue<'_>>) -> Option<PoolShare> {
    let span = element.span();
    let value = Value { key: "pools", key_span: span.clone(), node: element.get_ref(), span };
    let table = match value.node {
        DeValue::String(_) => return reader.text(&value).map(|name| PoolShare { name, weight: WEIGHT }),
        DeValue::Table(table) => table,
        _ => {
            let help = r#"write "app" or { name = "app", weight = 95 }"#;
            return reader.expected(&value, "names or tables", help);
        }
    };
    let section = Section::open(reader, "this pool", table, value.span.clone(), SHARE_KEYS);
    let name = section.required(reader, "name", "\"app\"", Reader::text);
    let weight =
        section.optional(reader, "weight", u64::from(WEIGHT), |reader, value| reader.integer(value, &WEIGHT_RANGE));
    Some(PoolShare { name: name?, weight: u16::try_from(weight).ok()? })
}
