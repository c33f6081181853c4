//! What the operating system tells of this process, under the names that Prometheus' own clients use. Linux only; elsewhere nothing.

use std::fs;

use crate::base::metrics::Samples;

/// Clock ticks in a second, as Linux shows them to programs on every architecture.
const TICKS: f64 = 100.0;

/// Memory, descriptors, processor time, threads and start.
pub(crate) fn numbers(samples: &mut Samples) {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (status, limits) = (read("status"), read("limits"));
    let kib = |field| number_after(&status, field).map(|kib| kib * 1024.0);
    let found = [
        ("process_resident_memory_bytes", "Memory of the process that is in RAM.", kib("VmRSS:")),
        ("process_virtual_memory_bytes", "Memory of the process as it was asked for.", kib("VmSize:")),
        ("process_threads", "Threads of the process.", number_after(&status, "Threads:")),
        ("process_max_fds", "How many file descriptors the process may have.", number_after(&limits, "Max open files")),
        // One of them is the folder that is being read.
        (
            "process_open_fds",
            "Open file descriptors.",
            fs::read_dir("/proc/self/fd").ok().map(|all| all.count() as f64 - 1.0),
        ),
    ];
    for (name, about, value) in found {
        if let Some(value) = value {
            samples.gauge(name, about, &[], value);
        }
    }
    let Some(times) = Times::read(&read("stat")) else { return };
    let about = "Processor time of the process, in seconds.";
    samples.counter_f64("process_cpu_seconds_total", about, &[], times.busy_ticks / TICKS);
    let system = fs::read_to_string("/proc/stat").unwrap_or_default();
    if let Some(booted) = number_after(&system, "btime") {
        let about = "When the process started, in seconds since 1970.";
        samples.gauge("process_start_time_seconds", about, &[], booted + times.started_ticks / TICKS);
    }
}

/// The number behind a word at the beginning of a line.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What `/proc/self/stat` tells of time.
#[derive(Debug, PartialEq)]
struct Times {
    busy_ticks: f64,
    started_ticks: f64,
}

impl Times {
    fn read(stat: &str) -> Option<Self> {
        // The second field is the program's name in brackets, which may hold anything; the third comes behind it.
        let (_, rest) = stat.rsplit_once(')')?;
        let field = |number: usize| rest.split_whitespace().nth(number - 3)?.parse::<f64>().ok();
        Some(Times { busy_ticks: field(14)? + field(15)?, started_ticks: field(22)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let rest = "S 1 2 3 0 -1 4194304 500 0 0 0 250 50 0 0 20 0 8 0 777 1 2 3";
        let wanted = Some(Times { busy_ticks: 300.0, started_ticks: 777.0 });
        assert_eq!(Times::read(&format!("12 (a) b (c) {rest}")), wanted);
        assert_eq!(Times::read(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_all_numbers() {
        let mut samples = Samples::default();
        numbers(&mut samples);
        let text = samples.text();
        let value = |name: &str| number_after(&text, &format!("{name} ")).unwrap_or_else(|| panic!("{name} in {text}"));
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_virtual_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_threads") >= 1.0 && value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_start_time_seconds") > 1.7e9);
    }
}
