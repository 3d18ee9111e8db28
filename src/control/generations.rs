//! The generations that were in force, and what became of attempts to make
//! another. Pure.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use super::{
    history::{HistoryEntry, HistoryKind, Judgement, Origin},
    request::{Change, Provenance},
    upgrade::KeptGeneration,
};
use crate::config::Config;

/// Generations whose configuration is kept, the one in force included.
pub(super) const KEPT: usize = 16;
/// Entries of the history; older ones without a kept configuration go first.
const ENTRIES: usize = 64;
/// Changes listed in one entry.
const LISTED: usize = 64;
/// Longest line of text in one entry, in bytes.
const LINE: usize = 512;
/// Bytes of configurations handed to a successor; the latest go first.
const TEXTS: usize = 16 << 20;

/// One generation.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    pub(super) number: u64,
    pub(super) config: Arc<Config>,
    /// The generation whose configuration it is: itself, unless it was
    /// restored.
    root: u64,
    reverted: bool,
}

/// What came into force.
#[derive(Debug)]
pub(super) struct Applied<'a> {
    pub(super) at: SystemTime,
    pub(super) kind: HistoryKind,
    pub(super) number: u64,
    pub(super) config: &'a Arc<Config>,
    pub(super) origin: Origin,
    /// The earlier generation whose configuration it is.
    pub(super) restored: Option<u64>,
    pub(super) by: Option<Provenance>,
    pub(super) summary: String,
    pub(super) changes: &'a [Change],
    pub(super) verdict: Judgement,
    pub(super) reason: &'a str,
}

/// All of it, bounded.
#[derive(Debug)]
pub(super) struct Generations {
    kept: VecDeque<Generation>,
    /// Oldest first.
    entries: VecDeque<HistoryEntry>,
    /// What the daemon's own file said when it was last read.
    own: Arc<Config>,
}

impl Generations {
    /// With the generation of the start.
    pub(super) fn new(number: u64, config: &Arc<Config>, at: SystemTime) -> Self {
        let mut all = Self { kept: VecDeque::new(), entries: VecDeque::new(), own: config.clone() };
        let (listeners, pools) = (config.listeners.len(), config.pools.len());
        all.applied(Applied {
            at,
            kind: HistoryKind::Start,
            number,
            config,
            origin: Origin::Own,
            restored: None,
            by: None,
            summary: format!("listeners: {listeners}, pools: {pools}"),
            changes: &[],
            verdict: Judgement::Applied,
            reason: "",
        });
        all
    }

    /// The daemon's own file was read.
    pub(super) fn read_own(&mut self, config: &Arc<Config>) {
        self.own = config.clone();
    }

    /// Whether this is what the daemon's own file said when it was last read.
    pub(super) fn is_own(&self, config: &Config) -> bool {
        *self.own == *config
    }

    /// Another generation is in force.
    pub(super) fn applied(&mut self, new: Applied<'_>) {
        let root = match new.restored {
            Some(from) => self.get(from).map_or(from, |each| each.root),
            None => new.number,
        };
        let generation = Generation { number: new.number, config: new.config.clone(), root, reverted: false };
        self.kept.push_back(generation);
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        self.push(HistoryEntry {
            at: new.at,
            kind: new.kind,
            generation: Some(new.number),
            origin: Some(new.origin),
            by: new.by,
            summary: line(&new.summary),
            changes: new.changes.iter().take(LISTED).cloned().collect(),
            more_changes: new.changes.len().saturating_sub(LISTED) as u64,
            verdict: new.verdict,
            reason: line(new.reason),
            in_force: false,
            kept: false,
        });
    }

    /// What the process before has of it, but for what this one has anew:
    /// configurations that this one does not understand cannot be gone back to.
    pub(super) fn inherit(
        &mut self,
        entries: Vec<HistoryEntry>,
        kept: Vec<KeptGeneration>,
        mut parse: impl FnMut(&str) -> Option<Config>,
    ) {
        let newest = self.kept.front().map_or(u64::MAX, |each| each.number);
        let older = kept.into_iter().filter(|each| each.number < newest).filter_map(|each| {
            let KeptGeneration { number, root, reverted, text } = each;
            Some(Generation { number, config: Arc::new(parse(&text)?), root, reverted })
        });
        let mut all: VecDeque<Generation> = older.collect();
        all.append(&mut self.kept);
        all.drain(..all.len().saturating_sub(KEPT));
        self.kept = all;
        let own: Vec<HistoryEntry> = self.entries.drain(..).collect();
        entries.into_iter().chain(own).for_each(|entry| self.push(entry));
    }

    /// The generations that are kept, as a successor can take them.
    pub(super) fn keepsakes(&self) -> Vec<KeptGeneration> {
        let mut room = TEXTS;
        let written = self.kept.iter().rev().map_while(|each| {
            let text = each.config.to_toml();
            room = room.checked_sub(text.len())?;
            Some(KeptGeneration { number: each.number, root: each.root, reverted: each.reverted, text })
        });
        let mut all: Vec<KeptGeneration> = written.collect();
        all.reverse();
        all
    }

    /// Oldest first, as they were written.
    pub(super) fn entries(&self) -> impl Iterator<Item = &HistoryEntry> {
        self.entries.iter()
    }

    /// The start that made this generation was an upgrade.
    pub(super) fn upgraded(&mut self, number: u64, by: Option<&Provenance>, summary: &str) {
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| entry.generation == Some(number)) {
            (entry.kind, entry.by, entry.summary) = (HistoryKind::Upgrade, by.cloned(), line(summary));
        }
    }

    /// A change was refused.
    pub(super) fn refused(&mut self, at: SystemTime, kind: HistoryKind, by: &Provenance, reason: &str) {
        self.failed(at, kind, by, Judgement::Refused, reason);
    }

    /// A change came to nothing.
    pub(super) fn failed(
        &mut self,
        at: SystemTime,
        kind: HistoryKind,
        by: &Provenance,
        verdict: Judgement,
        reason: &str,
    ) {
        self.push(HistoryEntry {
            at,
            kind,
            generation: None,
            origin: None,
            by: Some(by.clone()),
            summary: String::new(),
            changes: Vec::new(),
            more_changes: 0,
            verdict,
            reason: line(reason),
            in_force: false,
            kept: false,
        });
    }

    /// What became of a generation.
    pub(super) fn judge(&mut self, number: u64, verdict: Judgement, reason: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.generation == Some(number)) {
            (entry.verdict, entry.reason) = (verdict, line(reason));
        }
        if let Some(kept) = self.kept.iter_mut().find(|each| each.number == number) {
            kept.reverted = verdict == Judgement::Reverted;
        }
    }

    /// The generation, if its configuration is kept.
    pub(super) fn get(&self, number: u64) -> Option<&Generation> {
        self.kept.iter().find(|each| each.number == number)
    }

    /// The numbers that are kept, oldest first.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.kept.iter().map(|each| each.number)
    }

    /// One step back from this generation: the latest one before it, or before
    /// the one that it restored, that says something else and was not itself
    /// taken back. Steps do not go in a circle.
    pub(super) fn before(&self, number: u64) -> Option<&Generation> {
        let from = self.get(number)?;
        let mut others = self.kept.iter().rev().filter(|each| each.number < from.root && !each.reverted);
        others.find(|each| each.config != from.config)
    }

    /// Latest first.
    pub(super) fn view(&self, in_force: u64) -> Vec<HistoryEntry> {
        let shown = |entry: &HistoryEntry| {
            let number = entry.generation;
            HistoryEntry {
                in_force: number == Some(in_force),
                kept: number.is_some_and(|number| self.get(number).is_some()),
                ..entry.clone()
            }
        };
        self.entries.iter().rev().map(shown).collect()
    }

    fn push(&mut self, entry: HistoryEntry) {
        self.entries.push_back(entry);
        if self.entries.len() <= ENTRIES {
            return;
        }
        let is_kept = |entry: &HistoryEntry| entry.generation.is_some_and(|number| self.get(number).is_some());
        let oldest = self.entries.iter().position(|entry| !is_kept(entry)).unwrap_or(0);
        self.entries.remove(oldest);
    }
}

/// The first line, clipped.
fn line(text: &str) -> String {
    let first = text.trim_end().lines().next().unwrap_or_default();
    let end = (0..=LINE.min(first.len())).rev().find(|&end| first.is_char_boundary(end)).unwrap_or(0);
    first[..end].to_owned()
}

#[cfg(test)]
mod tests;
