//! Jobs that come round by the clock: one job for each tick in a whole cluster, because its id is the schedule's name and the tick, and the
//! database keeps ids unique. Ticks that pass while no process lives are skipped; of several that pass while one sleeps, one is made up for.

use std::sync::Mutex;

use serde_json::Value as Json;

use super::model::TaskOptions;
use super::store::{NewJob, When};
use crate::base::clock::Timestamp;
use crate::base::cron::Cron;
use crate::base::error::{Error, Result};

/// When jobs of a task are made, and with what payload.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    name: String,
    cron: Cron,
    task: String,
    payload: Json,
}

impl Schedule {
    /// A schedule of this name, by a cron expression in UTC.
    ///
    /// # Errors
    /// Where the name or the expression is none.
    pub(crate) fn new(name: &str, expression: &str, task: &str, payload: Json) -> Result<Self> {
        super::catalogue::check_name("a schedule's name", name)?;
        let cron = Cron::parse(expression).map_err(|problem| {
            Error::invalid(format!(
                "the schedule `{name}` has the cron expression `{expression}`: {problem}. Example: 0 3 * * * is each day at three, in UTC"
            ))
        })?;
        Ok(Schedule { name: name.to_owned(), cron, task: task.to_owned(), payload })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn task(&self) -> &str {
        &self.task
    }
}

/// The schedules of a service, each with its next tick.
#[derive(Debug, Default)]
pub(super) struct Schedules(Mutex<Vec<(Schedule, Option<Timestamp>)>>);

impl Schedules {
    pub(super) fn new(all: Vec<Schedule>, now: Timestamp) -> Self {
        let with_next = all.into_iter().map(|schedule| {
            let next = schedule.cron.next_after(now);
            (schedule, next)
        });
        Schedules(Mutex::new(with_next.collect()))
    }

    /// The schedules whose tick has come, with it. Each tick is answered once.
    pub(super) fn due(&self, now: Timestamp) -> Vec<(Schedule, Timestamp)> {
        let mut all = self.0.lock().expect("nothing panics while holding it");
        let mut due = Vec::new();
        for (schedule, next) in all.iter_mut() {
            if let Some(tick) = next.filter(|tick| *tick <= now) {
                due.push((schedule.clone(), tick));
                *next = schedule.cron.next_after(now);
            }
        }
        due
    }

    /// Takes a tick back that could not be written.
    pub(super) fn not_done(&self, failed: &Schedule, tick: Timestamp) {
        let mut all = self.0.lock().expect("nothing panics while holding it");
        if let Some((_, next)) = all.iter_mut().find(|(schedule, _)| schedule.name == failed.name) {
            *next = Some(tick);
        }
    }
}

/// The job of a tick. Its id tells both.
pub(super) fn job_of(schedule: &Schedule, tick: Timestamp, options: &TaskOptions) -> NewJob {
    NewJob {
        id: format!("{}@{tick:.0}", schedule.name),
        task: schedule.task.clone(),
        queue: options.queue.clone(),
        priority: 0,
        payload: schedule.payload.clone(),
        user_id: None,
        max_attempts: options.max_attempts,
        unique_key: None,
        concurrency_key: None,
        traceparent: None,
        when: When::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn ticks(schedules: &Schedules, now: &str) -> Vec<String> {
        schedules.due(at(now)).iter().map(|(_, tick)| tick.to_string()).collect()
    }

    #[test]
    fn each_tick_comes_once_and_of_many_missed_ones_the_first() {
        let hourly = Schedule::new("report", "0 * * * *", "report", Json::Null).expect("a schedule");
        let schedules = Schedules::new(vec![hourly], at("2026-01-30T11:30:00Z"));
        assert_eq!(ticks(&schedules, "2026-01-30T11:59:59Z"), Vec::<String>::new());
        assert_eq!(ticks(&schedules, "2026-01-30T12:00:00Z"), ["2026-01-30T12:00:00Z"]);
        assert_eq!(ticks(&schedules, "2026-01-30T12:00:00Z"), Vec::<String>::new());
        assert_eq!(ticks(&schedules, "2026-01-30T17:20:00Z"), ["2026-01-30T13:00:00Z"]);
        assert_eq!(ticks(&schedules, "2026-01-30T18:00:00Z"), ["2026-01-30T18:00:00Z"]);
    }

    #[test]
    fn a_tick_that_failed_comes_again() {
        let hourly = Schedule::new("report", "0 * * * *", "report", Json::Null).expect("a schedule");
        let schedules = Schedules::new(vec![hourly], at("2026-01-30T11:30:00Z"));
        let (schedule, tick) = schedules.due(at("2026-01-30T12:00:01Z")).remove(0);
        schedules.not_done(&schedule, tick);
        assert_eq!(ticks(&schedules, "2026-01-30T12:00:02Z"), ["2026-01-30T12:00:00Z"]);
    }

    #[test]
    fn a_schedule_that_is_none_is_refused_with_an_example() {
        for (name, expression) in [("daily", "every day"), ("a b", "0 3 * * *"), ("never", "0 0 31 2 *")] {
            let error = Schedule::new(name, expression, "t", Json::Null).expect_err("refused").to_string();
            assert!(error.contains("Example: 0 3 * * *") || error.contains("characters"), "{error}");
        }
    }
}
