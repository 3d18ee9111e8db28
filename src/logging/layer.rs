//! Which events are logged, and what is kept of them.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tracing::{
    Event, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record as SpanRecord},
    subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    record::{Gather, Record, Value},
    writer::Queue,
};
use crate::config::LogLevel;

/// The level in force, shared between the layer and whoever sets it.
#[derive(Debug)]
pub(super) struct Filter {
    /// Index in [`LogLevel::ALL`].
    level: AtomicU8,
}

impl Filter {
    pub(super) fn new(level: LogLevel) -> Self {
        Self { level: AtomicU8::new(level as u8) }
    }

    pub(super) fn level(&self) -> LogLevel {
        let index = usize::from(self.level.load(Ordering::Relaxed));
        LogLevel::ALL.get(index).copied().unwrap_or(LogLevel::Info)
    }

    /// Returns the level before.
    pub(super) fn set(&self, level: LogLevel) -> LogLevel {
        let before = self.level();
        self.level.store(level as u8, Ordering::Relaxed);
        // Every call site has cached whether it is wanted.
        tracing::callsite::rebuild_interest_cache();
        before
    }

    /// netd at the level set; what it is built from (h2, hyper, tonic) speaks
    /// of its own affairs below warnings.
    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target() == "netd" || metadata.target().starts_with("netd::");
        let level = if own { self.level() } else { self.level().min(LogLevel::Warn) };
        *metadata.level() <= level_filter(level)
    }
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Turns events into records for the writer.
#[derive(Debug)]
pub(super) struct LogLayer {
    filter: Arc<Filter>,
    queue: Queue,
}

impl LogLayer {
    pub(super) fn new(filter: Arc<Filter>, queue: Queue) -> Self {
        Self { filter, queue }
    }
}

/// Fields of a span, kept with it.
struct SpanFields(Vec<(&'static str, Value)>);

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.filter.allows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.filter.allows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(level_filter(self.filter.level()))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut gather = Gather::default();
        attributes.record(&mut gather);
        span.extensions_mut().insert(SpanFields(gather.fields));
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut gather = Gather::default();
        values.record(&mut gather);
        if let Some(SpanFields(fields)) = span.extensions_mut().get_mut() {
            // The latest value of a name is the one that counts.
            fields.retain(|(name, _)| gather.fields.iter().all(|(new, _)| new != name));
            fields.append(&mut gather.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut gather = Gather::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                gather.extend(fields);
            }
        }
        event.record(&mut gather);
        let metadata = event.metadata();
        self.queue.push(Record {
            time: now(),
            level: *metadata.level(),
            target: metadata.target(),
            source: metadata.file().zip(metadata.line()),
            message: gather.message,
            fields: gather.fields,
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "a line of the log bears the wall clock's time")]
pub(super) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_an_index() {
        for level in LogLevel::ALL {
            assert_eq!(Filter::new(level).level(), level);
        }
        let filter = Filter::new(LogLevel::Info);
        assert_eq!(filter.set(LogLevel::Trace), LogLevel::Info);
        assert_eq!(filter.set(LogLevel::Error), LogLevel::Trace);
    }
}
