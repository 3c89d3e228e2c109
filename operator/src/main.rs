//! The `flotilla` binary.

use std::process::ExitCode;

/// Objects and configurations are many small pieces, with which a C library's own allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    operator::cli::main()
}
