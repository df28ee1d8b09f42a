//! What the kernel says about a process: peak and present memory.

use std::fs;

use anyhow::{Context, Result};

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// VmHWM: the largest resident set it ever had.
    pub peak_kib: u64,
    /// VmRSS: the resident set now.
    pub now_kib: u64,
}

/// Memory of a process that runs.
pub fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse(&text).with_context(|| format!("{path} has no VmHWM and VmRSS lines"))
}

/// One decimal, for reports.
pub fn mib(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}

fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    };
    Some(Memory { peak_kib: field("VmHWM")?, now_kib: field("VmRSS")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_and_present_memory_are_read_from_the_status_page() {
        let page = "Name:\tstash\nVmPeak:\t  999999 kB\nVmHWM:\t   98304 kB\nVmRSS:\t   24580 kB\n";
        assert_eq!(parse(page), Some(Memory { peak_kib: 98304, now_kib: 24580 }));
        assert_eq!(parse("Name:\tkthreadd\nPid:\t2\n"), None);
        assert_eq!(parse("VmHWM:\tmany kB\nVmRSS:\t1 kB\n"), None);
        assert_eq!(mib(98304), "96.0 MiB");
    }

    #[test]
    fn this_process_has_a_peak_at_least_as_large_as_now() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.peak_kib >= memory.now_kib && memory.now_kib > 0, "{memory:?}");
    }
}
