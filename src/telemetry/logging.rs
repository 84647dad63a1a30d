//! The log on standard output, in the lines that Kafka's own log4j layout prints, because scripts and wait strategies
//! read them: `[2026-11-21 00:11:55,715] INFO text field=value (module)`. Times are UTC.
//!
//! `MONEDULA_LOG` filters as `RUST_LOG` does elsewhere: `debug`, or `info,monedula::server=trace`.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::base::time::{Clock, Timestamp};

/// Where the filter is read from.
const FILTER_VARIABLE: &str = "MONEDULA_LOG";

/// Begins to log. Only the first call of a process has an effect, so brokers that share one may all call it.
pub fn start() {
    let filter = EnvFilter::builder()
        .with_default_directive(Level::INFO.into())
        .with_env_var(FILTER_VARIABLE)
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(Lines)
        .finish();
    // Whoever embeds the broker and logs already keeps its own log.
    drop(tracing::subscriber::set_global_default(subscriber));
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        writeln!(
            writer,
            "[{}] {} {}{} ({})",
            Moment(Clock.now()),
            metadata.level(),
            text.message,
            text.fields,
            metadata.target()
        )
    }
}

/// The message of an event and, behind it, its fields. A line break inside of a value must not begin a new line of the
/// log: what a client sends could otherwise look like a line of ours.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        let value = if value.contains(char::is_control) {
            value.escape_debug().to_string()
        } else {
            value
        };
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.push(' ');
            self.fields.push_str(field.name());
            self.fields.push('=');
            self.fields.push_str(&value);
        }
    }
}

/// A time as log4j's `%d` prints it.
struct Moment(Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_MS: i64 = 86_400_000;
        let (day, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let (year, month, day) = civil(day);
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02},{:03}",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1_000 % 60,
            ms % 1_000
        )
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day comes last; 400 of them have 146,097 days.
fn civil(day: i64) -> (i64, i64, i64) {
    const DAYS_0000_03_01_TO_1970: i64 = 719_468;
    let day = day + DAYS_0000_03_01_TO_1970;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_log4j_does() {
        let print = |ms| Moment(ms).to_string();
        assert_eq!(print(0), "1970-01-01 00:00:00,000");
        assert_eq!(print(951_782_399_999), "2000-02-28 23:59:59,999");
        assert_eq!(print(951_782_400_000), "2000-02-29 00:00:00,000");
        assert_eq!(print(1_795_219_915_715), "2026-11-21 00:11:55,715");
        assert_eq!(print(4_107_542_400_000), "2100-03-01 00:00:00,000");
        assert_eq!(print(-1), "1969-12-31 23:59:59,999");
    }
}
