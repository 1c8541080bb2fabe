//! The texts about kinds and reasons, which are data: `kinds.toml` and `reasons.toml` say how they are written, and
//! `commands.toml` has the commands that several texts name.
//!
//! Owns how they are read, and what their placeholders stand for. Must not know which situation is given.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::situation::Situation;
use crate::domain::place::{Circumstances, Place, Platform};
use crate::domain::signed_call::Reason;
use crate::domain::{Kind, boto3};

/// What an operator needs to know about a kind or a reason. Back-ticks enclose code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The likely cause.
    pub cause: String,
    /// What breaks, and when.
    pub breaks: String,
    /// A command that confirms the cause.
    pub confirm: String,
    /// What an operator does.
    pub action: String,
    /// When to escalate, and to whom.
    pub escalate: String,
}

static KINDS: LazyLock<Subject> = LazyLock::new(|| Subject::parse(include_str!("kinds.toml")));
static REASONS: LazyLock<Subject> = LazyLock::new(|| Subject::parse(include_str!("reasons.toml")));
static COMMANDS: LazyLock<Commands> =
    LazyLock::new(|| toml::from_str(include_str!("commands.toml")).expect("a test parses it"));

/// The texts about `kind` that fit the circumstances.
#[must_use]
pub fn explanation(kind: Kind, circumstances: Circumstances) -> Explanation {
    KINDS.explain(kind.label(), Situation::of(kind, circumstances), circumstances.place)
}

/// The texts about `reason` that fit the place.
#[must_use]
pub fn reason_explanation(reason: Reason, place: Place) -> Explanation {
    REASONS.explain(reason.label(), None, place)
}

/// The situations in which other texts about `kind` fit, each with these.
pub(super) fn situations(kind: Kind) -> impl Iterator<Item = (Situation, Explanation)> {
    KINDS.of(kind.label()).situations.keys().map(move |name| {
        let situation = name.parse().expect("a test parses all of them");
        let platform = match situation {
            Situation::Kubernetes | Situation::IamProxy => Platform::Kubernetes,
            Situation::Ecs | Situation::BlackholeRoute => Platform::Ecs,
            _ => Platform::Host,
        };
        (situation, KINDS.explain(kind.label(), Some(situation), Place { platform, ..Place::default() }))
    })
}

/// `places` are the commands that differ by place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands {
    places: BTreeMap<String, BTreeMap<String, String>>,
    commands: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    breaks: BTreeMap<String, String>,
    escalate: BTreeMap<String, String>,
    #[serde(alias = "kinds", alias = "reasons")]
    texts: BTreeMap<String, Texts>,
}

/// The texts about one thing; `breaks` and `escalate` name shared ones.
#[derive(Deserialize)]
struct Texts {
    cause: String,
    breaks: String,
    confirm: String,
    action: String,
    escalate: String,
    #[serde(flatten)]
    situations: BTreeMap<String, Differences>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Differences {
    cause: Option<String>,
    confirm: Option<String>,
    action: Option<String>,
    escalate: Option<String>,
}

impl Subject {
    fn parse(text: &str) -> Self {
        toml::from_str(text).expect("a test parses it")
    }

    fn of(&self, name: &str) -> &Texts {
        self.texts.get(name).expect("a test finds each")
    }

    fn explain(&self, name: &str, situation: Option<Situation>, place: Place) -> Explanation {
        let usual = self.of(name);
        let none = Differences::default();
        let here = situation.and_then(|situation| usual.situations.get(<&str>::from(situation))).unwrap_or(&none);
        let text = |differs: &Option<String>, usual: &str| filled_in(differs.as_deref().unwrap_or(usual), place);
        let escalate = here.escalate.as_ref().unwrap_or(&usual.escalate);
        Explanation {
            cause: text(&here.cause, &usual.cause),
            breaks: filled_in(&self.breaks[&usual.breaks], place),
            confirm: text(&here.confirm, &usual.confirm),
            action: text(&here.action, &usual.action),
            escalate: filled_in(&self.escalate[escalate], place),
        }
    }
}

/// The text with values in the place of its placeholders.
pub(super) fn filled_in(text: &str, place: Place) -> String {
    let here = &COMMANDS.places[<&str>::from(place.platform)];
    let (principal, sts) = match place.in_china {
        Some(true) => ("ec2.amazonaws.com.cn", "sts.REGION.amazonaws.com.cn"),
        Some(false) => ("ec2.amazonaws.com", "sts.REGION.amazonaws.com"),
        None => ("ec2.amazonaws.com (in China: ec2.amazonaws.com.cn)", "sts.REGION.amazonaws.com"),
    };
    let refresh = boto3::REFRESH.as_mins().to_string();
    let signed_check = format!("{} --signed", here["check"]);
    let own = [("signed_check", &*signed_check), ("principal", principal), ("refresh", &refresh)];
    let values =
        |texts: &'static BTreeMap<String, String>| texts.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    // What a place has may name a command, and a command may name the host of STS.
    let values = own.into_iter().chain(values(here)).chain(values(&COMMANDS.commands)).chain([("sts", sts)]);
    values.fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::VariantArray;

    use super::*;
    use crate::domain::{Evidence, NetworkError, Server};

    /// Every place and every evidence that a decision looks at.
    fn all_circumstances() -> Vec<Circumstances> {
        let mut all = Vec::new();
        for platform in [Platform::Host, Platform::Kubernetes, Platform::Ecs] {
            for (ipv6, in_china) in [(false, None), (true, Some(true)), (false, Some(false))] {
                for server in [None, Some(Server::Ec2), Some(Server::Other)] {
                    for token_status in [None, Some(200), Some(404)] {
                        for network_error in NetworkError::VARIANTS.iter().copied().map(Some).chain([None]) {
                            let place = Place { platform, ipv6, in_china };
                            let evidence = Evidence { server, token_status, network_error, ..Evidence::default() };
                            all.push(Circumstances { place, evidence });
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn every_reason_has_texts_and_every_kind_those_for_exactly_the_situations_that_occur() {
        let kinds: BTreeSet<_> = Kind::VARIANTS.iter().map(|kind| kind.label()).collect();
        let reasons: BTreeSet<_> = Reason::VARIANTS.iter().map(|reason| reason.label()).collect();
        for (subject, labels) in [(&KINDS, kinds), (&REASONS, reasons)] {
            assert_eq!(subject.texts.keys().map(String::as_str).collect::<BTreeSet<_>>(), labels);
        }
        for kind in Kind::VARIANTS.iter().copied() {
            let occur: BTreeSet<_> =
                all_circumstances().into_iter().filter_map(|seen| Situation::of(kind, seen)).collect();
            let written: BTreeSet<_> = situations(kind).map(|(situation, _)| situation).collect();
            assert_eq!(written, occur, "{kind}");
        }
    }

    #[test]
    fn every_shared_command_is_named_by_a_text() {
        let texts = [
            include_str!("kinds.toml"),
            include_str!("reasons.toml"),
            include_str!("alerts.md"),
            include_str!("commands.toml"),
            include_str!("mod.rs"),
        ];
        for name in COMMANDS.commands.keys() {
            assert!(texts.iter().any(|text| text.contains(&format!("{{{name}}}"))), "{name}");
        }
    }

    #[test]
    fn every_shared_text_is_used() {
        for subject in [&*KINDS, &*REASONS] {
            let breaks: BTreeSet<_> = subject.texts.values().map(|texts| &texts.breaks).collect();
            assert_eq!(breaks, subject.breaks.keys().collect());
            let escalate: BTreeSet<_> = subject
                .texts
                .values()
                .flat_map(|texts| {
                    let others = texts.situations.values().filter_map(|differences| differences.escalate.as_ref());
                    others.chain([&texts.escalate])
                })
                .collect();
            assert_eq!(escalate, subject.escalate.keys().collect());
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_every_situation_says_something_else() {
        for circumstances in all_circumstances() {
            let kinds = Kind::VARIANTS.iter().map(|kind| explanation(*kind, circumstances));
            let reasons = Reason::VARIANTS.iter().map(|reason| reason_explanation(*reason, circumstances.place));
            for Explanation { cause, breaks, confirm, action, escalate } in kinds.chain(reasons) {
                for text in [cause, breaks, confirm, action, escalate] {
                    assert!(!text.trim().is_empty() && !text.contains(['{', '}']), "{text}");
                }
            }
        }
        for kind in Kind::VARIANTS.iter().copied() {
            let usual = explanation(kind, Circumstances::default());
            for (situation, here) in situations(kind) {
                assert_ne!(
                    (here.cause, here.action),
                    (usual.cause.clone(), usual.action.clone()),
                    "{kind} {situation:?}"
                );
            }
        }
    }

    #[test]
    fn commands_and_names_are_those_of_the_place() {
        let at = |platform, in_china| Place { platform, in_china, ..Place::default() };
        let confirm = |platform| reason_explanation(Reason::Throttled, at(platform, None)).confirm;
        assert_eq!(confirm(Platform::Host), "imds-exporter check --signed");
        assert!(confirm(Platform::Kubernetes).starts_with("kubectl exec -n NAMESPACE POD "));
        assert!(confirm(Platform::Ecs).starts_with("docker exec CONTAINER "));
        let action = |in_china| {
            let place = at(Platform::Host, in_china);
            explanation(Kind::AssumeRoleDenied, Circumstances { place, ..Circumstances::default() }).action
        };
        assert!(action(Some(true)).contains(" ec2.amazonaws.com.cn "));
        assert!(!action(Some(false)).contains(".cn"));
        let denied = explanation(Kind::ServerError, Circumstances::default()).breaks;
        assert!(denied.contains("until 15 minutes"), "{denied}");
    }
}
