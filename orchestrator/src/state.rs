//! The states of runs and of their items: Prefect's types and names, and some of our own.
//!
//! The type drives what happens, the name is for people. What is terminal stays: nothing here
//! goes back from it.

/// What a state means to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateType {
    /// It is to begin.
    Scheduled,
    /// It goes on.
    Running,
    /// It waits for people.
    Paused,
    /// It ended well.
    Completed,
    /// It ended badly.
    Failed,
    /// It was not to go on.
    Cancelled,
}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident => $type:ident,)*) => {
        /// A state by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum State {
            $($(#[$doc])* $name,)*
        }

        impl State {
            /// Every state.
            pub const ALL: &'static [State] = &[$(State::$name,)*];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(State::$name => stringify!($name),)*
                }
            }

            /// What it means.
            pub const fn state_type(self) -> StateType {
                match self {
                    $(State::$name => StateType::$type,)*
                }
            }
        }
    };
}

states! {
    /// Due, or about to be.
    Scheduled => Scheduled,
    /// It could not be done just now and is tried again.
    AwaitingRetry => Scheduled,
    /// Others of its region go first.
    AwaitingConcurrencySlot => Scheduled,
    /// Nothing is started at this time.
    AwaitingMaintenance => Scheduled,
    /// Under way.
    Running => Running,
    /// Under way, by a job that was there already.
    Adopted => Running,
    /// Others have to agree first.
    AwaitingApproval => Paused,
    /// All of it is backed up, and that was looked at.
    Completed => Completed,
    /// Some of it is backed up.
    CompletedWithFailures => Failed,
    /// None of it is, or it is not what it has to be.
    Failed => Failed,
    /// The gateway's policy refused.
    Denied => Failed,
    /// It took longer than it may.
    TimedOut => Failed,
    /// Nobody ran it in time.
    Missed => Failed,
    /// Another run of the same region went on.
    Skipped => Cancelled,
    /// Somebody ended it.
    Cancelled => Cancelled,
}

impl State {
    /// The state of a name.
    pub fn of(name: &str) -> Option<State> {
        State::ALL
            .iter()
            .copied()
            .find(|state| state.as_str() == name)
    }

    /// Whether nothing follows it.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self.state_type(),
            StateType::Completed | StateType::Failed | StateType::Cancelled
        )
    }
}

/// How far one item has come. Each step is on disk before what it stands for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Nothing was sent.
    Ready,
    /// The request may have been sent: sent again, under the same key, it is not done twice.
    Sent,
    /// The gateway asks for the consent of others.
    Asked,
    /// Azure took it: its job is to be found by the decision's id.
    Accepted,
    /// Azure has a job on this item already: it is to be found.
    Adopting,
    /// Its job is known.
    Working,
    /// Its job ended well: its recovery point is to be looked at.
    Checking,
    /// It has ended.
    Ended,
}

impl Step {
    const ALL: [(&'static str, Step); 8] = [
        ("ready", Step::Ready),
        ("sent", Step::Sent),
        ("asked", Step::Asked),
        ("accepted", Step::Accepted),
        ("adopting", Step::Adopting),
        ("working", Step::Working),
        ("checking", Step::Checking),
        ("ended", Step::Ended),
    ];

    /// As the journal writes it.
    pub fn as_str(self) -> &'static str {
        let found = Step::ALL.iter().find(|(_, step)| *step == self);
        found.map_or("ready", |(name, _)| name)
    }

    /// The step of a name.
    pub fn of(name: &str) -> Option<Step> {
        let found = Step::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, step)| *step)
    }

    /// Whether an item at this step takes one of the places of its region. Who waits for people
    /// takes none.
    pub const fn holds_slot(self) -> bool {
        matches!(
            self,
            Step::Sent | Step::Accepted | Step::Adopting | Step::Working
        )
    }
}

/// What the items of a run come to, once all of them have ended.
pub fn outcome(items: &[State]) -> State {
    let count = |wanted: State| items.iter().filter(|state| **state == wanted).count();
    let all = items.len();
    match () {
        // A run that backed nothing up has not done what it is for.
        () if all == 0 => State::Failed,
        () if count(State::Completed) == all => State::Completed,
        () if count(State::Completed) > 0 => State::CompletedWithFailures,
        () if count(State::Denied) == all => State::Denied,
        () if count(State::Cancelled) == all => State::Cancelled,
        () if count(State::TimedOut) == all => State::TimedOut,
        () => State::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::{State, StateType, Step, outcome};

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(State::of(state.as_str()), Some(*state));
        }
        for (name, step) in Step::ALL {
            assert_eq!((Step::of(name), step.as_str()), (Some(step), name));
        }
        assert_eq!(State::of("completed"), None);
    }

    #[test]
    fn a_run_is_complete_only_if_all_of_it_is() {
        use State::{Cancelled, Completed, CompletedWithFailures, Denied, Failed, TimedOut};
        for (items, expected) in [
            (vec![Completed, Completed], Completed),
            (vec![Completed, Denied], CompletedWithFailures),
            (vec![Denied, Denied], Denied),
            (vec![Denied, Failed], Failed),
            (vec![TimedOut], TimedOut),
            (vec![Cancelled], Cancelled),
            (vec![], Failed),
        ] {
            assert_eq!(outcome(&items), expected, "{items:?}");
        }
        assert_eq!(Completed.state_type(), StateType::Completed);
        assert_ne!(CompletedWithFailures.state_type(), StateType::Completed);
    }
}
