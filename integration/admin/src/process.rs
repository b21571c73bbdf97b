//! What the system says of this process, under the names that Prometheus' own libraries use.

use std::fmt;

use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// CPU, memory, files and threads of this process, read at each scrape. What cannot be read is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessMeters;

impl Collector for ProcessMeters {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Ok(process) = Process::myself() else { return Ok(()) };
        if let Ok(stat) = process.stat() {
            let ticks_per_second = procfs::ticks_per_second() as f64;
            let cpu = (stat.utime + stat.stime) as f64 / ticks_per_second;
            let (name, help) =
                ("process_cpu_seconds", "CPU time of the process, all threads together");
            write(&mut encoder, name, help, &ConstCounter::new(cpu))?;
            let memory = stat.rss.saturating_mul(procfs::page_size()) as i64;
            let (name, help) =
                ("process_resident_memory_bytes", "Memory of the process that is resident");
            write(&mut encoder, name, help, &ConstGauge::new(memory))?;
            let (name, help) = ("process_threads", "Threads of the process");
            write(&mut encoder, name, help, &ConstGauge::new(stat.num_threads))?;
            if let Ok(booted) = procfs::boot_time_secs() {
                let started = booted as f64 + stat.starttime as f64 / ticks_per_second;
                let (name, help) =
                    ("process_start_time_seconds", "When the process started, in Unix time");
                write(&mut encoder, name, help, &ConstGauge::new(started))?;
            }
        }
        if let Ok(files) = process.fd_count() {
            let (name, help) = ("process_open_fds", "Open files and sockets of the process");
            write(&mut encoder, name, help, &ConstGauge::new(files as i64))?;
        }
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(files) = limits.max_open_files.soft_limit
        {
            let (name, help) =
                ("process_max_fds", "The most files and sockets the process may have open");
            write(&mut encoder, name, help, &ConstGauge::new(files as i64))?;
        }
        Ok(())
    }
}

fn write(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_process_has_memory_threads_and_files() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMeters));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_threads",
            "process_start_time_seconds",
            "process_open_fds",
            "process_max_fds",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = line.expect("it is there").parse().expect("a number");
            assert!(value > 0.0 || name == "process_cpu_seconds_total", "{name} {value}");
        }
    }
}
