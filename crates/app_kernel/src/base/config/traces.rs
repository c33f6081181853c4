//! Where traces go and which are kept, by the variables that OpenTelemetry defines
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use super::environment::Environment;
use crate::base::error::{Error, Result};
use crate::base::secret::Secret;

/// The `OTEL_…` variables, read.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// The whole address that spans are sent to: `http://localhost:4318/v1/traces`.
    pub endpoint: String,
    /// What is sent along, by name.
    pub headers: Vec<(String, Secret)>,
    /// What traces call the service. None: its name.
    pub service_name: Option<String>,
    /// What they say of it besides.
    pub attributes: Vec<(String, String)>,
    /// Which are kept.
    pub sampler: Sampler,
}

/// Which traces are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// The share that is kept, from 0 to 1.
    pub share: f64,
    /// Whether the decision of whoever began the trace elsewhere counts instead.
    pub follows_parent: bool,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler { share: 1.0, follows_parent: true }
    }
}

impl TracesConfig {
    /// Traces to a collector, all of them: `TracesConfig::to("http://localhost:4318/v1/traces")`.
    #[must_use]
    pub fn to(endpoint: impl Into<String>) -> Self {
        let (headers, attributes, sampler) = (Vec::new(), Vec::new(), Sampler::default());
        TracesConfig { endpoint: endpoint.into(), headers, service_name: None, attributes, sampler }
    }
}

impl Environment {
    /// None where traces go nowhere.
    pub(super) fn traces(&self) -> Result<Option<TracesConfig>> {
        let whole =
            self.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(|url| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url));
        let base = || {
            let url = self.text("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            Some(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/traces", url.trim_end_matches('/'))))
        };
        let Some((variable, endpoint)) = whole.or_else(base) else { return Ok(None) };
        if self.flag("OTEL_SDK_DISABLED", false)? {
            return Ok(None);
        }
        let is_address = url::Url::parse(&endpoint).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.username().is_empty()
        });
        if !is_address {
            // It may hold a password.
            return Err(Error::invalid(format!(
                "{variable} can't be used; it must be an address without a user such as http://localhost:4318"
            )));
        }
        Ok(Some(TracesConfig {
            endpoint,
            headers: self
                .pairs("OTEL_EXPORTER_OTLP_HEADERS")?
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
            service_name: self.text("OTEL_SERVICE_NAME"),
            attributes: self.pairs("OTEL_RESOURCE_ATTRIBUTES")?,
            sampler: self.sampler()?,
        }))
    }

    fn sampler(&self) -> Result<Sampler> {
        const VARIABLE: &str = "OTEL_TRACES_SAMPLER";
        let name = self.text(VARIABLE).unwrap_or_else(|| "parentbased_always_on".to_owned());
        let (kind, follows_parent) = name.strip_prefix("parentbased_").map_or((&*name, false), |kind| (kind, true));
        let share = match kind {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => self.parsed("OTEL_TRACES_SAMPLER_ARG", 1.0, "a share from 0 to 1")?,
            _ => {
                return Err(Error::invalid(format!(
                    "{VARIABLE} is `{name}`; it must be always_on, always_off or traceidratio, or one of them after `parentbased_`"
                )));
            }
        };
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid(format!("OTEL_TRACES_SAMPLER_ARG is {share}; it must be a share from 0 to 1")));
        }
        Ok(Sampler { share, follows_parent })
    }

    /// `a=1,b=2`, with percent signs for what has no place there.
    fn pairs(&self, variable: &str) -> Result<Vec<(String, String)>> {
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
        let pair = |text: &String| {
            let (name, value) = text.split_once('=')?;
            let (name, value) = (decoded(name)?, decoded(value)?);
            (!name.is_empty()).then_some((name, value))
        };
        let wrong = || Error::invalid(format!("{variable} can't be read; it must be like a=1,b=2"));
        self.list(variable).iter().map(|text| pair(text).ok_or_else(wrong)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TracesConfig>> {
        Environment(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).traces()
    }

    #[test]
    fn the_variables_mean_what_opentelemetry_says() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        assert!(read(&[]).expect("nothing is set").is_none());
        assert!(read(&[base, ("OTEL_SDK_DISABLED", "true")]).expect("it is off").is_none());
        let config = read(&[
            base,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x=hunter2"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        let config = config.expect("it can be read").expect("it is on");
        assert_eq!(config.endpoint, "http://collector:4318/v1/traces");
        assert_eq!(config.sampler, Sampler { share: 0.25, follows_parent: false });
        let headers: Vec<_> = config.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(headers, [("api-key", "a b"), ("x", "hunter2")]);
        assert_eq!(config.attributes, [("deployment.environment.name".to_owned(), "test".to_owned())]);
        assert!(!format!("{config:?}").contains("hunter2"));
        let whole = [base, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://other/path")];
        let config = read(&whole).expect("it can be read").expect("it is on");
        assert_eq!((config.endpoint.as_str(), config.sampler), ("https://other/path", Sampler::default()));
    }

    #[test]
    fn what_can_not_be_used_is_refused_by_its_name_and_not_repeated_where_it_may_be_secret() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "hunter2"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://ann:hunter2@collector"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ] {
            let error = read(&[base, (name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(name) && !error.contains("hunter2"), "{error}");
        }
        let share = [base, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(read(&share).expect_err("more than all").to_string().starts_with("OTEL_TRACES_SAMPLER_ARG is 2"));
    }
}
