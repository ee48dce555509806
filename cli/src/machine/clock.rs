//! How fast the processor is clocked, and whether the board holds it back.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// State of the clock, as far as the system tells.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Clock {
    /// The groups of processors that share a clock.
    pub groups: Vec<Group>,
    /// Why a Raspberry Pi runs below its clock, now or at some time since it was started. `None` where
    /// the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Vec<String>>,
}

/// Processors that share a clock.
#[derive(Debug, PartialEq, Serialize)]
pub struct Group {
    /// What chooses the frequency: `ondemand`, `performance`.
    pub governor: String,
    /// Frequency when asked, in MHz.
    pub mhz: u64,
    /// Highest frequency, in MHz.
    pub max_mhz: u64,
}

impl Clock {
    /// Reads the state from `system`, the folder `/sys` of Linux: `cpufreq` as documented in the
    /// kernel's `admin-guide/pm/cpufreq`, and `get_throttled` of the Raspberry Pi's firmware driver.
    pub fn of(system: &Path) -> Self {
        let policies = system.join("devices/system/cpu/cpufreq");
        let mut folders: Vec<_> = fs::read_dir(policies)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        folders.sort();
        let throttled = fs::read_to_string(system.join("devices/platform/soc/soc:firmware/get_throttled"));
        Self {
            groups: folders.iter().filter_map(|folder| Group::of(folder)).collect(),
            throttling: throttled.ok().and_then(|text| throttling(&text)),
        }
    }

    /// Governors and frequencies in a few words; `None` where the system does not tell.
    pub fn words(&self) -> Option<String> {
        let mut words: Vec<String> = Vec::new();
        for Group { governor, mhz, max_mhz } in &self.groups {
            let group = format!("{governor}, {mhz} of {max_mhz} MHz");
            if !words.contains(&group) {
                words.push(group);
            }
        }
        (!words.is_empty()).then(|| words.join(" + "))
    }
}

impl Group {
    fn of(folder: &Path) -> Option<Self> {
        let text = |name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
        let mhz = |name: &str| text(name)?.parse::<u64>().ok().map(|khz| khz / 1000);
        Some(Self {
            governor: text("scaling_governor")?,
            mhz: mhz("scaling_cur_freq")?,
            max_mhz: mhz("cpuinfo_max_freq")?,
        })
    }
}

/// The bits that `vcgencmd get_throttled` documents: 0 to 3 now, 16 to 19 since the start.
fn throttling(text: &str) -> Option<Vec<String>> {
    let bits = u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
    let reasons = ["under-voltage", "frequency capped", "throttled", "temperature limit"];
    let reason = |(bit, reason): (usize, &&str)| {
        let (now, ever) = (bits >> bit & 1 == 1, bits >> (bit + 16) & 1 == 1);
        match (now, ever) {
            (true, _) => Some(format!("{reason} now")),
            (false, true) => Some(format!("{reason} since the start")),
            (false, false) => None,
        }
    };
    Some(reasons.iter().enumerate().filter_map(reason).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pi_tells_governor_clock_and_throttling() {
        let folder = std::env::temp_dir().join(format!("yolo-lowbit-clock-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(Clock::of(&folder), Clock::default());
        assert_eq!(Clock::of(&folder).words(), None);

        for (policy, governor) in [("policy0", "ondemand\n"), ("policy4", "performance\n")] {
            let file = |name: &str| format!("devices/system/cpu/cpufreq/{policy}/{name}");
            write(&file("scaling_governor"), governor);
            write(&file("scaling_cur_freq"), "1500000\n");
            write(&file("cpuinfo_max_freq"), "1800000\n");
        }
        // A group that does not tell its clock is left out.
        write("devices/system/cpu/cpufreq/policy6/scaling_governor", "ondemand\n");
        write("devices/platform/soc/soc:firmware/get_throttled", "50004\n");
        let clock = Clock::of(&folder);
        assert_eq!(clock.words().unwrap(), "ondemand, 1500 of 1800 MHz + performance, 1500 of 1800 MHz");
        assert_eq!(clock.throttling.unwrap(), ["under-voltage since the start", "throttled now"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn throttling_is_a_hexadecimal_number() {
        assert_eq!(throttling("0\n"), Some(Vec::new()));
        assert_eq!(throttling("0x1\n"), Some(vec!["under-voltage now".to_owned()]));
        assert_eq!(throttling("8"), Some(vec!["temperature limit now".to_owned()]));
        assert_eq!(throttling("none"), None);
    }
}
