//! What came out of a run, for people.

use std::fmt;

use super::report::Report;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, says: fmt::Arguments<'_>| {
            writeln!(f, "{name:<16}{says}")
        };
        let (n, per_second) = (thousands, |rate: f64| thousands(rate.round() as u64));
        let rooms = match self.rooms {
            1 => "1 room".to_owned(),
            rooms => format!("{} rooms", n(rooms as u64)),
        };
        row(
            f,
            "connections",
            format_args!(
                "{} in {rooms}, transport: {}; {}/s opened",
                n(self.connections as u64),
                self.transport,
                per_second(self.connects_per_second)
            ),
        )?;
        let asked = match self.asked {
            Some(asked) => format!("{} of {}", n(self.published), n(asked)),
            None => n(self.published),
        };
        let kind = if self.kept { "kept" } else { "volatile" };
        row(
            f,
            "published",
            format_args!(
                "{asked} in {:.1} s, {}/s; {kind}, of {} bytes",
                self.publish_seconds,
                per_second(self.published_per_second),
                n(self.bytes as u64)
            ),
        )?;
        row(
            f,
            "deliveries",
            format_args!(
                "{}, {}/s",
                n(self.deliveries),
                per_second(self.deliveries_per_second)
            ),
        )?;
        for (name, count) in [
            ("  lost", self.lost),
            ("  repeated", self.repeated),
            ("  out of order", self.out_of_order),
            ("closed", self.closed),
        ] {
            row(f, name, format_args!("{}", n(count)))?;
        }
        for (reason, count) in &self.closed_because {
            row(f, "", format_args!("{}: {reason}", n(*count)))?;
        }
        let late = &self.latency_ms;
        row(
            f,
            "latency",
            format_args!(
                "p50 {}, p90 {}, p99 {}, p99.9 {}, max {} ms",
                millis(late.p50),
                millis(late.p90),
                millis(late.p99),
                millis(late.p999),
                millis(late.max)
            ),
        )?;
        if let Some(own) = &self.generator {
            row(f, "this process", format_args!("{:.2} cores", own.cores))?;
        }
        match &self.server {
            None => row(
                f,
                "the server",
                format_args!("its metrics are not to be seen"),
            )?,
            Some(server) => {
                let each = server.cpu_micros_per_delivery;
                let each = each.map_or(String::new(), |micros| {
                    format!(", {micros:.1} µs for each delivery")
                });
                let memory = server.bytes_per_connection / 1024.0;
                row(
                    f,
                    "the server",
                    format_args!(
                        "{:.2} cores{each}; {memory:.1} KiB for each connection",
                        server.cpu.cores
                    ),
                )?;
            }
        }
        if let Some(failure) = &self.failure {
            row(f, "failed", format_args!("{failure}"))?;
        }
        write!(f, "{:<16}{}", "limit", self.limit_says)
    }
}

/// Three digits, whatever the size.
fn millis(millis: f64) -> String {
    match millis {
        ..10.0 => format!("{millis:.2}"),
        ..100.0 => format!("{millis:.1}"),
        _ => thousands(millis.round() as u64),
    }
}

/// 1234567 as 1,234,567.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        let read = |number| thousands(number);
        assert_eq!([0, 999, 1_000].map(read), ["0", "999", "1,000"]);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(
            [0.123, 12.34, 1_234.5].map(millis),
            ["0.12", "12.3", "1,235"]
        );
    }
}
