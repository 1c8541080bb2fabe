//! How the signed call reaches STS: the SDKs' own variables, and which of them wins.

use super::proxy::ProxyVariables;
use super::reader::{ConfigErrors, Reader, is_true};
use super::variables::Raw;
use crate::domain::Region;
use crate::sts::{CaBundle, Choice, Endpoint, StsOptions};

/// The options, or all errors.
pub(super) fn options(raw: &Raw, proxies: &ProxyVariables) -> Result<StsOptions, ConfigErrors> {
    let mut read = Reader { errors: Vec::new() };
    let own_region = read.parse_optional("AWS_REGION", raw.aws_region.clone(), Region::parse);
    let default_region = read.parse_optional("AWS_DEFAULT_REGION", raw.aws_default_region.clone(), Region::parse);
    let mut endpoint_url = None;
    if !is_true(raw.aws_ignore_configured_endpoint_urls.as_deref()) {
        let of_sts = read.parse_optional("AWS_ENDPOINT_URL_STS", raw.aws_endpoint_url_sts.clone(), Endpoint::parse);
        endpoint_url = match raw.aws_endpoint_url_sts {
            Some(_) => of_sts,
            None => read.parse_optional("AWS_ENDPOINT_URL", raw.aws_endpoint_url.clone(), Endpoint::parse),
        };
    }
    let legacy = read.parse_optional("AWS_STS_REGIONAL_ENDPOINTS", raw.aws_sts_regional_endpoints.clone(), |text| {
        match text.to_ascii_lowercase().as_str() {
            "legacy" => Ok(true),
            "regional" => Ok(false),
            _ => Err("must be regional or legacy"),
        }
    });
    let choice = Choice {
        fips: is_true(raw.aws_use_fips_endpoint.as_deref()),
        dual_stack: is_true(raw.aws_use_dualstack_endpoint.as_deref()),
        legacy: legacy.unwrap_or_default(),
    };
    for (variable, chosen) in
        [("AWS_USE_FIPS_ENDPOINT", choice.fips), ("AWS_USE_DUALSTACK_ENDPOINT", choice.dual_stack)]
    {
        if chosen && endpoint_url.is_some() {
            read.error(variable, "cannot be true where AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL names the endpoint");
        }
    }
    let proxy = proxies.https().and_then(|proxy| proxy.map_err(|what| read.error("HTTPS_PROXY", what)).ok());
    let bundles = [("AWS_CA_BUNDLE", &raw.aws_ca_bundle), ("SSL_CERT_FILE", &raw.ssl_cert_file)];
    let ca_bundles = bundles
        .into_iter()
        .filter_map(|(variable, path)| path.as_ref().map(|path| CaBundle { variable, path: path.into() }));
    if read.errors.is_empty() {
        Ok(StsOptions {
            region: own_region.or(default_region),
            endpoint: endpoint_url,
            choice,
            proxy,
            ca_bundles: ca_bundles.collect(),
        })
    } else {
        Err(ConfigErrors(read.errors))
    }
}
