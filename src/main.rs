//! The `headgate` binary: see [`cli`].

mod cli;

/// Streams make many short-lived pieces of all sizes; mimalloc hands them out in less time than the system's allocator and gives
/// memory back after a rush. Its second version, for the third takes twice the memory (`benches/compare.py`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
