//! What this program was built from, as the build script found it.

/// What the exporter was built from.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The crate's version.
    pub version: &'static str,
    /// The commit.
    pub revision: &'static str,
    /// The compiler.
    pub rustversion: &'static str,
}

impl Build {
    /// This build.
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BUILD_REVISION"),
        rustversion: env!("BUILD_RUSTVERSION"),
    };
}
