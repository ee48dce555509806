//! Whether this process may use AMX.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Whether the CPU has AMX for bytes, and the operating system lets this process use it. Asks for the permission
/// when called first.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && permission())
}

/// Whether the CPU has AMX-TILE and AMX-INT8, and the operating system saves tiles.
fn has_instructions() -> bool {
    /// Of leaf 7, register EDX.
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    /// Of leaf 1, register ECX: XGETBV may be used.
    const OSXSAVE: u32 = 1 << 27;
    /// Of XCR0: configuration and data of tiles.
    const TILE_STATE: u64 = 0b11 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: OSXSAVE says that XGETBV exists and may be used.
    let saved = unsafe { _xgetbv(0) };
    saved & TILE_STATE == TILE_STATE && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
}

/// Asks Linux for the permission to use tiles, whose state takes 8 KiB of each thread that does: without it the first
/// tile instruction ends the process. It is refused, for one, where an alternate signal stack is too small for them.
#[cfg(target_os = "linux")]
fn permission() -> bool {
    /// `arch_prctl` of x86-64.
    const ARCH_PRCTL: u64 = 158;
    /// Linux, `arch/x86/include/uapi/asm/prctl.h`.
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    /// The state component of tile data.
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: this system call reads and writes no memory of ours; RCX and R11 are what SYSCALL itself changes.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Other systems have ways of their own, which are not known here.
#[cfg(not(target_os = "linux"))]
fn permission() -> bool {
    false
}
