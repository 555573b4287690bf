//! The log, on standard output in the shape of configurable-http-proxy's: `2026-01-31T12:34:56.789Z [ConfigProxy] info: …`.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::options::Options;

pub(crate) fn start(options: &Options) {
    tracing_subscriber::fmt()
        .with_env_filter(options.log_filter())
        .with_writer(std::io::stdout)
        .with_ansi(false)
        // The hub that started us may be gone, and its end of the pipe with it.
        .log_internal_errors(false)
        .event_format(AsConfigProxy)
        .init();
}

struct AsConfigProxy;

impl<S, N> FormatEvent<S, N> for AsConfigProxy
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "silly",
        };
        let now = jiff::Timestamp::now();
        write!(writer, "{} [ConfigProxy] {level}: ", now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))?;
        let mut line = String::new();
        context.field_format().format_fields(Writer::new(&mut line), event)?;
        // Names of routes and such come from others, who must not write lines of their own.
        for character in line.chars() {
            match character.is_control() {
                true => write!(writer, "{}", character.escape_default())?,
                false => writer.write_char(character)?,
            }
        }
        writeln!(writer)
    }
}
