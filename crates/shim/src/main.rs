//! `podling-shim POD_DIR CGROUP`: the per-Pod parent of all containers. All of it is in the library.

fn main() -> std::process::ExitCode {
    shim::serve::main()
}
