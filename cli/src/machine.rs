//! What computer this is: the facts without which a benchmark's figures mean nothing.

mod clock;

use std::fs;
use std::path::Path;
use std::thread;

use clock::Clock;
use serde::Serialize;

/// A description of the machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The board or computer, where the system names it: `Raspberry Pi 4 Model B Rev 1.4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// The processor: `Cortex-A72`.
    pub cpu: String,
    /// Instruction set, such as `aarch64`.
    pub architecture: &'static str,
    /// The instruction set extensions that matter to micro-kernels and that this CPU has.
    pub features: Vec<&'static str>,
    /// Processors that this process may use.
    pub processors: usize,
    /// Clock of the processors at this moment.
    pub clock: Clock,
}

impl Machine {
    /// The machine that runs this.
    pub fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let board = fs::read_to_string("/proc/device-tree/model").ok();
        Self {
            board: board.map(|board| board.trim_end_matches('\0').to_owned()),
            cpu: cpu_name(&cpuinfo),
            architecture: std::env::consts::ARCH,
            features: ylb_kernels::cpu::features(),
            processors: thread::available_parallelism().map_or(1, usize::from),
            clock: Clock::of(Path::new("/sys")),
        }
    }
}

/// Largest amount of memory that this process has occupied so far, in bytes. `None` where the system
/// does not tell.
pub fn peak_memory() -> Option<u64> {
    peak_memory_of(&fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_memory_of(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The processor's name from `/proc/cpuinfo`: on x86 it is there, on ARM there are numbers.
/// Different cores (big and little ones) are all named.
fn cpu_name(cpuinfo: &str) -> String {
    let fields = |name: &'static str| {
        cpuinfo.lines().filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim())
        })
    };
    if let Some(name) = fields("model name").next() {
        return name.to_owned();
    }
    let mut cores: Vec<String> = Vec::new();
    for (implementer, part) in fields("CPU implementer").zip(fields("CPU part")) {
        let name = arm_core(implementer, part);
        if !cores.contains(&name) {
            cores.push(name);
        }
    }
    if cores.is_empty() { "unknown".to_owned() } else { cores.join(" + ") }
}

/// Names of ARM's cores by the part number of MIDR_EL1, from their Technical Reference Manuals.
fn arm_core(implementer: &str, part: &str) -> String {
    let name = match (implementer, part) {
        ("0x41", "0xd03") => "Cortex-A53",
        ("0x41", "0xd04") => "Cortex-A35",
        ("0x41", "0xd05") => "Cortex-A55",
        ("0x41", "0xd07") => "Cortex-A57",
        ("0x41", "0xd08") => "Cortex-A72",
        ("0x41", "0xd09") => "Cortex-A73",
        ("0x41", "0xd0a") => "Cortex-A75",
        ("0x41", "0xd0b") => "Cortex-A76",
        ("0x41", "0xd0c") => "Neoverse-N1",
        ("0x41", "0xd0d") => "Cortex-A77",
        ("0x41", "0xd40") => "Neoverse-V1",
        ("0x41", "0xd41") => "Cortex-A78",
        ("0x41", "0xd49") => "Neoverse-N2",
        _ => return format!("ARM core (implementer {implementer}, part {part})"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named() {
        let pi = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nprocessor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n";
        assert_eq!(cpu_name(pi), "Cortex-A72");
        let big_little =
            "CPU implementer : 0x41\nCPU part : 0xd03\nCPU implementer : 0x41\nCPU part : 0xd09\n";
        assert_eq!(cpu_name(big_little), "Cortex-A53 + Cortex-A73");
        assert_eq!(
            cpu_name("CPU implementer : 0x61\nCPU part : 0x022\n"),
            "ARM core (implementer 0x61, part 0x022)"
        );
        assert_eq!(cpu_name("model name\t: Some CPU @ 3 GHz\n"), "Some CPU @ 3 GHz");
        assert_eq!(cpu_name(""), "unknown");
    }

    #[test]
    fn peak_memory_is_read_in_kib() {
        assert_eq!(peak_memory_of("Name:\tx\nVmHWM:\t   1234 kB\n"), Some(1234 * 1024));
        assert_eq!(peak_memory_of("Name:\tx\n"), None);
        #[cfg(target_os = "linux")]
        assert!(peak_memory().is_some_and(|bytes| bytes > 100_000));
    }
}
