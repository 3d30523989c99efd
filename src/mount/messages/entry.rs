//! One message, and its forms: a line of text, an object of JSON.

use std::time::SystemTime;

use log::{Level, Record};
use serde::Serialize;

/// The forms of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line, with `time` (RFC 3339, in UTC), `level`, `target` and `message`.
    Json,
}

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// The form of a line.
    pub format: Format,
    /// Text tells when and by whom, also on stderr.
    pub detailed: bool,
}

/// A message with all that its forms tell.
#[derive(Debug)]
pub(super) struct Entry {
    time: SystemTime,
    pub(super) level: Level,
    pub(super) target: String,
    pub(super) text: String,
    /// It speaks to whoever has called the command.
    pub(super) said: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    time: &'a str,
    level: &'a str,
    target: &'a str,
    message: &'a str,
}

impl Entry {
    pub(super) fn of(record: &Record<'_>) -> Self {
        Self {
            time: SystemTime::now(),
            level: record.level(),
            target: record.target().to_owned(),
            text: record.args().to_string(),
            said: false,
        }
    }

    /// What messages say of themselves.
    pub(super) fn own(level: Level, text: String) -> Self {
        Self {
            time: SystemTime::now(),
            level,
            target: module_path!().to_owned(),
            text,
            said: false,
        }
    }

    pub(super) fn said(text: &str) -> Self {
        Self {
            said: true,
            ..Self::own(Level::Error, text.to_owned())
        }
    }

    /// `dated`: where nobody is there to see it come.
    pub(super) fn line(&self, style: Style, dated: bool) -> String {
        match style.format {
            Format::Json => self.json(),
            Format::Text => self.in_words(style.detailed, dated),
        }
    }

    fn json(&self) -> String {
        let level = self.level.as_str().to_ascii_lowercase();
        let json = Json {
            time: &rfc3339(self.time),
            level: &level,
            target: &self.target,
            message: &self.text,
        };
        let mut line = serde_json::to_string(&json).unwrap_or_default();
        line.push('\n');
        line
    }

    fn in_words(&self, detailed: bool, dated: bool) -> String {
        let text = &self.text;
        let word = match self.level {
            _ if self.said && !dated => "",
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        if detailed && !self.said {
            let time = rfc3339(self.time);
            format!("{time} {}: {word}{text}\n", self.target)
        } else if dated {
            format!("{} {word}{text}\n", rfc3339(self.time))
        } else {
            format!("b2fuse: {word}{text}\n")
        }
    }
}

/// In UTC, with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn entry(level: Level, text: &str) -> Entry {
        Entry {
            time: UNIX_EPOCH + Duration::from_millis(1_709_210_096_007),
            level,
            target: "b2fuse::x".to_owned(),
            text: text.to_owned(),
            said: false,
        }
    }

    #[test]
    fn text_tells_the_time_where_nobody_sees_it_come() {
        let warning = entry(Level::Warn, "it rains");
        let text = Style::default();
        assert_eq!(warning.line(text, false), "b2fuse: warning: it rains\n");
        assert_eq!(
            warning.line(text, true),
            "2024-02-29T12:34:56.007Z warning: it rains\n"
        );
        let detailed = Style {
            detailed: true,
            ..text
        };
        let line = "2024-02-29T12:34:56.007Z b2fuse::x: warning: it rains\n";
        assert_eq!(warning.line(detailed, false), line);
        assert_eq!(warning.line(detailed, true), line);
        assert_eq!(
            Entry::said("no bucket").line(detailed, false),
            "b2fuse: no bucket\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_whatever_is_said() {
        let style = Style {
            format: Format::Json,
            detailed: false,
        };
        let line = entry(Level::Error, "two\nlines and a \"quote\"").line(style, false);
        assert_eq!(
            line,
            "{\"time\":\"2024-02-29T12:34:56.007Z\",\"level\":\"error\",\"target\":\"b2fuse::x\",\
             \"message\":\"two\\nlines and a \\\"quote\\\"\"}\n"
        );
    }
}
