//! How much memory Helm may take for speed. Pure: where the figures are read is `helm/launch.rs`.
//!
//! Helm lives for a second and spends a good part of its processor time on collecting garbage, most of it while it parses the
//! API's description. Go collects when the heap has doubled; collecting when it has grown fivefold takes a fifth of that time
//! away, which is more than the guard costs, for some 30 MB (measured with 60 objects: 2.4 s and 73 MB, 2.0 s and 101 MB; beyond
//! that only the memory grows). What it takes is bounded by half of the memory there is: beyond that
//! Helm collects more often than it would by itself, where it would soon be killed.

use crate::env::Env;

/// The variables of Go's collector: how much the heap grows before it collects, in percent, and the most that it should take.
const GROWTH: &str = "GOGC";
const LIMIT: &str = "GOMEMLIMIT";

/// Percent; Go's default is 100.
const PERCENT: &str = "400";

/// What somebody has decided already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    growth: bool,
    limit: bool,
}

impl Decided {
    /// By the environment.
    pub fn of(env: &Env) -> Self {
        Self { growth: env.contains_key(GROWTH), limit: env.contains_key(LIMIT) }
    }

    /// Variables to set for a Helm on a machine with `memory` bytes; none where that is not known.
    pub fn variables(self, memory: Option<u64>) -> Vec<(&'static str, String)> {
        let Some(memory) = memory.filter(|_| !self.growth) else { return Vec::new() };
        let mut variables = vec![(GROWTH, PERCENT.to_owned())];
        if !self.limit {
            variables.push((LIMIT, (memory / 2).to_string()));
        }
        variables
    }
}

/// Bytes of memory: the machine's, as `/proc/meminfo` has it, or what control groups leave of it. `limits` are the contents
/// of `memory.max` (version 2) or `memory.limit_in_bytes` (version 1), as far as there are any.
pub fn available<'a>(meminfo: &str, limits: impl IntoIterator<Item = &'a str>) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)?;
    // `max`, for no limit, is no number.
    let limits = limits.into_iter().filter_map(|limit| limit.trim().parse().ok());
    limits.chain([total]).min()
}

/// The files that may hold this process's limit. `membership` is `/proc/self/cgroup`.
pub fn limit_files(membership: &str) -> Vec<String> {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/")).filter(|own| !own.is_empty());
    let own = own.map(|own| format!("/sys/fs/cgroup/{own}/memory.max"));
    let roots = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    own.into_iter().chain(roots.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16384000 kB\nMemFree:          180000 kB\n";

    fn variables(given: &[&str], memory: Option<u64>) -> Vec<(&'static str, String)> {
        let env = given.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        Decided::of(&env).variables(memory)
    }

    #[test]
    fn helm_may_take_half_of_what_there_is() {
        let set = [("GOGC", "400".to_owned()), ("GOMEMLIMIT", "268435456".to_owned())];
        assert_eq!(variables(&["GOFLAGS"], Some(512 << 20)), set);
        assert_eq!(variables(&[], None), []);
    }

    #[test]
    fn who_has_decided_is_heeded() {
        assert_eq!(variables(&["GOGC"], Some(1 << 30)), []);
        assert_eq!(variables(&["GOMEMLIMIT"], Some(1 << 30)), [("GOGC", "400".to_owned())]);
    }

    #[test]
    fn the_smallest_limit_counts() {
        assert_eq!(available(MEMINFO, []), Some(16_777_216_000));
        assert_eq!(available(MEMINFO, ["max\n", "536870912\n"]), Some(512 << 20));
        // What version 1 says where there is no limit.
        assert_eq!(available(MEMINFO, ["9223372036854771712\n"]), Some(16_777_216_000));
        assert_eq!(available("", ["536870912"]), None);
        assert_eq!(available("MemTotal: much kB", []), None);
        assert_eq!(available("MemTotal: 18446744073709551615 kB", []), None);
    }

    #[test]
    fn limits_are_looked_for_in_both_versions() {
        assert_eq!(
            limit_files("0::/system.slice/runner.service\n"),
            [
                "/sys/fs/cgroup/system.slice/runner.service/memory.max",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!(limit_files("0::/\n").len(), 2);
        assert_eq!(limit_files("5:memory:/docker/1\n").len(), 2);
    }
}
