//! What processors do: for the server as its metrics have it, for this program, and for the whole machine.

use crate::remote::Server;

/// CPU time and memory of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    /// In seconds, since it began.
    pub(super) cpu: f64,
    /// In bytes.
    pub(super) memory: f64,
}

impl Figures {
    /// The server's; nothing, where they are not to be seen.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(super) async fn of(server: &Server) -> anyhow::Result<Option<Self>> {
        let answer = server.send(server.http.get(server.at("/metrics"))).await?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        Ok(Self::parse(&answer.text().await.unwrap_or_default()))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| -> Option<f64> {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name));
            values.find_map(|value| value.strip_prefix(' ')?.trim().parse().ok())
        };
        Some(Self {
            cpu: value("process_cpu_seconds_total")?,
            memory: value("process_resident_memory_bytes")?,
        })
    }
}

/// What the operating system says here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Here {
    /// CPU time that we have taken, in seconds.
    pub(super) own: f64,
    /// What all cores of the machine have spent with work, and in all, in seconds.
    busy: f64,
    all: f64,
}

impl Here {
    #[cfg(target_os = "linux")]
    pub(super) fn now() -> Option<Self> {
        use procfs::{CurrentSI, KernelStats, ticks_per_second};

        let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
        let total = KernelStats::current().ok()?.total;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        let idle = total.idle + total.iowait.unwrap_or(0);
        let busy = total.user + total.nice + total.system;
        let busy = busy + total.irq.unwrap_or(0) + total.softirq.unwrap_or(0);
        // What the machine below ours took is no work that was done, and was not to be had either.
        let busy = busy + total.steal.unwrap_or(0);
        Some(Self {
            own: seconds(stat.utime + stat.stime),
            busy: seconds(busy),
            all: seconds(busy + idle),
        })
    }

    /// Nothing, where there is no `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn now() -> Option<Self> {
        None
    }

    /// The part of the machine's cores that were busy since then.
    pub(super) fn busy_since(self, before: Self) -> f64 {
        let all = self.all - before.all;
        if all > 0.0 {
            (self.busy - before.busy) / all
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_read_or_neither() {
        let text = "# HELP process_cpu_seconds_total CPU time.\nprocess_cpu_seconds_total 1.25\n\
                    process_resident_memory_bytes 2048\n";
        let (cpu, memory) = (1.25, 2048.0);
        assert_eq!(Figures::parse(text), Some(Figures { cpu, memory }));
        assert_eq!(Figures::parse("process_cpu_seconds_total 1\n"), None);
        assert_eq!(Figures::parse(""), None);
    }
}
