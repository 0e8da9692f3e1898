//! The text format that every version of Prometheus reads, and `promtool check metrics` too.
//!
//! The library writes `OpenMetrics`, where a counter is called without its `_total`, and ends with `# EOF`; in the text
//! format (Prometheus, exposition formats, version 0.0.4) the name is that of the sample.

use std::fmt::{Error, Write};

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// What it is sent as.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn encode<'a>(
    registries: impl IntoIterator<Item = &'a Registry>,
) -> Result<String, Error> {
    let mut open = String::new();
    for registry in registries {
        encode_registry(&mut open, registry)?;
    }
    let mut text = String::with_capacity(open.len() + 256);
    let mut help = None;
    for line in open.lines() {
        if let Some(of) = line.strip_prefix("# HELP ") {
            // Written with the type, which says how the metric is called.
            help = of.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|of| of.split_once(' '))
        {
            let total = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                writeln!(text, "# HELP {name}{total} {help}")?;
            }
            writeln!(text, "# TYPE {name}{total} {kind}")?;
        } else {
            writeln!(text, "{line}")?;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn a_counter_is_called_as_its_samples_are() {
        let mut registry = Registry::default();
        registry.register("seen", "What was seen", Counter::<u64>::default());
        registry.register("here", "What is here", Gauge::<i64>::default());
        assert_eq!(
            encode([&registry]).unwrap(),
            "# HELP seen_total What was seen.\n# TYPE seen_total counter\nseen_total 0\n\
             # HELP here What is here.\n# TYPE here gauge\nhere 0\n"
        );
    }
}
