//! Lengths of time as people write them: a whole number and its unit.

use std::fmt;

use jiff::SignedDuration;

/// Longest length of time that a flow may speak of: ten years. Retention is what comes near it.
const LONGEST: i64 = 10 * 366 * 86_400;
const UNITS: [(&str, i64); 5] = [
    ("s", 1),
    ("m", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 604_800),
];

/// A length of time, of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Length(i64);

impl Length {
    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Length {
        Length(seconds)
    }

    /// Reads text such as `90s`, `15m`, `8h`, `30d`, `2w`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Length, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(format!("`{text}` is no length of time"));
        }
        let Some((_, seconds)) = UNITS.iter().find(|(known, _)| *known == unit) else {
            return Err(match unit {
                "" => format!("`{text}` has no unit"),
                unit => format!("`{unit}` is no unit of time"),
            });
        };
        let length = number
            .parse::<i64>()
            .ok()
            .and_then(|n| n.checked_mul(*seconds));
        match length {
            Some(length) if length <= LONGEST => Ok(Length(length)),
            _ => Err(format!("`{text}` is longer than ten years")),
        }
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> i64 {
        self.0
    }

    /// The same for calculations with instants.
    pub const fn signed(self) -> SignedDuration {
        SignedDuration::from_secs(self.0)
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, seconds): &&(&str, i64)| self.0 % seconds == 0 && self.0 >= *seconds;
        // Weeks are taken in and not given out: `14d` reads better than `2w` beside `30d`.
        let unit = UNITS.iter().rev().skip(1).find(fits);
        let (unit, seconds) = unit.copied().unwrap_or(("s", 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::Length;

    #[test]
    fn lengths_have_a_unit() {
        for (text, seconds, shown) in [
            ("90s", 90, "90s"),
            ("15m", 900, "15m"),
            ("8h", 28_800, "8h"),
            ("30d", 2_592_000, "30d"),
            ("2w", 1_209_600, "14d"),
            ("0s", 0, "0s"),
            ("120m", 7_200, "2h"),
        ] {
            let length = Length::parse(text).unwrap();
            assert_eq!(
                (length.as_secs(), length.to_string().as_str()),
                (seconds, shown)
            );
        }
        for text in [
            "",
            "8",
            "h",
            "8 h",
            "-8h",
            "8H",
            "1.5h",
            "8h30m",
            "99999d",
            "99999999999999999999s",
        ] {
            assert!(Length::parse(text).is_err(), "{text}");
        }
    }
}
