//! Patterns of names: `*` stands for any letters but `/`, everything else for itself.
//!
//! Azure's names are the same in either case, so a pattern is too.

/// A pattern of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it: it is empty, or has letters that other tools give a meaning.
    pub fn parse(text: &str) -> Result<Glob, String> {
        if text.trim().is_empty() {
            return Err("a pattern is empty".to_owned());
        }
        if text.contains("**") {
            return Err(format!(
                "`{text}` has `**`: one `*` stands for any letters but `/`"
            ));
        }
        match text
            .chars()
            .find(|c| matches!(c, '?' | '[' | ']' | '{' | '}' | '\\' | '!'))
        {
            Some(c) => Err(format!(
                "`{text}` has a `{c}`: only `*` stands for other letters"
            )),
            None => Ok(Glob(text.to_lowercase())),
        }
    }

    /// Whether a name is meant.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        // Where the last `*` was, and how much it has taken by now.
        let (mut p, mut n, mut star) = (0, 0, None);
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(letter) if name.get(n) == Some(letter) => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, taken)) if name.get(taken) != Some(&b'/') => {
                        star = Some((at, taken + 1));
                        p = at + 1;
                        n = taken + 1;
                    }
                    _ => return false,
                },
            }
        }
        pattern.iter().skip(p).all(|letter| *letter == b'*')
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::Glob;

    #[test]
    fn a_star_stops_at_a_slash() {
        for (pattern, name, meant) in [
            ("web-*", "web-01", true),
            ("web-*", "Web-01", true),
            ("web-*", "web-", true),
            ("web-*", "db-01", false),
            ("rg-app/*", "rg-app/web-01", true),
            ("*", "rg-app/web-01", false),
            ("*/*", "rg-app/web-01", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("a*b*c", "a/b/c", false),
            ("abc", "abcd", false),
            ("*abc", "ababc", true),
        ] {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(name),
                meant,
                "{pattern} {name}"
            );
        }
        for pattern in ["", " ", "a**", "a?", "[ab]", "{a,b}", "!a", "a\\b"] {
            assert!(Glob::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_takes_long_or_panics(pattern in "[a*/]{1,30}", name in "[ab/]{0,60}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let _ = glob.matches(&name);
            }
        }
    }
}
