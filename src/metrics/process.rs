//! What the operating system says of the process, under the names that every client library gives it.

use prometheus_client::registry::Registry;

/// How much of the machine the process has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Since it began.
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
}

impl Usage {
    /// Nothing, where there is no `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn now() -> Option<Self> {
        None
    }

    #[cfg(target_os = "linux")]
    pub(super) fn now() -> Option<Self> {
        linux::usage().ok()
    }
}

/// Nothing, where there is no `/proc`.
#[cfg(not(target_os = "linux"))]
pub(super) fn registry() -> Registry {
    Registry::default()
}

/// What cannot be read is left out.
#[cfg(target_os = "linux")]
pub(super) fn registry() -> Registry {
    let mut registry = Registry::with_prefix("process");
    // Each is worth having without the others.
    let _ = linux::register(&mut registry);
    registry
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicU64;

    use procfs::process::{LimitValue, Process, Stat};
    use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Registry;

    use super::Usage;

    fn seconds(ticks: u64) -> f64 {
        ticks as f64 / ticks_per_second() as f64
    }

    impl Usage {
        fn of(stat: &Stat) -> Self {
            Self {
                cpu_seconds: seconds(stat.utime + stat.stime),
                resident_bytes: stat.rss * page_size(),
            }
        }
    }

    pub(super) fn usage() -> ProcResult<Usage> {
        Ok(Usage::of(&Process::myself()?.stat()?))
    }

    pub(super) fn register(registry: &mut Registry) -> ProcResult<()> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let usage = Usage::of(&stat);
        let cpu: Counter<f64, AtomicU64> = Counter::default();
        cpu.inc_by(usage.cpu_seconds);
        registry.register("cpu_seconds", "CPU time spent, in seconds", cpu);
        let mut gauge = |name, help, value: f64| {
            let gauge: Gauge<f64, AtomicU64> = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        gauge(
            "resident_memory_bytes",
            "Resident memory, in bytes",
            usage.resident_bytes as f64,
        );
        gauge(
            "virtual_memory_bytes",
            "Virtual memory, in bytes",
            stat.vsize as f64,
        );
        gauge(
            "threads",
            "Threads of the operating system",
            stat.num_threads as f64,
        );
        // A unit with ProcSubset=pid sees its own processes and nothing of the machine.
        if let Ok(boot) = boot_time_secs() {
            gauge(
                "start_time_seconds",
                "When the process began, in seconds since 1970",
                boot as f64 + seconds(stat.starttime),
            );
        }
        gauge(
            "open_fds",
            "File descriptors that are open",
            process.fd_count()? as f64,
        );
        if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
            gauge("max_fds", "File descriptors that may be open", most as f64);
        }
        Ok(())
    }
}
