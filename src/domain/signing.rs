//! The secrets of a credential document, for one signed call.
//!
//! Owns the only type that can hold them. It shows nothing, and is wiped when it is dropped.

use zeroize::Zeroizing;

use super::region::Region;

/// What a signed call needs.
pub struct Signing {
    /// The secrets.
    pub credentials: SigningCredentials,
    /// The region that IMDS names.
    pub region: Option<Region>,
}

/// What a request is signed with. It has no `Debug`, `Display`, `Clone` or serialization.
pub struct SigningCredentials {
    /// `AccessKeyId`.
    pub access_key_id: Zeroizing<String>,
    /// `SecretAccessKey`.
    pub secret_access_key: Zeroizing<String>,
    /// `Token`; permanent keys have none.
    pub session_token: Option<Zeroizing<String>>,
}
