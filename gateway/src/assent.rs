//! One person's assent where several have to give the same.
//!
//! Kept with the identity that gave it: the assent of somebody who was stopped since, under
//! whichever of their names, no longer counts.

use serde::{Deserialize, Serialize};

/// Who gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assent {
    /// The person.
    pub(crate) person: String,
    /// The issuer that vouched for them.
    pub(crate) issuer: String,
    /// Their subject there.
    pub(crate) subject: String,
}

/// Adds an assent, once for each person; how many count now. Those that no longer do are dropped,
/// this one too if its giver was stopped while it was under way.
pub(crate) fn add(
    given: &mut Vec<Assent>,
    assent: Assent,
    counts: impl Fn(&Assent) -> bool,
) -> usize {
    if !given.iter().any(|own| own.person == assent.person) {
        given.push(assent);
    }
    given.retain(counts);
    given.len()
}

#[cfg(test)]
mod tests {
    use super::{Assent, add};

    fn of(person: &str, subject: &str) -> Assent {
        Assent {
            person: person.into(),
            issuer: "https://idp".into(),
            subject: subject.into(),
        }
    }

    #[test]
    fn a_person_counts_once_and_who_is_stopped_not_at_all() {
        let mut given = Vec::new();
        assert_eq!(add(&mut given, of("p", "a"), |_| true), 1);
        assert_eq!(add(&mut given, of("p", "b"), |_| true), 1);
        assert_eq!(add(&mut given, of("q", "c"), |_| true), 2);
        assert_eq!(add(&mut given, of("r", "d"), |one| one.subject != "c"), 2);
        assert_eq!(add(&mut given, of("s", "e"), |one| one.subject != "e"), 2);
    }
}
