//! Where to, and as whom: the flag, and the environment variables that the specification of OpenTelemetry names.

use std::{env, fs, time::Duration};

use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource};
use percent_encoding::percent_decode_str;

use super::span::attribute;
use crate::Failure;

/// How often figures are sent when nobody says; the specification's default.
const FIGURES_EVERY: Duration = Duration::from_mins(1);

pub(crate) struct Settings {
    /// Without a slash at its end.
    pub(super) endpoint: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) resource: Resource,
    pub(super) figures_every: Duration,
}

impl Settings {
    /// For this endpoint, with the rest from the environment.
    pub(crate) fn of(endpoint: &str) -> Result<Self, Failure> {
        Self::with(endpoint, |name| env::var(name).ok())
    }

    fn with(endpoint: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let address = endpoint.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
        if address.is_empty() || address.contains(['?', '#', ' ']) {
            let problem = format!("--otlp {endpoint}: not an address of the form http://HOST:PORT");
            let remedy = "name a collector's OTLP/HTTP receiver, http://127.0.0.1:4318; TLS and other protocols are \
                          for a collector on this host to speak";
            return Err(Failure::new(problem, remedy));
        }
        let pairs = |name: &str| match variable(name) {
            None => Ok(Vec::new()),
            Some(text) => pairs(&text).map_err(|problem| {
                Failure::new(
                    format!("{name}: {problem}"),
                    "write name=value,name=value, with %XX where needed",
                )
            }),
        };
        let figures_every = match variable("OTEL_METRIC_EXPORT_INTERVAL") {
            None => FIGURES_EVERY,
            Some(text) => {
                text.parse().ok().filter(|ms| *ms > 0).map(Duration::from_millis).ok_or_else(|| {
                    let problem = format!("OTEL_METRIC_EXPORT_INTERVAL: {text} is no number of milliseconds");
                    Failure::new(problem, "write 60000 for a minute")
                })?
            }
        };
        Ok(Self {
            endpoint: format!("http://{address}"),
            headers: pairs("OTEL_EXPORTER_OTLP_HEADERS")?,
            resource: resource(pairs("OTEL_RESOURCE_ATTRIBUTES")?, variable("OTEL_SERVICE_NAME")),
            figures_every,
        })
    }
}

/// What stands in the environment wins over what is found out.
fn resource(given: Vec<(String, String)>, service: Option<String>) -> Resource {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let found = [
        ("service.name", "synscope"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host.trim()),
    ];
    let mut all: Vec<(String, String)> =
        found.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (name, value) in given.into_iter().chain(service.map(|name| ("service.name".to_owned(), name))) {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    let attributes: Vec<KeyValue> = all.into_iter().map(|(name, value)| attribute(name, value)).collect();
    Resource { attributes, ..Resource::default() }
}

/// `name=value,name=value`, percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text.trim()).decode_utf8();
        decoded.map(Into::into).map_err(|_| format!("`{text}` is not UTF-8"))
    };
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` has no ="))?;
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_collector_has_are_refused() {
        for address in ["", "127.0.0.1:4318", "https://collector:4318", "http://", "http://a b"] {
            let failure = Settings::of(address).err().unwrap_or_else(|| panic!("{address} was taken"));
            assert!(failure.problem.contains(&format!("--otlp {address}")), "{failure}");
        }
        assert_eq!(Settings::of("http://127.0.0.1:4318/").ok().unwrap().endpoint, "http://127.0.0.1:4318");
    }

    #[test]
    fn the_environment_has_its_say() {
        let given = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_HEADERS" => Some("authorization=Bearer%20x, a=b".to_owned()),
            "OTEL_RESOURCE_ATTRIBUTES" => Some("host.name=node-7".to_owned()),
            "OTEL_METRIC_EXPORT_INTERVAL" => Some("250".to_owned()),
            _ => None,
        };
        let settings = Settings::with("http://c:1", given).ok().unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(settings.headers, [pair("authorization", "Bearer x"), pair("a", "b")]);
        assert_eq!(settings.figures_every, Duration::from_millis(250));
        let names = settings.resource.attributes.iter().filter(|attribute| attribute.key == "host.name");
        assert_eq!(names.collect::<Vec<_>>(), [&attribute("host.name".into(), "node-7".to_owned())]);
        for (name, value) in [("OTEL_EXPORTER_OTLP_HEADERS", "x"), ("OTEL_METRIC_EXPORT_INTERVAL", "0")] {
            let wrong = Settings::with("http://c:1", |asked| (asked == name).then(|| value.to_owned()));
            assert!(wrong.err().unwrap().problem.starts_with(name), "{name}={value}");
        }
    }
}
