//! HTTP dates (RFC 9110 §5.6.7): the one that is written and the two that must still be read.

const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
const YEAR: f64 = 31_556_952_000.0;

/// Milliseconds since 1970. `now` settles the century of a year of two digits.
pub fn parse(text: &str, now: f64) -> Option<f64> {
    let mut words = text
        .trim()
        .split([' ', ',', '-'])
        .filter(|word| !word.is_empty());
    let weekday = words.next()?;
    let (mut day, mut month, mut year, mut time, mut zone) = (None, None, None, None, None);
    for word in words {
        if word.contains(':') {
            time.replace(clock(word)?);
        } else if let Ok(number) = word.parse::<i64>() {
            let place = if day.is_none() { &mut day } else { &mut year };
            if place.replace((number, word.len())).is_some() {
                return None;
            }
        } else if month.is_none() && word.len() == 3 {
            let at = MONTHS.find(&word.to_ascii_lowercase())?;
            month = (at % 3 == 0).then_some(at as i64 / 3 + 1);
        } else if word != "GMT" || zone.replace(word).is_some() {
            return None;
        }
    }
    // The form of C's asctime has no zone; there the month is before the day.
    if zone.is_none() && weekday.len() != 3 {
        return None;
    }
    let (day, month, mut year) = (day?.0, month?, year?);
    if year.1 == 2 {
        let this = 1970 + (now / YEAR) as i64;
        year.0 += this / 100 * 100;
        year.0 -= if year.0 > this + 50 { 100 } else { 0 };
    } else if year.1 != 4 {
        return None;
    }
    let leap = year.0 % 4 == 0 && (year.0 % 100 != 0 || year.0 % 400 == 0);
    let long = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=long).contains(&day) {
        return None;
    }
    Some((days(year.0, month, day) * 86_400 + time?) as f64 * 1000.0)
}

/// Seconds since midnight; a leap second is the last of its minute.
fn clock(word: &str) -> Option<i64> {
    let mut parts = word.split(':').map(|part| {
        let is_two = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<i64>().ok().filter(|_| is_two)
    });
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let is_time = hours < 24 && minutes < 60 && seconds <= 60 && parts.next().is_none();
    is_time.then(|| hours * 3600 + minutes * 60 + seconds.min(59))
}

/// Days from 1970 to a day of the Gregorian calendar; years begin in March, so that a leap day is
/// the last of one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_three_forms_are_read_and_nothing_else() {
        let at = Some(784_111_777_000.0);
        let now = 1.8e12;
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT", now), at);
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT", now), at);
        assert_eq!(parse("Sun Nov  6 08:49:37 1994", now), at);
        for bad in [
            "0",
            "",
            "-1",
            "Sun, 06 Nov 1994 08:49:37 EST",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 25:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "06 Nov 1994",
        ] {
            assert_eq!(parse(bad, now), None, "{bad}");
        }
    }

    #[test]
    fn year_of_two_digits_is_at_most_fifty_years_ahead() {
        let in_2026 = 1.79e12;
        let year = |text: &str| 1970 + (parse(text, in_2026).unwrap() / YEAR) as i64;
        assert_eq!(year("Sunday, 06-Nov-76 08:49:37 GMT"), 2076);
        assert_eq!(year("Sunday, 06-Nov-77 08:49:37 GMT"), 1977);
    }

    proptest! {
        #[test]
        fn every_second_of_four_centuries_is_read_as_it_is_written(seconds in 0_u64..12_622_780_800) {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(at);
            prop_assert_eq!(parse(&text, 0.0), Some(seconds as f64 * 1000.0));
        }

        #[test]
        fn whatever_comes_is_no_panic(text in "\\PC{0,40}") {
            parse(&text, 1.8e12);
        }
    }
}
