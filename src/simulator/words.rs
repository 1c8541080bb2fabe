//! How a closed set of words is declared: once, with the label that scenario files and JSON show.
//!
//! Owns one macro. Must not know what the words mean.

/// Declares an enum whose variants are words, with `ALL`, `label` and `from_label`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $name {
            $($(#[$word_doc])* #[serde(rename = $label)] $word,)+
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$word,)+];

            /// The word as it is written.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$word => $label,)+ }
            }

            /// The one that is written so.
            #[must_use]
            pub fn from_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.label() == label)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

pub(super) use words;
