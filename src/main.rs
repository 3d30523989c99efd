//! The `b2fuse` command: parse, run, exit code.

fn main() -> std::process::ExitCode {
    b2fuse::cli::main()
}
