//! What time it is by B2's clock, from the `Date` of its answers (API §1): the clock of this machine may be wrong, and
//! what B2 stamps can be compared with B2's own time only.

use parking_lot::Mutex;
use reqwest::header::{DATE, HeaderMap, HeaderValue};
use std::time::UNIX_EPOCH;
use tokio::time::Instant;

/// The `Date` of the last answer that had one, and when it came. Read when somebody asks.
#[derive(Debug, Default)]
pub(super) struct ServerDate(Mutex<Option<(HeaderValue, Instant)>>);

impl ServerDate {
    pub(super) fn note(&self, headers: &HeaderMap) {
        if let Some(date) = headers.get(DATE) {
            *self.0.lock() = Some((date.clone(), Instant::now()));
        }
    }

    /// Milliseconds since 1970, to a second; `None` as long as no answer has told.
    pub(super) fn now_ms(&self) -> Option<u64> {
        let (date, came) = self.0.lock().clone()?;
        let date = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
        let date = date.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from((date + came.elapsed()).as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_what_was_told_last() {
        let date = ServerDate::default();
        assert_eq!(date.now_ms(), None);
        let told =
            |text: &'static str| HeaderMap::from_iter([(DATE, HeaderValue::from_static(text))]);
        date.note(&told("Thu, 01 Jan 1970 00:01:00 GMT"));
        assert_eq!(date.now_ms(), Some(60_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        date.note(&HeaderMap::new());
        assert_eq!(date.now_ms(), Some(65_000));
        date.note(&told("Fri, 27 Nov 2026 10:00:00 GMT"));
        assert_eq!(date.now_ms(), Some(1_795_773_600_000));
        date.note(&told("soon"));
        assert_eq!(date.now_ms(), None);
    }

    proptest! {
        #[test]
        fn any_date_is_a_time_or_none(
            year in 0..=9999_u32, day in "[0-9]{2}", clock in "[0-9]{2}:[0-9]{2}:[0-9]{2}",
            month in "(Jan|Feb|Dec|[A-z]{3})", other in "[\\x20-\\x7e\\x80-\\xff]{0,40}",
        ) {
            let date = ServerDate::default();
            for text in [&format!("Sun, {day} {month} {year:04} {clock} GMT"), &other] {
                if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                    date.note(&HeaderMap::from_iter([(DATE, value)]));
                    let told = date.now_ms();
                    prop_assert!(told.is_none_or(|ms| ms < 253_402_300_900_000), "{:?}", told);
                }
            }
        }
    }
}
