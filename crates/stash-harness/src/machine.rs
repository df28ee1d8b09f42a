//! What the kernel says about a process: peak and present memory, and processor time.

use std::fs;
use std::ops::AddAssign;
use std::time::Duration;

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

/// Processor time of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processor {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl Processor {
    /// Both together.
    pub fn all(self) -> Duration {
        self.user + self.system
    }

    /// The time that was taken since an earlier look.
    pub fn since(self, before: Processor) -> Processor {
        Processor {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

impl AddAssign for Processor {
    fn add_assign(&mut self, more: Processor) {
        self.user += more.user;
        self.system += more.system;
    }
}

/// Processor time that a process has taken so far. Of its children only what it waited for.
///
/// # Errors
///
/// If there is no such process.
pub fn processor_time(pid: u32) -> Result<Processor> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let (user, system) = ticks(&text).with_context(|| format!("{path} has no utime and stime"))?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let time = |ticks: u64| Duration::from_millis(ticks * 1_000 / per_second);
    Ok(Processor { user: time(user), system: time(system) })
}

/// Fields 14 and 15 (utime, stime). The name, field 2, stands in parentheses and may contain anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
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
    fn processor_time_is_read_behind_the_name_whatever_it_is() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 90 0 3 0 250 31 5 6 20 0 4 0 100 9 9";
        assert_eq!(ticks(stat), Some((250, 31)));
        assert_eq!(ticks("7 (stash) R 1 7"), None);
        assert_eq!(ticks("no stat"), None);
    }

    #[test]
    fn this_process_takes_time_while_it_works() {
        let (pid, before) = (std::process::id(), processor_time(std::process::id()).unwrap());
        let mut sum = 0_u64;
        while processor_time(pid).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(!processor_time(pid).unwrap().since(before).all().is_zero());
    }

    #[test]
    fn this_process_has_a_peak_at_least_as_large_as_now() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.peak_kib >= memory.now_kib && memory.now_kib > 0, "{memory:?}");
    }
}
