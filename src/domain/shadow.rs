//! Credentials that the SDKs' default chain finds before it would ask IMDS.

use serde::Serialize;
use strum::{Display, EnumMessage, IntoStaticStr, VariantArray};

/// What shadows IMDS in the exporter's environment: the `by` label. boto3 takes the credentials that it finds there, or raises
/// an error: it does not ask IMDS.
#[derive(Clone, Copy, Debug, Display, EnumMessage, Eq, IntoStaticStr, PartialEq, Serialize, VariantArray)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum Shadow {
    /// Static keys: `AWS_ACCESS_KEY_ID`.
    Environment,
    /// IRSA: `AWS_WEB_IDENTITY_TOKEN_FILE`.
    WebIdentity,
    /// A profile of the SDKs' shared files, by default `~/.aws/credentials` and `~/.aws/config`.
    SharedCredentialsFile,
    /// EKS Pod Identity or an ECS task role: `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` or `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    Container,
}

impl Shadow {
    /// The value of the `by` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// What it is, for people.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_documentation().expect("every variant has a doc comment")
    }
}
