//! The `vaultgate` executable.

use std::process::ExitCode;

fn main() -> ExitCode {
    vaultgate::main()
}
