//! The `b2fuse` command: parse, run, exit code.

fn main() -> std::process::ExitCode {
    b2fuse::mount::heap::set_up();
    b2fuse::cli::main()
}
