//! The border to QEMU: its plugin API, version 1, as `include/qemu/qemu-plugin.h` of QEMU 7.2 has it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::cache::Caches;
use crate::report::{self, Block};

/// `qemu_plugin_tb`: a block in translation.
#[repr(C)]
pub struct Translation([u8; 0]);

/// `qemu_plugin_insn`: one of its instructions.
#[repr(C)]
pub struct Instruction([u8; 0]);

/// `qemu_plugin_meminfo_t`: what an access is like.
type AccessInfo = u32;

/// `QEMU_PLUGIN_CB_NO_REGS`: a callback that reads no registers.
const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_MEM_RW`: reads and writes.
const READS_AND_WRITES: c_int = 3;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const INLINE_ADD_U64: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: extern "C" fn(u64, *mut Translation));
    fn qemu_plugin_register_atexit_cb(
        id: u64,
        callback: extern "C" fn(u64, *mut c_void),
        user_data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const Translation) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const Translation) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const Translation, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_register_vcpu_tb_exec_inline(
        block: *mut Translation,
        operation: c_int,
        counter: *mut c_void,
        addend: u64,
    );
    fn qemu_plugin_register_vcpu_mem_cb(
        instruction: *mut Instruction,
        callback: extern "C" fn(u32, AccessInfo, u64, *mut c_void),
        registers: c_int,
        accesses: c_int,
        user_data: *mut c_void,
    );
    fn qemu_plugin_mem_size_shift(info: AccessInfo) -> u32;
}

/// Version of the plugin API, which QEMU checks before it calls anything.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static qemu_plugin_version: c_int = 1;

struct Counted {
    address: u64,
    code: Vec<u32>,
    executions: &'static AtomicU64,
}

static OUTPUT: OnceLock<String> = OnceLock::new();
/// Set if accesses are to be followed.
static CACHES: OnceLock<Mutex<Caches>> = OnceLock::new();
static BLOCKS: Mutex<Vec<Counted>> = Mutex::new(Vec::new());

/// What QEMU calls once it has loaded the plugin. The arguments are `out=FILE`, and `cache=on` to follow data
/// accesses.
///
/// # Safety
/// - `arguments` points to `count` C strings, valid during the call, as QEMU promises.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    let mut texts = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
        // SAFETY: index < count, and the caller promises that many C strings.
        unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy()
    });
    let output = texts.next().and_then(|text| text.strip_prefix("out=").map(str::to_owned));
    let rest: Vec<_> = texts.collect();
    let cache = rest.iter().map(AsRef::as_ref).eq(["cache=on"]);
    let output = output.filter(|_| cache || rest.is_empty());
    if output.is_none_or(|output| OUTPUT.set(output).is_err()) {
        eprintln!("a64count: expected, once: -plugin liba64count.so,out=FILE[,cache=on]");
        return 1;
    }
    if cache {
        CACHES.get_or_init(|| Mutex::new(Caches::cortex_a72()));
    }
    // SAFETY: the id is QEMU's, and both callbacks have the signatures of the API.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, finished, std::ptr::null_mut());
    }
    0
}

/// Remembers a new block and has its executions counted.
extern "C" fn translated(_id: u64, block: *mut Translation) {
    // Never freed: the translated code increments it until the program ends.
    let executions: &'static AtomicU64 = Box::leak(Box::default());
    // SAFETY: QEMU keeps the block valid during this call; indices are below its length; an A64
    // instruction has four bytes; the counter lives for ever and is as large as the API wants it.
    let (address, code) = unsafe {
        qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, executions.as_ptr().cast(), 1);
        let word = |index| {
            let bytes = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, index));
            u32::from_le_bytes(bytes.cast::<[u8; 4]>().read())
        };
        (qemu_plugin_tb_vaddr(block), (0..qemu_plugin_tb_n_insns(block)).map(word).collect())
    };
    if CACHES.get().is_some() {
        // SAFETY: QEMU keeps the block and its instructions valid during this call, and calls back with the
        // signature of the API.
        unsafe {
            for index in 0..qemu_plugin_tb_n_insns(block) {
                let instruction = qemu_plugin_tb_get_insn(block, index);
                let nothing = std::ptr::null_mut();
                qemu_plugin_register_vcpu_mem_cb(
                    instruction,
                    accessed,
                    NO_REGISTERS,
                    READS_AND_WRITES,
                    nothing,
                );
            }
        }
    }
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    blocks.push(Counted { address, code, executions });
}

/// Follows an access. QEMU tells one of 16 bytes as two of 8.
extern "C" fn accessed(_cpu: u32, info: AccessInfo, address: u64, _user_data: *mut c_void) {
    let Some(caches) = CACHES.get() else { return };
    // SAFETY: the value is QEMU's, of this access.
    let bytes = 1 << unsafe { qemu_plugin_mem_size_shift(info) };
    caches.lock().unwrap_or_else(PoisonError::into_inner).access(address, bytes);
}

extern "C" fn finished(_id: u64, _user_data: *mut c_void) {
    let counted = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let blocks: Vec<Block<'_>> = counted
        .iter()
        .map(|block| Block {
            address: block.address,
            code: &block.code,
            executions: block.executions.load(Ordering::Relaxed),
        })
        .collect();
    let Some(path) = OUTPUT.get() else { return };
    let caches = CACHES.get().map(|caches| caches.lock().unwrap_or_else(PoisonError::into_inner));
    if let Err(error) = std::fs::write(path, report::text(&blocks, caches.as_deref())) {
        eprintln!("a64count: cannot write {path}: {error}");
    }
}
