//! Owns what the operating system says about this process: resident memory and processor time.

use std::{fs, time::Instant};

/// Reads `/proc/self`.
pub(crate) struct Sampler {
    page_bytes: u64,
    ticks_per_second: f64,
    last: (Instant, u64),
}

impl Sampler {
    pub(crate) fn new() -> Self {
        use nix::unistd::{SysconfVar, sysconf};
        let value = |variable, default: i64| sysconf(variable).ok().flatten().unwrap_or(default);
        Self {
            page_bytes: value(SysconfVar::PAGE_SIZE, 4096) as u64,
            ticks_per_second: value(SysconfVar::CLK_TCK, 100) as f64,
            last: (Instant::now(), ticks()),
        }
    }

    /// Bytes in memory, and processor time since the last call in thousandths of one core.
    pub(crate) fn take(&mut self) -> (u64, u32) {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let (now, ticks) = (Instant::now(), ticks());
        let seconds = (now - self.last.0).as_secs_f64();
        let used = ticks.saturating_sub(self.last.1) as f64 / self.ticks_per_second;
        self.last = (now, ticks);
        let permille = if seconds > 0.0 { (used / seconds * 1000.0) as u32 } else { 0 };
        (pages * self.page_bytes, permille)
    }
}

/// User and system time of all threads.
fn ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold spaces; what follows it does not.
    let Some((_, rest)) = stat.rsplit_once(')') else { return 0 };
    rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_time() {
        let mut sampler = Sampler::new();
        let start = ticks();
        let mut sum = 0_u64;
        while ticks() < start + 2 {
            sum = sum.wrapping_add((0..10_000_u64).map(std::hint::black_box).sum());
        }
        let (rss, cpu) = sampler.take();
        assert!(rss > 100_000 && cpu > 0, "{rss} {cpu} {sum}");
    }
}
