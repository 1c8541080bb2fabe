use std::os::unix::ffi::OsStringExt;

use tracing::Level;

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    Config::from_environment(pairs.iter().map(|(name, value)| (name.into(), value.into())))
}

fn good(pairs: &[(&str, &str)]) -> Config {
    read(pairs).expect("a good configuration")
}

fn mistakes(pairs: &[(&str, &str)]) -> Vec<String> {
    read(pairs).expect_err("a bad configuration").list().to_vec()
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = good(&[]);
    let default = |name: &str| VARIABLES.iter().find(|v| v.name == name).expect("a known variable").default;
    assert_eq!(config.listen.to_string(), default("IMDS_EXPORTER_LISTEN_ADDRESS"));
    assert_eq!(humantime::format_duration(config.poll_interval).to_string(), default("IMDS_EXPORTER_POLL_INTERVAL"));
    assert_eq!(humantime::format_duration(config.imds.timeout).to_string(), default("IMDS_EXPORTER_TIMEOUT"));
    assert_eq!(config.imds.endpoint.as_str(), default("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
    assert_eq!(config.log.filter.to_string(), default("IMDS_EXPORTER_LOG"));
    assert!(!config.imds.disabled && config.expected_role.is_none() && config.watch.is_none());
    assert!(config.state_file.is_none() && config.log.format == log::Format::Text);
}

#[test]
fn a_log_filter_names_modules_and_levels_and_nothing_else() {
    for text in ["debug", "imds_exporter=debug,warn", "imds_exporter::http=TRACE,hyper=off"] {
        let filter = good(&[("IMDS_EXPORTER_LOG", text)]).log.filter;
        assert!(filter.would_enable("imds_exporter::http", &Level::DEBUG), "{text}");
        assert!(!filter.would_enable("hyper", &Level::TRACE), "{text}");
    }
    // What fuzzing found to make the parser panic, or take minutes.
    for filter in ["   :VAL4\u{b6}10=t*p:..0METRI4\u{b6}10=rue", "x[y{z=\"a.*\"}]=info", "x[y]", "x{y}=debug"] {
        assert_eq!(mistakes(&[("IMDS_EXPORTER_LOG", filter)]).len(), 1, "{filter}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let pairs: Vec<_> = VARIABLES.iter().map(|variable| (variable.name, "")).collect();
    assert_eq!(good(&pairs).listen, good(&[]).listen);
}

#[test]
fn the_sdks_variables_mean_what_they_mean_there() {
    let endpoint = |pairs| good(pairs).imds.endpoint.as_str().to_owned();
    assert_eq!(endpoint(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipV6")]), IPV6_ENDPOINT);
    let both = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1338/"),
    ];
    assert_eq!(endpoint(&both), "http://127.0.0.1:1338");
    for (value, disabled) in [("true", true), ("TRUE", true), ("false", false), ("1", false), ("yes", false)] {
        assert_eq!(good(&[("AWS_EC2_METADATA_DISABLED", value)]).imds.disabled, disabled);
    }
    let timeout = |pairs| good(pairs).imds.timeout.as_millis();
    assert_eq!(timeout(&[("AWS_METADATA_SERVICE_TIMEOUT", "2")]), 2_000);
    assert_eq!(timeout(&[("AWS_METADATA_SERVICE_TIMEOUT", "2"), ("IMDS_EXPORTER_TIMEOUT", "300ms")]), 300);
}

#[test]
fn listen_addresses_of_both_families_and_the_short_form() {
    let listen = |text| good(&[("IMDS_EXPORTER_LISTEN_ADDRESS", text)]).listen.to_string();
    assert_eq!(listen("[::1]:0"), "[::1]:0");
    assert_eq!(listen("127.0.0.1:9"), "127.0.0.1:9");
    assert_eq!(listen(":9"), "0.0.0.0:9");
}

#[test]
fn all_mistakes_come_in_one_go_with_full_names() {
    let pairs = [
        ("IMDS_EXPORTER_LISTEN_ADDRESS", "localhost"),
        ("IMDS_EXPORTER_POLL_INTERVAL", "soon"),
        ("IMDS_EXPORTER_TIMEOUT", "1h"),
        ("IMDS_EXPORTER_EXPECTED_ROLE", "a/b"),
        ("IMDS_EXPORTER_WATCH_PROCESSES", "("),
        ("IMDS_EXPORTER_LOG", "imds_exporter=loud"),
        ("IMDS_EXPORTER_LOG_FORMAT", "xml"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://x"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "1.5"),
        ("IMDS_EXPORTER_POL_INTERVAL", "15s"),
    ];
    let mistakes = mistakes(&pairs);
    for (name, _) in pairs {
        let prefix = format!("{name}: ");
        assert_eq!(mistakes.iter().filter(|mistake| mistake.starts_with(&prefix)).count(), 1, "{name} in {mistakes:?}");
    }
    assert_eq!(mistakes.len(), pairs.len());
}

#[test]
fn ranges_are_kept() {
    for (name, value) in [
        ("IMDS_EXPORTER_POLL_INTERVAL", "999ms"),
        ("IMDS_EXPORTER_POLL_INTERVAL", "61m"),
        ("IMDS_EXPORTER_TIMEOUT", "9ms"),
        ("IMDS_EXPORTER_TIMEOUT", "16s"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "0"),
    ] {
        assert_eq!(mistakes(&[(name, value)]).len(), 1, "{name}={value}");
    }
}

#[test]
fn a_typing_error_is_answered_with_the_nearest_name() {
    for (typed, meant) in [
        ("IMDS_EXPORTER_LISTEN_ADRESS", "IMDS_EXPORTER_LISTEN_ADDRESS"),
        ("IMDS_EXPORTER_STATEFILE", "IMDS_EXPORTER_STATE_FILE"),
        ("imds_exporter_log", "IMDS_EXPORTER_LOG"),
    ] {
        let mistakes = mistakes(&[(typed, "x")]);
        assert!(mistakes.len() == 1 && mistakes[0].contains(meant), "{mistakes:?}");
    }
}

#[test]
fn kubernetes_service_variables_do_not_hurt() {
    good(&[
        ("IMDS_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("IMDS_EXPORTER_SERVICE_PORT", "10169"),
        ("IMDS_EXPORTER_SERVICE_PORT_METRICS", "10169"),
        ("IMDS_EXPORTER_PORT", "tcp://10.0.0.1:10169"),
        ("IMDS_EXPORTER_PORT_10169_TCP", "tcp://10.0.0.1:10169"),
        ("IMDS_EXPORTER_PORT_10169_TCP_ADDR", "10.0.0.1"),
        ("IMDS_EXPORTER_NODES_SERVICE_HOST", "10.0.0.1"),
        ("IMDS_EXPORTER_NODES_PORT_10169_TCP_PROTO", "tcp"),
    ]);
    assert_eq!(mistakes(&[("IMDS_EXPORTER_PORT_X_TCP", "1")]).len(), 1);
}

#[test]
fn variables_that_are_not_utf8_do_not_hurt() {
    let bytes = || OsString::from_vec(vec![0xff, 0xfe]);
    let foreign = [(bytes(), bytes()), ("OTHER".into(), bytes())];
    assert!(Config::from_environment(foreign.into_iter()).is_ok());
    let own = [("IMDS_EXPORTER_LOG".into(), bytes())];
    assert_eq!(Config::from_environment(own.into_iter()).expect_err("a mistake").list().len(), 1);
}

#[test]
fn a_password_in_a_value_is_not_repeated() {
    let text = read(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://u:hunter2@h")]).expect_err("a mistake").to_string();
    assert!(!text.contains("hunter2"));
}
