//! How changes and scenarios are written in TOML: keys, values and limits.
//!
//! Must not know what follows from a change.

use std::fmt::Display;
use std::num::NonZeroU8;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use strum::VariantArray;
use toml::Spanned;

use super::change::{Change, Content, Health, Rotation, TokenPolicy, Verdict};
use super::fault::{Fault, listed};
use super::scenario::{Scenario, Step};
use super::scenario_error::ScenarioError;
use crate::domain::signed_call::Reason;
use crate::domain::{self, Kind, RoleName};

/// The largest text that is read, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The largest number of steps of a scenario.
pub(super) const MAX_STEPS: usize = 1_000;
/// Keeps sums of timestamps and durations within the range of the clock's type.
const MAX_SPAN: Duration = Duration::from_hours(24 * 1_000);

type Text = Option<Spanned<String>>;

/// A step as it is written; a change is one without `at` and `say`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    at: Text,
    say: Text,
    fault: Text,
    step: Text,
    variant: Text,
    field: Text,
    flap: Text,
    only_step: Option<bool>,
    delay: Text,
    token_delay: Text,
    get_delay: Text,
    role: Text,
    rotate: Option<bool>,
    lifetime: Text,
    expires_in: Text,
    rotation: Text,
    document: Option<String>,
    clock_skew: Text,
    date_header: Option<bool>,
    tokens: Text,
    forget_tokens: Option<bool>,
    token_ttl_header: Option<bool>,
    token_lifetime: Text,
    keep_alive: Option<bool>,
    drip: Option<bool>,
    hop_limit: Option<NonZeroU8>,
    sts: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    step: Vec<Spanned<Table>>,
}

impl Change {
    /// Reads a change from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, or a key or a value is unknown; the error names the key and the line.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        change(toml)
    }
}

impl Scenario {
    /// Reads a scenario from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, a key or a value is unknown, or a step is earlier than the one above it; the error names
    /// the key and the line.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        scenario(toml)
    }
}

fn change(text: &str) -> Result<Change, ScenarioError> {
    let table: Table = read(text)?;
    for (key, value) in [("at", &table.at), ("say", &table.say)] {
        value_of(text, key, value, |_| Err::<(), _>("belongs in a step of a scenario, not in a single change"))?;
    }
    typed(text, table)
}

fn scenario(text: &str) -> Result<Scenario, ScenarioError> {
    let file: File = read(text)?;
    if file.step.is_empty() {
        return Err(ScenarioError::whole("`step`: a scenario has at least one [[step]]"));
    }
    if file.step.len() > MAX_STEPS {
        return Err(ScenarioError::whole(format_args!("`step`: more than {MAX_STEPS} steps")));
    }
    let mut steps: Vec<Step> = Vec::with_capacity(file.step.len());
    for table in file.step {
        let span = table.span();
        let table = table.into_inner();
        let earliest = steps.last().map_or(Duration::ZERO, |step| step.at);
        let at = value_of(text, "at", &table.at, |at| match duration(at)? {
            at if at < earliest => Err("comes before the step above it".to_owned()),
            at => Ok(at),
        })?;
        let at = at.ok_or_else(|| ScenarioError::at(text, span, "`at` is missing: each [[step]] has one"))?;
        let say = table.say.as_ref().map(|say| say.get_ref().clone());
        steps.push(Step { at, say, change: typed(text, table)? });
    }
    Ok(Scenario { title: file.title, description: file.description, steps })
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, ScenarioError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ScenarioError::whole(format_args!("more than {MAX_TEXT_BYTES} bytes")));
    }
    toml::from_str(text).map_err(|error| match error.span() {
        Some(span) => ScenarioError::at(text, span, error.message()),
        None => ScenarioError::whole(error.message()),
    })
}

fn typed(text: &str, table: Table) -> Result<Change, ScenarioError> {
    Ok(Change {
        fault: health(text, &table)?,
        flap: value_of(text, "flap", &table.flap, |flap| at_least(Duration::from_millis(10), flap))?,
        only_step: table.only_step,
        delay: value_of(text, "delay", &table.delay, duration)?,
        token_delay: value_of(text, "token_delay", &table.token_delay, duration)?,
        get_delay: value_of(text, "get_delay", &table.get_delay, duration)?,
        role: value_of(text, "role", &table.role, |role| RoleName::try_from(role.to_owned()))?,
        rotate: table.rotate,
        lifetime: value_of(text, "lifetime", &table.lifetime, |span| at_least(Duration::from_secs(1), span))?,
        expires_in: value_of(text, "expires_in", &table.expires_in, signed)?,
        rotation: value_of(text, "rotation", &table.rotation, |period| match period {
            "off" => Ok(Rotation::Off),
            period => at_least(Duration::from_secs(1), period).map(Rotation::Every),
        })?,
        document: table.document.map(|raw| if raw.is_empty() { Content::Generated } else { Content::Raw(raw) }),
        clock_skew: value_of(text, "clock_skew", &table.clock_skew, signed)?,
        date_header: table.date_header,
        tokens: value_of(text, "tokens", &table.tokens, |policy| {
            policy.parse::<TokenPolicy>().map_err(|_| "it is required or optional")
        })?,
        forget_tokens: table.forget_tokens,
        token_ttl_header: table.token_ttl_header,
        token_lifetime: value_of(text, "token_lifetime", &table.token_lifetime, |span| {
            at_least(Duration::from_secs(1), span)
        })?,
        keep_alive: table.keep_alive,
        drip: table.drip,
        hop_limit: table.hop_limit,
        sts: value_of(text, "sts", &table.sts, verdict)?,
    })
}

fn health(text: &str, table: &Table) -> Result<Option<Health>, ScenarioError> {
    let health = value_of(text, "fault", &table.fault, |label| match label {
        "none" => Ok(Health::Healthy),
        label => {
            let kind = label.parse::<Kind>().map_err(|_| {
                format!("no such kind, only none, {}", listed(Kind::VARIANTS.iter().map(|kind| kind.label())))
            })?;
            Fault::new(kind).map(Health::Faulty).map_err(|error| error.to_string())
        }
    })?;
    let Some(Health::Faulty(mut fault)) = health else {
        let without_fault = [("step", &table.step), ("variant", &table.variant), ("field", &table.field)];
        for (key, value) in without_fault {
            value_of(text, key, value, |_| Err::<(), _>("goes with a `fault`"))?;
        }
        if health.is_some() {
            value_of(text, "flap", &table.flap, |_| Err::<(), _>("goes with a fault, not with none"))?;
        }
        return Ok(health);
    };
    // The variant first: it decides where the fault can strike.
    if let Some(changed) = value_of(text, "variant", &table.variant, |label| fault.in_variant(label))? {
        fault = changed;
    }
    let step = value_of(text, "step", &table.step, |label| {
        let step = label.parse::<domain::Step>().map_err(|_| "it is token, role or credentials".to_owned())?;
        fault.at_step(step).map_err(|error| error.to_string())
    })?;
    fault = step.unwrap_or(fault);
    let field = value_of(text, "field", &table.field, |name| fault.in_field(name))?;
    Ok(Some(Health::Faulty(field.unwrap_or(fault))))
}

fn verdict(label: &str) -> Result<Verdict, String> {
    let possible = Reason::VARIANTS.iter().filter(|reason| Verdict::Fails(**reason).is_possible());
    if label == "checks" {
        return Ok(Verdict::Checks);
    }
    let found = possible.clone().find(|reason| reason.label() == label);
    let labels = || listed(possible.map(|reason| reason.label()));
    found.map(|reason| Verdict::Fails(*reason)).ok_or_else(|| format!("it is checks, {}", labels()))
}

fn value_of<T, E: Display>(
    text: &str,
    key: &str,
    value: &Text,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, ScenarioError> {
    let Some(value) = value else { return Ok(None) };
    let parsed = parse(value.get_ref());
    parsed.map(Some).map_err(|error| ScenarioError::at(text, value.span(), format_args!("`{key}`: {error}")))
}

fn duration(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 800ms, 90s or 6h34m"))?;
    if span > MAX_SPAN { Err("more than 1000 days".to_owned()) } else { Ok(span) }
}

fn at_least(least: Duration, text: &str) -> Result<Duration, String> {
    let span = duration(text)?;
    if span < least { Err(format!("less than {}", humantime::format_duration(least))) } else { Ok(span) }
}

fn signed(text: &str) -> Result<SignedDuration, String> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let span = SignedDuration::try_from(duration(text)?).expect("1000 days are within its range");
    Ok(if negative { -span } else { span })
}
