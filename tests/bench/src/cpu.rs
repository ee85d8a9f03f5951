//! Processor time of other processes, from `/proc`.

/// Ticks of user and system time that these processes have used, all threads.
pub(crate) fn ticks(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| of(*pid)).sum()
}

/// Microseconds in one tick: `USER_HZ` is 100 on every Linux that this runs on.
pub(crate) const TICK_US: f64 = 10_000.0;

fn of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second member is the program's name and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut members = rest.split_whitespace().skip(11);
    let user: u64 = members.next()?.parse().ok()?;
    let system: u64 = members.next()?.parse().ok()?;
    Some(user + system)
}
