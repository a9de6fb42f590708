//! Dates as heads and objects write them. Whole seconds, UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// The last second of the year 9999: no format here has room for more.
const END: u64 = 253_402_300_799;

const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];

/// `Sat, 21 Nov 2026 12:22:45 GMT`, for the field `Date`.
#[must_use]
pub fn http(time: SystemTime) -> String {
    let Civil {
        year,
        month,
        name,
        day,
        weekday,
        hour,
        minute,
        second,
    } = Civil::of(time);
    let _ = month;
    format!("{weekday}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// `2026-11-21T12:22:45Z`, for the times in Kubernetes objects.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = Civil::of(time);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

struct Civil {
    year: u64,
    month: u64,
    name: &'static str,
    day: u64,
    weekday: &'static str,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// Counts years, then months, down from the days since 1970. A clock before that reads 1970.
    fn of(time: SystemTime) -> Self {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs())
            .min(END);
        let mut days = seconds / 86_400;
        let weekday = match days % 7 {
            0 => "Thu",
            1 => "Fri",
            2 => "Sat",
            3 => "Sun",
            4 => "Mon",
            5 => "Tue",
            _ => "Wed",
        };
        let mut year = 1970u64;
        let leap = |year: u64| {
            (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
        };
        while let Some(rest) = days.checked_sub(if leap(year) { 366 } else { 365 }) {
            days = rest;
            year = year.saturating_add(1);
        }
        let mut month = 1u64;
        let mut name = "Jan";
        for (label, length) in MONTHS {
            name = label;
            let extra = u64::from(label == "Feb" && leap(year));
            match days.checked_sub(length.saturating_add(extra)) {
                Some(rest) => days = rest,
                None => break,
            }
            month = month.saturating_add(1);
        }
        Self {
            year,
            month,
            name,
            day: days.saturating_add(1),
            weekday,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn known_dates() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        // The first from RFC 9110, the others from `date -u -d @N`.
        assert_eq!(http(at(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http(at(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http(at(951_782_400)), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(rfc3339(at(1_795_263_765)), "2026-11-21T12:22:45Z");
        assert_eq!(rfc3339(at(4_107_542_399)), "2100-02-28T23:59:59Z");
        assert_eq!(rfc3339(at(4_107_542_400)), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(at(END)), "9999-12-31T23:59:59Z");
        assert_eq!(
            rfc3339(at(u64::from(u32::MAX) << 8)),
            "9999-12-31T23:59:59Z"
        );
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00Z"
        );
    }
}
