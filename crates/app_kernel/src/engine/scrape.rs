//! What a scrape tells: the numbers that a process has, and those that it asks the database for.
//!
//! This is the seam for every part. What is counted in the process is an instrument of `kernel.metrics()`, or a function given to
//! [`Metrics::collect`]. What costs a question is [`Scrape::ask`]: asked when somebody scrapes, at most every five seconds and at most a
//! twentieth of the time, whoever scrapes and however often; where no answer comes within a second, the scrape goes on without it, and says so.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};

use crate::base::error::Result;
use crate::base::metrics::{Metrics, Samples};

/// How long an answer is good at least.
const FRESH: Duration = Duration::from_secs(5);
/// How much longer than it took to get.
const TIMES: u32 = 20;
/// How long a scrape waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

type Question = Arc<dyn Fn() -> BoxFuture<'static, Result<Samples>> + Send + Sync>;

/// What one kernel tells. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Scrape {
    metrics: Metrics,
    asked: Arc<Mutex<Vec<Arc<Asked>>>>,
}

/// A question and its last answer.
struct Asked {
    name: &'static str,
    question: Question,
    /// Held while it is asked, so that it is asked once.
    last: tokio::sync::Mutex<Option<Answer>>,
}

struct Answer {
    samples: Option<Samples>,
    good_until: Instant,
}

impl Scrape {
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Adds a question to what is told. The name stands for it where it is not answered.
    pub(crate) fn ask<F>(&self, name: &'static str, question: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Samples>> + Send + 'static,
    {
        let question: Question = Arc::new(move || Box::pin(question()));
        let asked = Arc::new(Asked { name, question, last: tokio::sync::Mutex::default() });
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    }

    /// All numbers, in Prometheus' text format.
    pub(crate) async fn text(&self) -> String {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answers = join_all(asked.iter().map(|asked| asked.answer())).await;
        let mut all = self.metrics.samples();
        for (asked, answer) in asked.iter().zip(answers) {
            let about = "1 where a part did not answer in time, so that its numbers are missing.";
            let is_missing = if answer.is_none() { 1.0 } else { 0.0 };
            all.gauge("app_kernel_scrape_unanswered", about, &[("part", asked.name)], is_missing);
            all.extend(answer.unwrap_or_default());
        }
        all.text()
    }
}

impl Asked {
    async fn answer(&self) -> Option<Samples> {
        let ask = async {
            let mut last = self.last.lock().await;
            if let Some(answer) = last.as_ref().filter(|answer| Instant::now() < answer.good_until) {
                return answer.samples.clone();
            }
            let began = Instant::now();
            // Kept before it is there: where nobody waits to its end, it is not asked again at once.
            *last = Some(Answer { samples: None, good_until: began + FRESH });
            let answered = (self.question)().await;
            if let Err(error) = &answered {
                tracing::debug!(part = self.name, cause = ?error, "a scrape has no numbers of {}: {error}", self.name);
            }
            let samples = answered.ok();
            *last = Some(Answer {
                samples: samples.clone(),
                good_until: Instant::now() + FRESH.max(began.elapsed() * TIMES),
            });
            samples
        };
        tokio::time::timeout(PATIENCE, ask).await.ok().flatten()
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::base::error::Error;

    #[tokio::test]
    async fn a_question_is_asked_once_however_many_scrape() {
        let (scrape, times) = (Scrape::default(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&times);
        scrape.ask("rooms", move || {
            let time = counted.fetch_add(1, Ordering::Relaxed) + 1;
            async move {
                let mut samples = Samples::default();
                samples.gauge("rooms", "Rooms.", &[], f64::from(time));
                Ok(samples)
            }
        });
        for text in join_all((0..20).map(|_| scrape.text())).await {
            assert!(text.contains("\nrooms 1\n"), "{text}");
            assert!(text.contains("app_kernel_scrape_unanswered{part=\"rooms\"} 0\n"), "{text}");
        }
        assert_eq!(times.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_goes_on_without_an_answer() {
        let scrape = Scrape::default();
        scrape.metrics().gauge("doors", "Doors.", &[]).expect("a gauge").set(2);
        scrape.ask("silent", std::future::pending);
        scrape.ask("away", async || Err(Error::unavailable("the database is away")));
        let began = tokio::time::Instant::now();
        let text = scrape.text().await;
        assert_eq!(began.elapsed(), PATIENCE);
        for line in ["\ndoors 2\n", "{part=\"silent\"} 1\n", "{part=\"away\"} 1\n"] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
