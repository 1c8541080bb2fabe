use std::os::unix::ffi::OsStringExt;

use jiff::fmt::friendly::SpanPrinter;
use tracing::Level;

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_environment(pairs.iter().map(|(name, value)| (name.into(), value.into())))
}

fn good(pairs: &[(&str, &str)]) -> Config {
    read(pairs).expect("a valid configuration")
}

fn errors(pairs: &[(&str, &str)]) -> Vec<String> {
    read(pairs).expect_err("an invalid configuration").list().to_vec()
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = good(&[]);
    let default = |name: &str| VARIABLES.iter().find(|v| v.name == name).expect("a known variable").default;
    assert_eq!(config.listen[0].to_string(), default("IMDS_EXPORTER_LISTEN_ADDRESS"));
    let text = |duration| SpanPrinter::new().unsigned_duration_to_string(duration);
    assert_eq!(text(&config.poll_interval), default("IMDS_EXPORTER_POLL_INTERVAL"));
    assert_eq!(text(&config.imds.timeout), default("IMDS_EXPORTER_TIMEOUT"));
    assert_eq!(config.imds.endpoint.as_str(), default("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
    assert_eq!(config.log.filter.to_string(), default("IMDS_EXPORTER_LOG"));
    assert!(!config.imds.disabled && config.expected_role.is_none() && config.watch.is_none());
    assert!(config.state_file.is_none() && config.log.format == logging::Format::Text);
}

#[test]
fn a_log_filter_accepts_only_modules_and_levels() {
    for text in ["debug", "imds_exporter=debug,warn", "imds_exporter::http=TRACE,hyper=off"] {
        let filter = good(&[("IMDS_EXPORTER_LOG", text)]).log.filter;
        assert!(filter.would_enable("imds_exporter::http", &Level::DEBUG), "{text}");
        assert!(!filter.would_enable("hyper", &Level::TRACE), "{text}");
    }
    // Fuzzing found that these make the parser panic or take minutes.
    for filter in ["   :VAL4\u{b6}10=t*p:..0METRI4\u{b6}10=rue", "x[y{z=\"a.*\"}]=info", "x[y]", "x{y}=debug"] {
        assert_eq!(errors(&[("IMDS_EXPORTER_LOG", filter)]).len(), 1, "{filter}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let pairs: Vec<_> = VARIABLES.iter().map(|variable| (variable.name, "")).collect();
    assert_eq!(good(&pairs).listen, good(&[]).listen);
}

#[test]
fn variables_of_the_sdks_work_as_in_the_sdks() {
    let endpoint = |pairs| good(pairs).imds.endpoint.as_str().to_owned();
    assert_eq!(endpoint(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipV6")]), IPV6_ENDPOINT);
    let both = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1338/"),
    ];
    assert_eq!(endpoint(&both), "http://127.0.0.1:1338");
    for (value, disabled) in
        [("true", true), ("TRUE", true), ("false", false), ("1", false), ("yes", false), ("", false)]
    {
        assert_eq!(good(&[("AWS_EC2_METADATA_DISABLED", value)]).imds.disabled, disabled, "{value}");
        assert_eq!(good(&[("AWS_EC2_METADATA_V1_DISABLED", value)]).imds.v1_disabled, disabled, "{value}");
    }
    let timeout = |pairs| good(pairs).imds.timeout.as_millis();
    assert_eq!(timeout(&[("AWS_METADATA_SERVICE_TIMEOUT", "2")]), 2_000);
    assert_eq!(timeout(&[("AWS_METADATA_SERVICE_TIMEOUT", "2"), ("IMDS_EXPORTER_TIMEOUT", "300ms")]), 300);
}

#[test]
fn listen_addresses_may_be_ipv4_ipv6_localhost_or_only_a_port_and_several() {
    let listen = |text| good(&[("IMDS_EXPORTER_LISTEN_ADDRESS", text)]).listen;
    for text in ["[::1]:0", "127.0.0.1:9", "0.0.0.0:9", ":9", "localhost:9"] {
        assert_eq!(listen(text).iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    }
    let several = listen("127.0.0.1:9, [::1]:9,:10");
    assert_eq!(several.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1:9", "[::1]:9", ":10"]);
    for wrong in [":", ":x", ":65536", "localhost", "localhost:", "imds:9", "9", "::1", ":+9", ":9,", ",", ":9 :10"] {
        assert_eq!(errors(&[("IMDS_EXPORTER_LISTEN_ADDRESS", wrong)]).len(), 1, "{wrong}");
    }
}

#[test]
fn a_workload_that_is_declared_needs_a_state_file() {
    let file = ("IMDS_EXPORTER_STATE_FILE", "/x");
    assert_eq!(good(&[("IMDS_EXPORTER_WORKLOAD", "")]).environment.workload, Workload::Independent);
    for value in Workload::VARIANTS {
        let config = good(&[("IMDS_EXPORTER_WORKLOAD", &value.to_string()), file]);
        assert_eq!(config.environment.workload, *value);
    }
    good(&[("IMDS_EXPORTER_WORKLOAD", "independent")]);
    for value in ["starts-with-exporter", "starts-when-ready"] {
        let errors = errors(&[("IMDS_EXPORTER_WORKLOAD", value)]);
        assert!(errors.len() == 1 && errors[0].starts_with("IMDS_EXPORTER_WORKLOAD: "), "{errors:?}");
        assert!(errors[0].contains("IMDS_EXPORTER_STATE_FILE"), "{errors:?}");
    }
    for value in ["sidecar", "Independent", "starts_with_exporter"] {
        let errors = errors(&[("IMDS_EXPORTER_WORKLOAD", value), file]);
        let names_all = Workload::VARIANTS.iter().all(|name| errors[0].contains(&name.to_string()));
        assert!(errors.len() == 1 && names_all, "{errors:?}");
    }
}

#[test]
fn what_shadows_imds_is_found_in_the_order_of_the_chain() {
    let keys = ("AWS_ACCESS_KEY_ID", "AKIA");
    let (file, role) = (("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn:x"));
    let relative = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x");
    let full = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
    for (variables, shadowed) in [
        (&[][..], None),
        (&[file], Some(Shadow::WebIdentity)),
        (&[role], None),
        (&[("AWS_ACCESS_KEY_ID", "")], None),
        (&[("AWS_SECRET_ACCESS_KEY", "x")], None),
        (&[("AWS_PROFILE", "x"), file], Some(Shadow::SharedCredentialsFile)),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")], Some(Shadow::Container)),
        (&[keys], Some(Shadow::Environment)),
        (&[full, role, file, keys], Some(Shadow::Environment)),
        (&[relative, role, file], Some(Shadow::WebIdentity)),
        (&[relative, role], Some(Shadow::Container)),
        (&[full, file], Some(Shadow::WebIdentity)),
    ] {
        assert_eq!(good(variables).environment.earlier_in_chain, shadowed, "{variables:?}");
    }
    let kept = format!("{:?}", good(&[keys, file, role, relative, full]));
    assert!(!kept.contains("AKIA") && !kept.contains("/token"), "no value of theirs is kept: {kept}");
}

#[test]
fn a_proxy_of_the_sdks_is_one_for_the_endpoint_in_use() {
    let proxy = ("HTTP_PROXY", "http://proxy:3128");
    let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]");
    for (variables, through) in [
        (&[][..], None),
        (&[proxy], Some("HTTP_PROXY")),
        (&[proxy, ("NO_PROXY", "169.254.169.254")], None),
        (&[proxy, ("NO_PROXY", "169.254.169.254"), endpoint], Some("HTTP_PROXY")),
        (&[proxy, ("NO_PROXY", "localhost,[fd00:ec2::254]"), endpoint], None),
        (&[("HTTPS_PROXY", "http://proxy:3128")], None),
    ] {
        assert_eq!(good(variables).environment.proxied_by, through, "{variables:?}");
    }
}

#[test]
fn all_errors_are_listed_at_once_with_full_names() {
    let pairs = [
        ("IMDS_EXPORTER_LISTEN_ADDRESS", "localhost"),
        ("IMDS_EXPORTER_POLL_INTERVAL", "soon"),
        ("IMDS_EXPORTER_TIMEOUT", "1h"),
        ("IMDS_EXPORTER_EXPECTED_ROLE", "a//b"),
        ("IMDS_EXPORTER_WATCH_PROCESSES", "("),
        ("IMDS_EXPORTER_WORKLOAD", "sidecar"),
        ("IMDS_EXPORTER_LOG", "imds_exporter=loud"),
        ("IMDS_EXPORTER_LOG_FORMAT", "xml"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://x"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "1.5"),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "many"),
        ("IMDS_EXPORTER_POL_INTERVAL", "15s"),
    ];
    let errors = errors(&pairs);
    for (name, _) in pairs {
        let prefix = format!("{name}: ");
        assert_eq!(errors.iter().filter(|error| error.starts_with(&prefix)).count(), 1, "{name} in {errors:?}");
    }
    assert_eq!(errors.len(), pairs.len());
}

#[test]
fn values_out_of_range_are_errors() {
    for (name, value) in [
        ("IMDS_EXPORTER_POLL_INTERVAL", "999ms"),
        ("IMDS_EXPORTER_POLL_INTERVAL", "61m"),
        ("IMDS_EXPORTER_TIMEOUT", "9ms"),
        ("IMDS_EXPORTER_TIMEOUT", "31s"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "0"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "31"),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "0"),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "21"),
    ] {
        let errors = errors(&[(name, value)]);
        assert!(errors.len() == 1 && errors[0].starts_with(name), "{name}={value}: {errors:?}");
    }
}

#[test]
fn a_misspelt_variable_is_answered_with_the_nearest_name() {
    for (typed, meant) in [
        ("IMDS_EXPORTER_LISTEN_ADRESS", "IMDS_EXPORTER_LISTEN_ADDRESS"),
        ("IMDS_EXPORTER_STATEFILE", "IMDS_EXPORTER_STATE_FILE"),
        ("imds_exporter_log", "IMDS_EXPORTER_LOG"),
    ] {
        let errors = errors(&[(typed, "x")]);
        assert!(errors.len() == 1 && errors[0].contains(meant), "{errors:?}");
    }
    // Nothing is like it.
    let errors = errors(&[("IMDS_EXPORTER_FOO", "x")]);
    assert!(errors.len() == 1 && !VARIABLES.iter().any(|known| errors[0].contains(known.name)), "{errors:?}");
}

#[test]
fn an_error_names_the_variable_that_was_set_and_what_is_wrong_with_it() {
    let own = errors(&[("AWS_METADATA_SERVICE_TIMEOUT", "2"), ("IMDS_EXPORTER_TIMEOUT", "1ms")]);
    assert!(own.len() == 1 && own[0].starts_with("IMDS_EXPORTER_TIMEOUT: "), "{own:?}");
    let pattern = errors(&[("IMDS_EXPORTER_WATCH_PROCESSES", "a(")]);
    assert!(pattern[0].ends_with(&Regex::new("a(").expect_err("it is open").to_string()), "{pattern:?}");
}

#[test]
fn paths_are_trimmed_as_all_values_are() {
    let config = good(&[("IMDS_EXPORTER_STATE_FILE", " /x "), ("IMDS_EXPORTER_WEB_CONFIG_FILE", "/y\n")]);
    assert_eq!((config.state_file, config.web_config_file), (Some("/x".into()), Some("/y".into())));
}

#[test]
fn service_variables_of_kubernetes_are_ignored() {
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
    assert_eq!(errors(&[("IMDS_EXPORTER_PORT_X_TCP", "1")]).len(), 1);
}

#[test]
fn variables_of_others_that_are_not_utf8_are_ignored() {
    let bytes = || OsString::from_vec(vec![0xff, 0xfe]);
    let foreign = [(bytes(), bytes()), ("OTHER".into(), bytes())];
    assert!(Config::from_environment(foreign.into_iter()).is_ok());
    let own = [("IMDS_EXPORTER_LOG".into(), bytes())];
    assert_eq!(Config::from_environment(own.into_iter()).expect_err("an error").list().len(), 1);
}

#[test]
fn a_password_in_a_value_is_not_repeated() {
    let text = read(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://u:hunter2@h")]).expect_err("an error").to_string();
    assert!(!text.contains("hunter2"));
}
