//! Who is let in. Exact over all workers: what is counted is shared.
//!
//! A connection that is let in carries an [`Admitted`]; dropping it takes the
//! connection out of every count, wherever it ends. There is no other way out.
//!
//! What is asked, in this order: overload, lists, open connections (process,
//! listener, source), rates (source, listener). Who is refused by one of them
//! is not counted by the others, and takes no token of a later one: a source
//! that floods uses up its own rate and not the listener's.
//!
//! Cost where nothing is configured: one atomic addition for the process and
//! one for the listener, so that a limit that comes with a reload finds the
//! right number. Sources are only counted, and buckets only touched, where they
//! are limited.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    config::{Limits, ListenerLimits, OverloadMode, SourcePrefix},
    limit::{Arrivals, Refused, Sources, source_of},
    reactor::Sender,
    slots::SlotId,
    worker::{command::Command, places::Kept},
};

/// Locks that the tables of sources are divided over, so that workers seldom
/// meet.
const SHARDS: usize = 16;
/// A table of open connections keeps room for so many sources.
const ROOM: usize = 64;

/// What all workers of the process share.
#[derive(Debug)]
pub struct ProcessGate {
    open: AtomicU64,
    kept: Kept,
    /// u64::MAX: no limit.
    most: AtomicU64,
    refusing: AtomicBool,
    shedding: AtomicBool,
    /// Ways to wake the workers, by index.
    workers: Mutex<Vec<Option<Sender<Command>>>>,
}

impl Default for ProcessGate {
    fn default() -> Self {
        Self {
            open: AtomicU64::new(0),
            kept: Kept::default(),
            most: AtomicU64::new(u64::MAX),
            refusing: AtomicBool::new(false),
            shedding: AtomicBool::new(false),
            workers: Mutex::default(),
        }
    }
}

impl ProcessGate {
    /// A gate without limits.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Other limits from now on; what is open stays.
    pub fn set_limits(&self, limits: &Limits) {
        self.most.store(limits.max_connections.unwrap_or(u64::MAX), Relaxed);
        self.shedding.store(limits.overload == OverloadMode::Shed, Relaxed);
    }

    /// Whether new connections are refused because of an overload.
    pub fn set_refusing(&self, refusing: bool) {
        self.refusing.store(refusing, Relaxed);
    }

    /// Connections open, on all workers.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Keeps places for `n` connections that come from another process.
    pub fn keep(&self, n: u64) {
        self.open.fetch_add(n, Relaxed);
        self.kept.keep(n);
    }

    /// Gives back the places that nobody came for.
    pub fn release(&self) {
        self.open.fetch_sub(self.kept.release(), Relaxed);
    }

    /// Without descriptors, clients are refused rather than left waiting.
    pub(super) fn is_shedding(&self) -> bool {
        self.shedding.load(Relaxed)
    }

    /// A worker that can be woken.
    pub(super) fn register(&self, worker: usize, orders: Sender<Command>) {
        let mut workers = locked(&self.workers);
        if workers.len() <= worker {
            workers.resize_with(worker + 1, || None);
        }
        workers[worker] = Some(orders);
    }

    /// Wakes a connection that waits for its pool. If the worker's queue is
    /// full the connection looks by itself a little later.
    pub(super) fn wake(&self, worker: usize, slot: SlotId) {
        if let Some(Some(orders)) = locked(&self.workers).get(worker) {
            let _ = orders.send(Command::TryPool(slot));
        }
    }
}

/// What all workers share of one listener.
#[derive(Debug, Default)]
pub struct ListenerGate {
    counts: Arc<Counts>,
    arrivals: Arc<Mutex<Arrivals>>,
    sources: Option<Arc<SourceRates>>,
}

/// Connections open.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    kept: Kept,
    sources: OnceLock<SourceCounts>,
}

/// Connections open by source; only sources that have one are in it.
#[derive(Debug)]
struct SourceCounts {
    shards: [Mutex<HashMap<u128, u32>>; SHARDS],
    hasher: RandomState,
    /// Of those, for connections that come from another process.
    kept: Mutex<HashMap<u128, u32>>,
}

/// Rates by source.
#[derive(Debug)]
struct SourceRates {
    shards: Vec<Mutex<Sources>>,
    hasher: RandomState,
    prefix: SourcePrefix,
    capacity: u32,
}

/// A connection that was let in. Dropping it lets another one in.
#[derive(Debug)]
pub(super) struct Admitted {
    process: Arc<ProcessGate>,
    counts: Arc<Counts>,
    /// Boxed: most connections have none.
    source: Option<Box<u128>>,
}

impl ListenerGate {
    /// The gate of a listener with these limits. Counts, and rates as far as
    /// the table is the same, go on from `before`.
    pub fn new(limits: &ListenerLimits, before: Option<&Self>) -> Arc<Self> {
        let (prefix, capacity) = (limits.source, limits.source_table.0);
        let fits = |rates: &&Arc<SourceRates>| rates.prefix == prefix && rates.capacity == capacity;
        let sources = limits.rate_per_source.map(|_| {
            let known = before.and_then(|before| before.sources.as_ref()).filter(fits);
            known.map_or_else(|| Arc::new(SourceRates::new(prefix, capacity)), Arc::clone)
        });
        Arc::new(Self {
            counts: before.map_or_else(Arc::default, |before| Arc::clone(&before.counts)),
            arrivals: before.map_or_else(Arc::default, |before| Arc::clone(&before.arrivals)),
            sources,
        })
    }

    /// Connections open, on all workers.
    pub fn open(&self) -> u64 {
        self.counts.open.load(Relaxed)
    }

    /// The most that one source has open, and how many sources have some;
    /// both 0 unless `max_connections_per_source` is set.
    pub fn sources(&self) -> (u32, usize) {
        let Some(sources) = self.counts.sources.get() else { return (0, 0) };
        let of = |shard: &Mutex<HashMap<u128, u32>>| {
            let shard = locked(shard);
            (shard.values().copied().max().unwrap_or(0), shard.len())
        };
        sources.shards.iter().map(of).fold((0, 0), |(most, count), (more, shard)| (most.max(more), count + shard))
    }

    /// Bytes that the table of rates takes.
    pub fn table_bytes(&self) -> usize {
        self.sources.as_ref().map_or(0, |rates| rates.shards.iter().map(|shard| locked(shard).bytes()).sum())
    }

    /// Lets a connection in and counts it, or says why not. `now` is a time
    /// since any moment that is the same for all workers.
    pub(super) fn admit(
        &self,
        process: &Arc<ProcessGate>,
        limits: &ListenerLimits,
        source: Option<IpAddr>,
        now: Duration,
    ) -> Result<Admitted, Refused> {
        if process.refusing.load(Relaxed) {
            return Err(Refused::Overload);
        }
        if !limits.allows(source) {
            return Err(Refused::Denied);
        }
        let mut admitted = self.count(process, limits.max_connections.unwrap_or(u64::MAX))?;
        if let Some(source) = source {
            self.admit_source(&mut admitted, limits, source, now)?;
        }
        if let Some(rate) = limits.rate
            && !locked(&self.arrivals).admit(rate.rate(), now)
        {
            return Err(Refused::ListenerRate);
        }
        Ok(admitted)
    }

    /// What [`admit`](Self::admit) asks by source alone, for a connection that
    /// was let in when its source was not known yet.
    pub(super) fn admit_source(
        &self,
        admitted: &mut Admitted,
        limits: &ListenerLimits,
        source: IpAddr,
        now: Duration,
    ) -> Result<(), Refused> {
        if !limits.allows(Some(source)) {
            return Err(Refused::Denied);
        }
        if let Some(most) = limits.max_connections_per_source {
            let source = source_of(source, limits.source.v4, limits.source.v6);
            if !self.counts.by_source().take(source, most) {
                return Err(Refused::Source);
            }
            admitted.source = Some(Box::new(source));
        }
        match (limits.rate_per_source, &self.sources) {
            (Some(rate), Some(rates)) if !rates.of(source).admit(source, rate.rate(), now) => Err(Refused::SourceRate),
            _ => Ok(()),
        }
    }

    /// Keeps places for connections that come from another process: `open` in
    /// all, and so many of these sources, which [`open_by_source`] has told.
    ///
    /// [`open_by_source`]: Self::open_by_source
    pub fn keep(&self, open: u64, sources: &[(IpAddr, u32)], limits: &ListenerLimits) {
        self.counts.open.fetch_add(open, Relaxed);
        self.counts.kept.keep(open);
        if limits.max_connections_per_source.is_none() || sources.is_empty() {
            return;
        }
        let by_source = self.counts.by_source();
        for &(source, count) in sources.iter().filter(|(_, count)| *count > 0) {
            let source = source_of(source, limits.source.v4, limits.source.v6);
            by_source.add(source, count);
            let mut kept = locked(&by_source.kept);
            let kept = kept.entry(source).or_default();
            *kept = kept.saturating_add(count);
        }
    }

    /// Gives back the places that nobody came for.
    pub fn release(&self) {
        self.counts.open.fetch_sub(self.counts.kept.release(), Relaxed);
        let Some(by_source) = self.counts.sources.get() else { return };
        let kept = std::mem::take(&mut *locked(&by_source.kept));
        for (source, count) in kept {
            by_source.give(source, count);
        }
    }

    /// Connections open by source, those with most first, at most `limit`;
    /// nothing unless `max_connections_per_source` is set. A source is told by
    /// its first address.
    pub fn open_by_source(&self, limit: usize) -> Vec<(IpAddr, u32)> {
        let Some(sources) = self.counts.sources.get() else { return Vec::new() };
        let of = |shard: &Mutex<HashMap<u128, u32>>| -> Vec<(u128, u32)> {
            locked(shard).iter().map(|(&source, &open)| (source, open)).collect()
        };
        let mut all: Vec<(u128, u32)> = sources.shards.iter().flat_map(of).collect();
        all.sort_unstable_by_key(|&(source, open)| (std::cmp::Reverse(open), source));
        all.truncate(limit);
        all.into_iter().map(|(source, open)| (Ipv6Addr::from_bits(source).to_canonical(), open)).collect()
    }

    /// What is left of the rates: the time until the listener's burst is whole
    /// again, and the same by source, those with most first and at most
    /// `limit`.
    pub fn rates(&self, now: Duration, limit: usize) -> (Duration, Vec<(IpAddr, Duration)>) {
        let arrivals = locked(&self.arrivals).left(now);
        let Some(rates) = &self.sources else { return (arrivals, Vec::new()) };
        let of = |shard: &Mutex<Sources>| -> Vec<(u128, Duration)> { locked(shard).left(now).collect() };
        let mut all: Vec<(u128, Duration)> = rates.shards.iter().flat_map(of).collect();
        all.sort_unstable_by_key(|&(source, left)| (std::cmp::Reverse(left), source));
        all.truncate(limit);
        (arrivals, all.into_iter().map(|(source, left)| (Ipv6Addr::from_bits(source).to_canonical(), left)).collect())
    }

    /// Takes on what another process's [`rates`](Self::rates) were.
    pub fn resume_rates(&self, arrivals: Duration, sources: &[(IpAddr, Duration)], now: Duration) {
        locked(&self.arrivals).resume(arrivals, now);
        let Some(rates) = &self.sources else { return };
        for &(source, left) in sources {
            rates.of(source).resume(source, left, now);
        }
    }

    /// Counts a connection that was let in before, by another process:
    /// whatever the limits are now, it is there.
    pub(super) fn readmit(
        &self,
        process: &Arc<ProcessGate>,
        limits: &ListenerLimits,
        source: Option<IpAddr>,
    ) -> Admitted {
        if !process.kept.claim() {
            process.open.fetch_add(1, Relaxed);
        }
        if !self.counts.kept.claim() {
            self.counts.open.fetch_add(1, Relaxed);
        }
        let source = source.filter(|_| limits.max_connections_per_source.is_some()).map(|source| {
            let source = source_of(source, limits.source.v4, limits.source.v6);
            let by_source = self.counts.by_source();
            if !by_source.claim(source) {
                by_source.add(source, 1);
            }
            Box::new(source)
        });
        Admitted { process: Arc::clone(process), counts: Arc::clone(&self.counts), source }
    }

    /// Why a connection from `source` would be refused now; `None`: it would
    /// be let in. Counts nothing and takes nothing.
    pub fn would_refuse(
        &self,
        process: &ProcessGate,
        limits: &ListenerLimits,
        source: Option<IpAddr>,
        now: Duration,
    ) -> Option<Refused> {
        if process.refusing.load(Relaxed) {
            return Some(Refused::Overload);
        }
        if !limits.allows(source) {
            return Some(Refused::Denied);
        }
        if process.open() >= process.most.load(Relaxed) {
            return Some(Refused::Process);
        }
        if self.open() >= limits.max_connections.unwrap_or(u64::MAX) {
            return Some(Refused::Listener);
        }
        if let Some(source) = source {
            let key = source_of(source, limits.source.v4, limits.source.v6);
            let open = self.counts.sources.get().map_or(0, |sources| sources.open(key));
            if limits.max_connections_per_source.is_some_and(|most| open >= most) {
                return Some(Refused::Source);
            }
            if let (Some(rate), Some(rates)) = (limits.rate_per_source, &self.sources)
                && !rates.of(source).wait(source, rate.rate(), now).is_zero()
            {
                return Some(Refused::SourceRate);
            }
        }
        let waits = limits.rate.is_some_and(|rate| !locked(&self.arrivals).wait(rate.rate(), now).is_zero());
        waits.then_some(Refused::ListenerRate)
    }

    fn count(&self, process: &Arc<ProcessGate>, most: u64) -> Result<Admitted, Refused> {
        if !take(&process.open, process.most.load(Relaxed)) {
            return Err(Refused::Process);
        }
        if !take(&self.counts.open, most) {
            process.open.fetch_sub(1, Relaxed);
            return Err(Refused::Listener);
        }
        Ok(Admitted { process: Arc::clone(process), counts: Arc::clone(&self.counts), source: None })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let (Some(source), Some(sources)) = (&self.source, self.counts.sources.get()) {
            sources.give(**source, 1);
        }
        self.counts.open.fetch_sub(1, Relaxed);
        self.process.open.fetch_sub(1, Relaxed);
    }
}

impl Counts {
    fn by_source(&self) -> &SourceCounts {
        self.sources.get_or_init(|| SourceCounts {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            kept: Mutex::default(),
        })
    }
}

impl SourceCounts {
    fn shard(&self, source: u128) -> MutexGuard<'_, HashMap<u128, u32>> {
        locked(&self.shards[self.hasher.hash_one(source) as usize % SHARDS])
    }

    fn open(&self, source: u128) -> u32 {
        self.shard(source).get(&source).copied().unwrap_or(0)
    }

    fn take(&self, source: u128, most: u32) -> bool {
        let mut shard = self.shard(source);
        // One that has none open has no entry, so that refusals take no memory.
        match shard.entry(source) {
            Entry::Occupied(mut open) if *open.get() < most => {
                *open.get_mut() += 1;
                true
            }
            Entry::Vacant(place) if most > 0 => {
                place.insert(1);
                true
            }
            _ => false,
        }
    }

    /// Counts so many more, whatever the limit; at least 1.
    fn add(&self, source: u128, count: u32) {
        let mut shard = self.shard(source);
        let open = shard.entry(source).or_default();
        *open = open.saturating_add(count);
    }

    /// One of the source was kept, and has come.
    fn claim(&self, source: u128) -> bool {
        let mut kept = locked(&self.kept);
        let Entry::Occupied(mut count) = kept.entry(source) else { return false };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
        true
    }

    fn give(&self, source: u128, count: u32) {
        let mut shard = self.shard(source);
        if let Entry::Occupied(mut open) = shard.entry(source) {
            *open.get_mut() = open.get().saturating_sub(count);
            if *open.get() == 0 {
                open.remove();
            }
        }
        // What a flood has taken comes back.
        if shard.capacity() > ROOM && shard.len() < shard.capacity() / 8 {
            let room = (shard.len() * 2).max(ROOM / 2);
            shard.shrink_to(room);
        }
    }
}

impl SourceRates {
    fn new(prefix: SourcePrefix, capacity: u32) -> Self {
        let each = (capacity as usize).div_ceil(SHARDS);
        let shards = (0..SHARDS).map(|_| Mutex::new(Sources::new(each, prefix.v4, prefix.v6))).collect();
        Self { shards, hasher: RandomState::new(), prefix, capacity }
    }

    fn of(&self, source: IpAddr) -> MutexGuard<'_, Sources> {
        let source = source_of(source, self.prefix.v4, self.prefix.v6);
        locked(&self.shards[self.hasher.hash_one(source) as usize % SHARDS])
    }
}

/// One more, unless there are `most`.
pub(super) fn take(count: &AtomicU64, most: u64) -> bool {
    if most == u64::MAX {
        count.fetch_add(1, Relaxed);
        return true;
    }
    count.fetch_update(Relaxed, Relaxed, |open| (open < most).then_some(open + 1)).is_ok()
}

/// No panic leaves what these locks guard half done.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
