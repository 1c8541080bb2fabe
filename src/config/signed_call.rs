//! How the signed call reaches STS: the SDKs' own variables, and which of them wins.

use super::proxy::ProxyVariables;
use super::reader::{ConfigErrors, Reader, Values};
use crate::domain::Region;
use crate::sts::{CaBundle, Choice, Endpoint, StsOptions};

pub(super) fn options(values: &Values, proxies: &ProxyVariables) -> Result<StsOptions, ConfigErrors> {
    let mut read = Reader { values, errors: Vec::new() };
    let own_region = read.parse("AWS_REGION", Region::parse);
    let default_region = read.parse("AWS_DEFAULT_REGION", Region::parse);
    let names = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"];
    let set = names.into_iter().find(|name| read.get(name).is_some());
    let ignored = read.is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    let endpoint = set.filter(|_| !ignored).and_then(|name| read.parse(name, Endpoint::parse));
    let legacy = read.parse("AWS_STS_REGIONAL_ENDPOINTS", |text| match text.to_ascii_lowercase().as_str() {
        "legacy" => Ok(true),
        "regional" => Ok(false),
        _ => Err("must be regional or legacy"),
    });
    let choice = Choice {
        fips: read.is_true("AWS_USE_FIPS_ENDPOINT"),
        dual_stack: read.is_true("AWS_USE_DUALSTACK_ENDPOINT"),
        legacy: legacy.unwrap_or_default(),
    };
    for (variable, chosen) in
        [("AWS_USE_FIPS_ENDPOINT", choice.fips), ("AWS_USE_DUALSTACK_ENDPOINT", choice.dual_stack)]
    {
        if chosen && endpoint.is_some() {
            read.error(variable, "cannot be true where AWS_ENDPOINT_URL_STS or AWS_ENDPOINT_URL names the endpoint");
        }
    }
    let proxy = proxies.https().and_then(|proxy| proxy.map_err(|what| read.error("HTTPS_PROXY", what)).ok());
    let bundle = |variable| Some(CaBundle { variable, path: read.get(variable)?.into() });
    let ca_bundles = ["AWS_CA_BUNDLE", "SSL_CERT_FILE"].into_iter().filter_map(bundle).collect();
    if !read.errors.is_empty() {
        return Err(ConfigErrors(read.errors));
    }
    Ok(StsOptions { region: own_region.or(default_region), endpoint, choice, proxy, ca_bundles })
}
