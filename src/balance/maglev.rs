//! Consistent hashing with a table (Eisenbud and others: Maglev: a fast and
//! reliable software network load balancer, NSDI 2016, section 3.4).

use std::{cmp::Reverse, collections::BinaryHeap};

use super::random::mix;

/// Sizes of tables: primes. The paper wants at least a hundred places an
/// endpoint for shares that differ by at most one per cent.
const SIZES: [u32; 6] = [1021, 4093, 16_381, 65_537, 262_139, 1_048_573];
/// Places an endpoint.
const PLACES: usize = 100;
/// Further places that a key tries when its own is not open.
const TRIES: u64 = 8;
const EMPTY: u32 = u32::MAX;

/// Which member each key belongs to.
#[derive(Debug)]
pub struct Maglev {
    table: Box<[u32]>,
}

impl Maglev {
    /// A table for members with these stable names and weights (not 0). At
    /// least one is needed; with none, nothing is ever picked.
    pub fn new(members: &[(u64, u32)]) -> Self {
        let size = SIZES.into_iter().find(|&size| size as usize >= PLACES * members.len()).unwrap_or(SIZES[5]);
        Self { table: fill(members, size) }
    }

    /// The member of a key, or, if it is not `open`, the one that the key
    /// falls to then.
    pub fn pick(&self, hash: u64, members: usize, open: impl Fn(usize) -> bool) -> Option<usize> {
        for attempt in 0..=TRIES {
            let place = mix(hash.wrapping_add(attempt)) % self.table.len() as u64;
            let member = self.table[place as usize] as usize;
            if member < members && open(member) {
                return Some(member);
            }
        }
        // Few are open: the first of them, from where the key points.
        let start = mix(hash) as usize % members.max(1);
        (start..members).chain(0..start).find(|&member| open(member))
    }
}

fn fill(members: &[(u64, u32)], size: u32) -> Box<[u32]> {
    let mut table = vec![EMPTY; size as usize].into_boxed_slice();
    let Some(heaviest) = members.iter().map(|(_, weight)| *weight).max().filter(|&weight| weight > 0) else {
        return table;
    };
    let m = u64::from(size);
    // Where each member goes next, and how far it jumps.
    let mut walks: Vec<(u64, u64)> =
        members.iter().map(|(name, _)| (mix(*name) % m, mix(name ^ 0x6d61_676c_6576) % (m - 1) + 1)).collect();
    let mut place = |member: usize| {
        let (next, skip) = &mut walks[member];
        while table[*next as usize] != EMPTY {
            *next = (*next + *skip) % m;
        }
        table[*next as usize] = member as u32;
    };
    if members.iter().all(|(_, weight)| *weight == heaviest) {
        (0..members.len()).cycle().take(size as usize).for_each(&mut place);
        return table;
    }
    // A lighter member takes its turn less often: its n-th comes in the first
    // round in which it has earned it.
    let round = |turn: u64, weight: u32| (turn * u64::from(heaviest)).div_ceil(u64::from(weight));
    let taking = members.iter().enumerate().filter(|(_, (_, weight))| *weight > 0);
    let mut turns: BinaryHeap<_> =
        taking.map(|(member, (_, weight))| Reverse((round(1, *weight), member, 1_u64))).collect();
    for _ in 0..size {
        let Some(mut first) = turns.peek_mut() else { break };
        let Reverse((_, member, turn)) = *first;
        place(member);
        *first = Reverse((round(turn + 1, members[member].1), member, turn + 1));
    }
    table
}

/// A hash that is the same in every process and on every machine: FNV-1a, and
/// its bits mixed.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(fnv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> Vec<(u64, u32)> {
        (0..count).map(|n| (stable_hash(format!("10.0.0.{n}:80").as_bytes()), 1)).collect()
    }

    fn owners(maglev: &Maglev, names: &[(u64, u32)], keys: u64) -> Vec<u64> {
        (0..keys).map(|key| names[maglev.pick(key, names.len(), |_| true).unwrap()].0).collect()
    }

    #[test]
    fn shares_are_even_within_the_papers_bound() {
        for count in [1, 2, 3, 10, 100] {
            let mut places = vec![0u32; count];
            let maglev = Maglev::new(&members(count));
            maglev.table.iter().for_each(|&member| places[member as usize] += 1);
            // The paper's bound: with M > 100 N places, shares differ by at most
            // one per cent. Taking turns, that is one place.
            let (most, least) = (places.iter().max().unwrap(), places.iter().min().unwrap());
            assert!(most - least <= 1, "{count}: {places:?}");
            assert!(maglev.table.len() > PLACES * count && f64::from(most - least) <= f64::from(*most) / 100.0);
        }
    }

    /// As the paper has it: round after round, everyone in turn, lighter ones
    /// when they have earned it.
    fn filled_in_rounds(members: &[(u64, u32)], size: u32) -> Vec<u32> {
        let (mut table, m) = (vec![EMPTY; size as usize], u64::from(size));
        let heaviest = members.iter().map(|(_, weight)| *weight).max().unwrap();
        let mut credits = vec![0; members.len()];
        let mut next: Vec<u64> = members.iter().map(|(name, _)| mix(*name) % m).collect();
        while table.contains(&EMPTY) {
            for (member, (name, weight)) in members.iter().enumerate() {
                credits[member] += weight;
                if credits[member] < heaviest || !table.contains(&EMPTY) {
                    continue;
                }
                credits[member] -= heaviest;
                while table[next[member] as usize] != EMPTY {
                    next[member] = (next[member] + mix(name ^ 0x6d61_676c_6576) % (m - 1) + 1) % m;
                }
                table[next[member] as usize] = member as u32;
            }
        }
        table
    }

    #[test]
    fn turns_come_as_in_rounds() {
        for weights in [&[1, 1, 1][..], &[5, 2, 1, 1], &[1000, 1, 999, 3, 500], &[7]] {
            let mut names = members(weights.len());
            names.iter_mut().zip(weights).for_each(|(name, weight)| name.1 = *weight);
            assert_eq!(fill(&names, 1021).to_vec(), filled_in_rounds(&names, 1021), "{weights:?}");
        }
    }

    #[test]
    fn weights_are_shares() {
        let mut names = members(4);
        names[0].1 = 5;
        names[1].1 = 2;
        let maglev = Maglev::new(&names);
        let places = |member: u32| maglev.table.iter().filter(|&&each| each == member).count() as f64;
        let total = maglev.table.len() as f64;
        for (member, share) in [(0, 5.0 / 9.0), (1, 2.0 / 9.0), (2, 1.0 / 9.0), (3, 1.0 / 9.0)] {
            assert!((places(member) / total - share).abs() < 0.01, "{member}");
        }
    }

    /// The least that must move when one of N goes is its own share, 1/N.
    #[test]
    fn one_that_goes_moves_little_more_than_its_own_share() {
        const GO: usize = 5;
        for count in [5, 10, 50, 100] {
            let (before, keys) = (members(count), 20_000);
            let old = owners(&Maglev::new(&before), &before, keys);
            // Whoever it is that goes: some members' turns touch more others.
            let mut needless = 0;
            for gone in (0..GO).map(|n| n * count / GO) {
                let mut after = before.clone();
                let gone = after.remove(gone).0;
                let new = owners(&Maglev::new(&after), &after, keys);
                let own = old.iter().filter(|owner| **owner == gone).count() as f64 / keys as f64;
                assert!((own * count as f64 - 1.0).abs() < 0.2, "{count}: {own} is one share");
                needless += old.iter().zip(&new).filter(|(old, new)| **old != gone && old != new).count();
            }
            // The table is small, so turns meet each other: a few of a hundred
            // keys move beyond the share that must.
            let needless = needless as f64 / (keys * GO as u64) as f64;
            println!("one of {count} goes: {needless} of all keys move needlessly");
            assert!(needless < 0.03, "{count}: {needless}");
        }
    }

    /// One that only rests, or is drained, keeps its places: nobody else's keys
    /// move, and its own are shared by the others.
    #[test]
    fn one_that_is_closed_moves_its_own_share_alone() {
        for count in [3, 10, 100] {
            let (names, keys) = (members(count), 20_000);
            let (maglev, gone) = (Maglev::new(&names), count / 2);
            let mut heirs = vec![0u32; count];
            for key in 0..keys {
                let own = maglev.pick(key, count, |_| true).unwrap();
                let other = maglev.pick(key, count, |member| member != gone).unwrap();
                if own == gone {
                    heirs[other] += 1;
                } else {
                    assert_eq!(own, other);
                }
            }
            let moved: u32 = heirs.iter().sum();
            let share = f64::from(moved) / keys as f64 * count as f64;
            assert!((share - 1.0).abs() < 0.2, "{count}: {moved} of {keys}");
            let mean = f64::from(moved) / (count - 1) as f64;
            // Five standard deviations.
            let most = mean + 5.0 * mean.sqrt();
            assert!(heirs.iter().all(|&each| f64::from(each) < most), "{count}: {heirs:?}");
        }
    }

    #[test]
    fn a_key_falls_to_the_same_other_while_its_own_is_closed() {
        let names = members(10);
        let maglev = Maglev::new(&names);
        for key in 0..1000 {
            let own = maglev.pick(key, 10, |_| true).unwrap();
            let other = maglev.pick(key, 10, |member| member != own).unwrap();
            assert_ne!(own, other);
            assert_eq!(maglev.pick(key, 10, |member| member != own), Some(other));
            assert_eq!(maglev.pick(key, 10, |member| member == 7), Some(7), "however few are open");
            assert_eq!(maglev.pick(key, 10, |_| false), None);
        }
    }

    #[test]
    fn hashes_are_the_same_everywhere() {
        assert_eq!(stable_hash(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_ne!(stable_hash(b"10.0.0.1:80"), stable_hash(b"10.0.0.2:80"));
        assert!(Maglev::new(&[]).pick(3, 0, |_| true).is_none());
    }
}
