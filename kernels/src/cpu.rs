//! What this CPU can do, and the environment variable that overrides the choice.

use crate::ukernel::Engine;

/// Restricts the choice of micro-kernels: a comma-separated list of parts of their names, such as
/// `generic`, `neon`, `avx2`, `avx512`, `amx`, `dotprod`, `mulconv` or a whole name. For each operation the fastest
/// micro-kernel whose name contains one of the parts is taken; an operation that none of them
/// supports is chosen for as if the variable were not set.
pub const KERNELS_VARIABLE: &str = "YLB_KERNELS";

impl Engine {
    /// Whether this CPU has the engine's instructions.
    pub fn is_available(self) -> bool {
        match self {
            Self::Generic => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => crate::arch::x86_64::avx512::Avx512::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => crate::arch::x86_64::amx::is_available(),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

/// The value of [`KERNELS_VARIABLE`], empty if it is not set.
pub fn kernels_override() -> String {
    std::env::var(KERNELS_VARIABLE).unwrap_or_default()
}
