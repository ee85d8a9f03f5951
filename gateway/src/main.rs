//! The `vaultgate` executable.

use std::process::ExitCode;

/// Half of a request's time goes to small allocations that other threads free.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vaultgate::main()
}
