//! How far a run is, for whoever waits for it at a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use uuid::Uuid;

use crate::journal::{Item, Journal};
use crate::state::{StateType, Step};

/// How often it is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(500);
/// Cells of the bar.
const CELLS: usize = 24;

/// Draws the run on standard error until it is dropped; nothing where nobody looks.
pub(super) async fn shown(journal: &Journal, run: Uuid) -> std::convert::Infallible {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let _cleared = Cleared;
    loop {
        // What cannot be read now is drawn later: whoever waits is told by others.
        if let Ok(items) = journal.items(run).await {
            let _ = write!(std::io::stderr(), "\r\x1b[2K{}", line(&items));
        }
        tokio::time::sleep(DRAWN_EVERY).await;
    }
}

/// Leaves nothing on the line.
struct Cleared;

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = write!(std::io::stderr(), "\r\x1b[2K");
    }
}

fn line(items: &[Item]) -> String {
    if items.is_empty() {
        return "its items are not known yet".to_owned();
    }
    let done = items.iter().filter(|item| item.step == Step::Ended).count();
    let count = |wanted: StateType| {
        items
            .iter()
            .filter(|item| item.state.state_type() == wanted)
            .count()
    };
    let filled = CELLS * done / items.len();
    let bar: String = (0..CELLS)
        .map(|cell| if cell < filled { '#' } else { '.' })
        .collect();
    let mut words = vec![format!("{done} of {}", items.len())];
    for (name, number) in [
        ("running", count(StateType::Running)),
        ("waiting", count(StateType::Scheduled)),
        ("for approval", count(StateType::Paused)),
        ("failed", count(StateType::Failed)),
    ] {
        if number > 0 {
            words.push(format!("{number} {name}"));
        }
    }
    format!("[{bar}] {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::line;
    use crate::journal::Item;
    use crate::state::{State, Step};

    #[test]
    fn a_run_is_one_line() {
        let mut items: Vec<Item> = (0..4)
            .map(|number| {
                Item::new(
                    Uuid::nil(),
                    "/v",
                    format!("/v/{number}"),
                    format!("vm:rg/{number}"),
                )
            })
            .collect();
        let states = [
            State::Completed,
            State::Failed,
            State::Running,
            State::AwaitingApproval,
        ];
        for (item, state) in items.iter_mut().zip(states) {
            item.state = state;
            if state.is_terminal() {
                item.step = Step::Ended;
            }
        }
        assert_eq!(
            line(&items),
            "[############............] 2 of 4, 1 running, 1 for approval, 1 failed"
        );
        assert_eq!(line(&[]), "its items are not known yet");
    }
}
