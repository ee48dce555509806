//! The border to QEMU: its plugin API, version 1, as `include/qemu/qemu-plugin.h` of QEMU 7.2 has it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::report::{self, Block};

/// `qemu_plugin_tb`: a block in translation.
#[repr(C)]
pub struct Translation([u8; 0]);

/// `qemu_plugin_insn`: one of its instructions.
#[repr(C)]
pub struct Instruction([u8; 0]);

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
static BLOCKS: Mutex<Vec<Counted>> = Mutex::new(Vec::new());

/// What QEMU calls once it has loaded the plugin. The only argument is `out=FILE`.
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
    let output = output.filter(|_| texts.next().is_none());
    if output.is_none_or(|output| OUTPUT.set(output).is_err()) {
        eprintln!("a64count: expected once, and with one argument: -plugin liba64count.so,out=FILE");
        return 1;
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
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    blocks.push(Counted { address, code, executions });
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
    if let Err(error) = std::fs::write(path, report::text(&blocks)) {
        eprintln!("a64count: cannot write {path}: {error}");
    }
}
