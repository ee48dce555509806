//! The instruction sets.

/// An instruction set that micro-kernels are written for; also the `<engine>` in their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// Portable Rust, available everywhere.
    Generic,
    /// AArch64 Advanced SIMD.
    Neon,
    /// AArch64 Advanced SIMD with the dot product instructions.
    Dotprod,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 and the extensions of Ice Lake and Zen 4.
    Avx512,
    /// x86-64 with AMX for bytes.
    Amx,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Generic, Self::Neon, Self::Dotprod, Self::Avx2, Self::Avx512, Self::Amx];

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
            Self::Avx512 => super::x86_64::avx512::Avx512::new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => super::x86_64::amx::is_available(),
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// The largest that this CPU has.
    pub fn best() -> Self {
        let available = Self::ALL.into_iter().filter(|engine| engine.is_available());
        available.max_by_key(|engine| engine.and_bases().count()).unwrap_or(Self::Generic)
    }

    /// What stands for it in names: the dot product is a technique of NEON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generic => "generic",
            Self::Neon | Self::Dotprod => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// The engine whose instructions are among this one's.
    pub(crate) fn base(self) -> Option<Self> {
        match self {
            Self::Generic => None,
            Self::Neon | Self::Avx2 => Some(Self::Generic),
            Self::Dotprod => Some(Self::Neon),
            Self::Avx512 => Some(Self::Avx2),
            Self::Amx => Some(Self::Avx512),
        }
    }

    /// This engine, and those whose instructions are among its own, the largest first.
    pub(crate) fn and_bases(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |engine| engine.base())
    }
}

/// The instruction set extensions that matter to micro-kernels and that this CPU has, as people call them.
#[cfg(target_arch = "aarch64")]
pub(crate) fn features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let all =
        [("neon", has!("neon")), ("dotprod", has!("dotprod")), ("i8mm", has!("i8mm")), ("sve", has!("sve"))];
    all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
}

/// As on ARM.
#[cfg(target_arch = "x86_64")]
pub(crate) fn features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let all = [
        ("avx2", has!("avx2")),
        ("avx512bw", has!("avx512bw")),
        ("avx512vnni", has!("avx512vnni")),
        ("avx512vpopcntdq", has!("avx512vpopcntdq")),
        ("amx", Engine::Amx.is_available()),
    ];
    all.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect()
}

/// None that is known here.
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
pub(crate) fn features() -> Vec<&'static str> {
    Vec::new()
}
