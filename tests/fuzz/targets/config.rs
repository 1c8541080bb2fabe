//! Any environment: a configuration within its bounds, or mistakes that repeat no value.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use imds_exporter::config::{Config, VARIABLES};

const CANARY: &str = "hunter2-CANARY";

/// A line `NAME=value` each; `$0` to `$9` and on stand for the known names, `%` in a value for a secret.
fn environment(text: &[u8]) -> Vec<(OsString, OsString)> {
    let line = |line: &[u8]| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&line[..at], &line[at + 1..]);
        // Names are shown, and hold no secret.
        if name.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()) {
            return None;
        }
        let known = name.strip_prefix(b"$").and_then(|number| std::str::from_utf8(number).ok()?.parse::<usize>().ok());
        let name = match known {
            Some(number) => VARIABLES[number % VARIABLES.len()].name.as_bytes().to_vec(),
            None => name.to_vec(),
        };
        let value = value.iter().flat_map(|byte| if *byte == b'%' { CANARY.as_bytes().to_vec() } else { vec![*byte] });
        Some((OsString::from_vec(name), OsString::from_vec(value.collect())))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// The property.
pub(crate) fn check(text: &[u8]) {
    match Config::from_environment(environment(text).into_iter()) {
        Ok(config) => {
            assert!((Duration::from_secs(1)..=Duration::from_hours(1)).contains(&config.poll_interval));
            assert!(config.imds.timeout >= Duration::from_millis(10) && config.imds.timeout <= config.poll_interval);
            let endpoint = config.imds.endpoint.as_str().strip_prefix("http://").expect("IMDS has no TLS");
            let authority = endpoint.split('/').next().expect("a text has a beginning");
            assert!(!authority.is_empty() && !authority.contains('@'), "{authority}");
            if let Some(interval) = config.signed_call_interval {
                assert!((Duration::from_mins(1)..=Duration::from_hours(24)).contains(&interval));
                assert!(config.sts.is_ok());
            }
            match &config.sts {
                Ok(options) => {
                    let region = options.region.as_ref().map_or("x", |region| region.as_str());
                    assert!(region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{region}");
                    let url = options.endpoint.as_ref().map_or("https://", |endpoint| endpoint.as_str());
                    let local = ["http://127.", "http://localhost", "http://[::1]", "http://[::ffff:7f"];
                    assert!(url.starts_with("https://") || local.iter().any(|here| url.starts_with(here)), "{url}");
                }
                Err(mistakes) => assert!(!mistakes.to_string().contains(CANARY), "{mistakes}"),
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.list().is_empty());
            assert!(!mistakes.to_string().contains(CANARY), "{mistakes}");
        }
    }
}
