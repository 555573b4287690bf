//! Owns how long cells take, as people read it: wall time from the kernel's clock, processor time from the system.

use std::time::Duration;

/// What the system counts in: hundredths of a second, on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process up to a moment.
pub(super) struct Cpu {
    pid: Option<i32>,
    begun: Option<(Duration, Duration)>,
}

/// What a cell took.
pub(super) struct Spent {
    pub(super) compiling: Duration,
    /// It was compiled before, and that was found.
    pub(super) replayed: bool,
    pub(super) running: Duration,
    /// In the program itself and in the system on its behalf, where the system tells.
    pub(super) cpu: Option<(Duration, Duration)>,
}

impl Cpu {
    pub(super) fn of(pid: Option<i32>) -> Self {
        Self { pid, begun: pid.and_then(used) }
    }

    /// Time since [`Cpu::of`].
    pub(super) fn ended(&self) -> Option<(Duration, Duration)> {
        let (now, begun) = (used(self.pid?)?, self.begun?);
        Some((now.0.saturating_sub(begun.0), now.1.saturating_sub(begun.1)))
    }
}

fn used(pid: i32) -> Option<(Duration, Duration)> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// User and system time of `/proc/PID/stat`, whose second field may hold anything in parentheses.
fn parse(stat: &str) -> Option<(Duration, Duration)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
    Some((next()?, next()?))
}

impl Spent {
    /// For `:timing`, on one line.
    pub(super) fn line(&self) -> String {
        let before = if self.replayed { " (kept from before)" } else { "" };
        format!("compiled in {}{before}, ran in {}\n", read(self.compiling), read(self.running))
    }

    /// For `%time`, in the words of IPython.
    pub(super) fn summary(&self) -> String {
        let cpu = self.cpu.map_or(String::new(), |(user, system)| {
            format!("CPU times: user {}, sys: {}, total: {}\n", read(user), read(system), read(user + system))
        });
        format!("{cpu}Wall time: {} (and {} to compile)\n", read(self.running), read(self.compiling))
    }
}

fn read(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 120.0 {
        format!("{}min {:.0}s", time.as_secs() / 60, seconds % 60.0)
    } else if seconds >= 10.0 {
        format!("{seconds:.1} s")
    } else if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{:.0} ms", seconds * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 40 0 0";
        assert_eq!(parse(stat), Some((Duration::from_millis(2500), Duration::from_millis(400))));
        assert_eq!(parse("12 (a"), None);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(used(own).is_some());
    }

    #[test]
    fn times_are_short() {
        assert_eq!(read(Duration::from_millis(3)), "3 ms");
        assert_eq!(read(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(read(Duration::from_secs(150)), "2min 30s");
    }
}
