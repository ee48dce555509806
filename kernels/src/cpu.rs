//! What this CPU can do, and the environment variable that overrides the choice.

/// Restricts the choice of micro-kernels: a comma-separated list of parts of their names, such as an engine (`generic`,
/// `neon`, `avx2`), a technique (`dotprod`), a family (`mulconv`) or a whole name. For each operation the fastest
/// micro-kernel whose name contains one of the parts is taken; an operation that none of them
/// supports is chosen for as if the variable were not set.
pub const KERNELS_VARIABLE: &str = "YLB_KERNELS";

/// The instruction set extensions that matter to micro-kernels and that this CPU has, as people call them.
pub fn features() -> Vec<&'static str> {
    crate::arch::features()
}

/// The value of [`KERNELS_VARIABLE`], empty if it is not set.
pub fn kernels_override() -> String {
    std::env::var(KERNELS_VARIABLE).unwrap_or_default()
}
