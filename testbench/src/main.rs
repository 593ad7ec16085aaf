//! `vtb`, the command. All of it is in [`testbench::cli`].

fn main() -> std::process::ExitCode {
    testbench::cli::main()
}
