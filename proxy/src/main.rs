//! The `flotilla-proxy` binary.

use std::process::ExitCode;

/// Configurations are many small pieces, and a static C library's own allocator is slow with those.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    proxy::cli::main()
}
