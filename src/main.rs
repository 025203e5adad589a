//! The `headgate` binary: see [`cli`].

mod cli;

/// mimalloc spares streams many small trips to the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
