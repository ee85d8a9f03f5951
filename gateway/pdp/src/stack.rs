//! A thread with room: the engine recurses natively, and an overflow would abort
//! the whole process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Why the work gave no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StackError {
    /// The thread could not be started.
    #[error("cannot start a thread for the policy engine: {0}")]
    Start(std::io::Error),
    /// The work panicked.
    #[error("the policy engine panicked")]
    Panicked,
}

/// Runs `work` on a thread of its own with `bytes` of stack.
pub(crate) fn on_large_stack<T: Send>(
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, StackError> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("vaultgate-policy".to_owned())
            .stack_size(bytes)
            .spawn_scoped(scope, || catch_unwind(AssertUnwindSafe(work)))
            .map_err(StackError::Start)?;
        match thread.join() {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(StackError::Panicked),
        }
    })
}
