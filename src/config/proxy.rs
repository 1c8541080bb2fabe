//! The proxy trap: SDKs send their requests to IMDS through `HTTP_PROXY`, unless `NO_PROXY` exempts its address.
//!
//! The rules are those of Python's urllib, which botocore follows. The exporter never asks IMDS through a proxy; the signed
//! call goes through `HTTPS_PROXY`, as a call of an SDK does.

use std::ffi::OsStr;

use crate::sts::Proxy;

#[derive(Default)]
pub(super) struct ProxyVariables {
    http: Variable,
    /// The URL may hold a password.
    https: Variable,
    exempted: Variable,
    is_cgi: bool,
}

/// One of them, whose name may be in any case. One in lower case wins, also if it is empty.
#[derive(Default)]
struct Variable {
    value: Option<String>,
    in_lower_case: bool,
}

impl ProxyVariables {
    pub(super) fn take(&mut self, name: &str, value: &OsStr) {
        let variable = match name.to_ascii_lowercase().as_str() {
            "http_proxy" => &mut self.http,
            "https_proxy" => &mut self.https,
            "no_proxy" => &mut self.exempted,
            "request_method" => {
                self.is_cgi |= name == "REQUEST_METHOD";
                return;
            }
            _ => return,
        };
        let in_lower_case = name.ends_with("_proxy");
        if in_lower_case || !variable.in_lower_case && !value.is_empty() {
            let value = Some(value.to_string_lossy().into_owned()).filter(|value| !value.is_empty());
            *variable = Variable { value, in_lower_case };
        }
    }

    pub(super) fn https(&self) -> Option<Result<Proxy, &'static str>> {
        Some(Proxy::parse(self.https.value.as_ref()?, self.exempted.value.clone()))
    }

    /// The variable through whose proxy the SDKs ask IMDS at this host, if they do. `authority` is the host as in a URL,
    /// with brackets around an IPv6 address, and the port if the URL has one.
    pub(super) fn proxy_of(&self, authority: &str) -> Option<&'static str> {
        let exempted = self.exempted.value.as_deref().unwrap_or_default();
        let without_port =
            authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let host = without_port.map_or(authority, |(host, _)| host);
        let names_it = |entry: &str| {
            let entry = entry.trim().trim_start_matches('.').to_ascii_lowercase();
            let matches =
                |name: &str| name == entry || name.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.'));
            !entry.is_empty() && (matches(host) || matches(authority))
        };
        let is_exempted = exempted == "*" || exempted.split(',').any(names_it);
        let Variable { value, in_lower_case } = &self.http;
        // In a CGI program, a request's header can set it in upper case.
        let is_set = value.is_some() && (*in_lower_case || !self.is_cgi);
        (is_set && !is_exempted).then_some(if *in_lower_case { "http_proxy" } else { "HTTP_PROXY" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> ProxyVariables {
        let mut proxies = ProxyVariables::default();
        for (name, value) in variables {
            proxies.take(name, OsStr::new(value));
        }
        proxies
    }

    #[test]
    fn the_signed_call_has_a_proxy_of_its_own() {
        let https = |variables: &[(&str, &str)]| proxies(variables).https().map(|proxy| proxy.is_ok());
        assert_eq!(https(&[("HTTP_PROXY", "http://p:1")]), None);
        assert_eq!(https(&[("HTTPS_PROXY", "http://u:p@p:1")]), Some(true));
        assert_eq!(https(&[("HTTPS_PROXY", "p.example:3128")]), Some(true));
        assert_eq!(https(&[("HTTPS_PROXY", "http://p:1"), ("https_proxy", "")]), None);
        assert_eq!(https(&[("https_proxy", "http://p:1"), ("HTTPS_PROXY", "no url")]), Some(true));
        for wrong in ["no url", "socks5://p:1", "http://", "file:///x"] {
            assert_eq!(https(&[("HTTPS_PROXY", wrong)]), Some(false), "{wrong}");
        }
    }

    fn proxy(variables: &[(&str, &str)]) -> Option<&'static str> {
        proxies(variables).proxy_of("169.254.169.254")
    }

    #[test]
    fn a_proxy_takes_imds_unless_it_is_exempted() {
        assert_eq!(proxy(&[]), None);
        assert_eq!(proxy(&[("HTTPS_PROXY", "http://p:1")]), None);
        assert_eq!(proxy(&[("HTTP_PROXY", "http://p:1")]), Some("HTTP_PROXY"));
        assert_eq!(proxy(&[("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://p:1")]), Some("http_proxy"));
        assert_eq!(proxy(&[("HTTP_PROXY", "http://p:1"), ("http_proxy", "")]), None);
        assert_eq!(proxy(&[("HTTP_PROXY", "http://p:1"), ("no_proxy", ""), ("NO_PROXY", "*")]), Some("HTTP_PROXY"));
        for exempted in ["169.254.169.254", "a.b, 169.254.169.254", "*", "254", ".254"] {
            assert_eq!(proxy(&[("http_proxy", "http://p:1"), ("NO_PROXY", exempted)]), None, "{exempted}");
        }
        for other in ["", "localhost", "169.254.0.0/16", "254.169", "9.254", "169.254.169.254:80", "localhost,*", " * "]
        {
            assert!(proxy(&[("http_proxy", "http://p:1"), ("no_proxy", other)]).is_some(), "{other}");
        }
    }

    /// As botocore 1.44.5 does, with the urllib of Python 3.
    #[test]
    fn ports_and_ipv6_addresses_are_compared_as_in_the_url() {
        for (authority, exempted, is_exempted) in [
            ("127.0.0.1:1338", "127.0.0.1", true),
            ("127.0.0.1:1338", "127.0.0.1:1338", true),
            ("127.0.0.1:1338", "127.0.0.1:1339", false),
            ("[fd00:ec2::254]", "[fd00:ec2::254]", true),
            ("[fd00:ec2::254]", "fd00:ec2::254", false),
        ] {
            let proxy = proxies(&[("HTTP_PROXY", "http://p:1"), ("NO_PROXY", exempted)]).proxy_of(authority);
            assert_eq!(proxy.is_none(), is_exempted, "{authority}, {exempted}");
        }
    }
}
