//! The status page: whoever was paged must see within seconds what is wrong and what to do.
//!
//! Readable on a phone, on paper, without JavaScript and with a screen reader. Owns the words and their order; must not
//! know the state, only [`Status`].

mod timeline;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, PreEscaped, html};

use super::document::Page;
use super::status::{Advice, CallFailureStatus, FailureStatus, SignedCallStatus, Status};
use super::text::{rich, time};
use crate::domain::outage::Outage;
use crate::domain::{HumanDuration, ImdsState, Kind};
use crate::runbook::Sentence;
use crate::workload::SuspectProcess;

const SCRIPT: &str = include_str!("script.js");

/// How often the page reloads itself without JavaScript, in seconds.
const RELOAD_SECONDS: u32 = 30;

/// Suspects that get a row, so that the page stays small however many there are.
const SUSPECTS_SHOWN: usize = 50;

/// The class of the body, which sets the color of the banner.
const fn class(state: ImdsState) -> &'static str {
    match state {
        ImdsState::Starting | ImdsState::Unused | ImdsState::Proxied => "unknown",
        ImdsState::Fine => "good",
        ImdsState::Failing | ImdsState::Expired | ImdsState::Refused | ImdsState::Stuck => "bad",
    }
}

/// The icon of the browser's tab; its shape says the same as its color.
fn icon(state: ImdsState) -> &'static str {
    match class(state) {
        "good" => "<circle cx='8' cy='8' r='8' fill='%230072b2'/>",
        "bad" => "<path d='M8 0l8 15H0z' fill='%23d55e00'/>",
        _ => "<circle cx='8' cy='8' r='6' fill='none' stroke='%23667' stroke-width='3'/>",
    }
}

fn headline(status: &Status) -> String {
    match status.state {
        ImdsState::Starting => "Starting".to_owned(),
        ImdsState::Unused => "IMDS is not used here".to_owned(),
        ImdsState::Proxied => "boto3 would ask IMDS through a proxy".to_owned(),
        ImdsState::Failing => {
            let since = status.outage_since.unwrap_or(status.started_at);
            format!("Failing for {}", HumanDuration(since.duration_until(status.now)))
        }
        ImdsState::Expired => "Expired".to_owned(),
        ImdsState::Refused => "AWS refuses the credentials".to_owned(),
        ImdsState::Stuck => "Clients are stuck".to_owned(),
        ImdsState::Fine => "Fine".to_owned(),
    }
}

fn lead(status: &Status) -> Markup {
    match status.state {
        ImdsState::Starting => html! { "The first poll has not ended yet." },
        ImdsState::Fine => match status.v1_fallback {
            None => html! { "IMDS returns credentials" (acceptance(status)) "." },
            Some(kind) => html! {
                "IMDS returns credentials" (acceptance(status)) ", but by IMDSv1 only: the token request fails with " code { (kind) }
                ". New boto3 clients take up to a second longer, SDKs that know IMDSv2 only fail, and "
                code { "AWS_EC2_METADATA_V1_DISABLED=true" } " would break the workload. "
                a href={ "runbook#" (kind) } { "What to do about " code { (kind) } }
            },
        },
        ImdsState::Unused => html! {
            @if let Some(shadow) = status.chain_shadowed {
                "boto3 finds credentials before it would ask IMDS: " (rich(shadow.meaning()))
                " What follows is about IMDS alone."
            } @else {
                code { "AWS_EC2_METADATA_DISABLED=true" } " is set: nothing is sent to IMDS."
            }
        },
        ImdsState::Proxied => html! {
            "The environment has " code { (status.imds_through_proxy.unwrap_or_default()) } ", so that boto3 sends its requests \
             to IMDS through a proxy. The exporter does not: what follows is about IMDS alone. Add the address of IMDS to "
            code { "NO_PROXY" } " for the workload and the exporter."
        },
        ImdsState::Expired => html! {
            "IMDS answers, but the credentials that it returns have expired" (acceptance(status)) ". AWS may refuse calls until \
             IMDS renews them."
        },
        ImdsState::Refused => html! {
            "IMDS returns credentials, but AWS refuses them: every call that is signed with them fails. "
            (rich(refusal(status).map_or("", |failure| failure.advice.observed)))
        },
        ImdsState::Failing => {
            let seen = status.failure.as_ref().map_or("", |failure| failure.advice.observed);
            html! { "Credentials cannot be fetched. " (rich(seen)) " " (held_credentials(status)) }
        }
        ImdsState::Stuck => {
            html! {
                "IMDS is fine, but boto3 clients that were created "
                @match window_of_start(status) {
                    Some(window) => { "between " (time(window.start)) " and " (time(window.end)) }
                    None => { "when the workload started" }
                }
                " hold no credentials, permanently: every call fails until they are " strong { "re-created" }
                ". Restart the workload, then the exporter."
            }
        }
    }
}

fn refusal(status: &Status) -> Option<&CallFailureStatus> {
    status.signed_call.as_ref()?.failure.as_ref().filter(|failure| failure.refused)
}

/// What AWS says of the credentials, as the end of a sentence about them.
fn acceptance(status: &Status) -> Markup {
    html! {
        @if let Some(call) = &status.signed_call {
            @match &call.failure {
                None => { "; AWS accepts them (" (accepted(call)) ")" }
                Some(failure) => {
                    "; whether AWS accepts them is unknown (" a href={ "runbook#" (failure.reason.anchor()) } { code { (failure.reason) } } ")"
                }
            }
        }
    }
}

/// How long an accepted call took, and of whom the credentials are.
fn accepted(call: &SignedCallStatus) -> String {
    let account = call.account.as_deref().map(|account| format!(", account {account}")).unwrap_or_default();
    format!("{:.0} ms{account}", call.duration_seconds * 1e3)
}

/// What clients can do with the credentials that they hold.
fn held_credentials(status: &Status) -> String {
    match status.remaining_seconds {
        None if status.last_success_at.is_some() => String::new(),
        None => "None have been seen so far.".to_owned(),
        Some(left) if left > 0 => {
            format!("Those fetched before are valid for another {}.", HumanDuration(SignedDuration::from_secs(left)))
        }
        Some(left) => format!("Those fetched before expired {} ago.", HumanDuration(SignedDuration::from_secs(-left))),
    }
}

fn window_of_start(status: &Status) -> Option<&Outage> {
    let started_at = status.workload_started_at?;
    let contains = |window: &&Outage| window.start <= started_at && started_at <= window.end;
    status.outages.iter().find(contains)
}

pub(super) fn render(status: &Status) -> String {
    let headline = headline(status);
    let icon = format!(
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{}</svg>",
        icon(status.state)
    );
    Page {
        title: headline.clone(),
        class: class(status.state),
        head: html! {
            noscript { meta http-equiv="refresh" content=(RELOAD_SECONDS); }
            link rel="icon" href=(icon);
        },
        header: html! {
            p {
                "watches " code { (status.endpoint) } " "
                span.written { "· as of " (time(status.now)) }
            }
            label hidden { input type="checkbox" id="auto" checked; " update automatically" }
        },
        notices: html! {
            p #stale hidden { "The exporter does not answer. The information below is out of date." }
            p #announcement.visually-hidden role="status" {}
        },
        main: html! {
            (banner(&headline, status))
            @if let Some(failure) = &status.failure { (failure_section(failure)) }
            @if let (Some(kind), Some(advice)) = (status.v1_fallback, &status.v1_fallback_advice) {
                (fallback_section(kind, advice))
            }
            @if let Some(failure) = status.signed_call.as_ref().and_then(|call| call.failure.as_ref()) {
                (call_failure_section(failure))
            }
            (clients(status))
            @if let Some(suspects) = &status.suspects { (suspects_section(suspects, status)) }
            (timeline::section(&status.history, status.now))
            (outages(status))
        },
        footer: html! { p { "Version " (status.version) ", running since " (time(status.started_at)) } },
        scripts: html! { script { (PreEscaped(SCRIPT)) } },
    }
    .render()
}

fn banner(headline: &str, status: &Status) -> Markup {
    html! {
        section.banner aria-labelledby="verdict" {
            h2 id="verdict" { (headline) }
            p { (lead(status)) }
        }
        section aria-labelledby="figures" {
            h2 #figures.visually-hidden { "Figures" }
            dl.figures { @for (name, value) in figures(status) { div { dt { (name) } dd { (value) } } } }
        }
    }
}

fn figures(status: &Status) -> Vec<(&'static str, Markup)> {
    let ago = |at: Timestamp| html! { b { (HumanDuration(at.duration_until(status.now))) " ago" } };
    let mut figures = vec![match (status.remaining_seconds, status.expiration) {
        (Some(left), Some(end)) => {
            let span = HumanDuration(SignedDuration::from_secs(left.abs()));
            if left > 0 {
                ("Time left", html! { b { (span) } " " small { "until " (time(end)) } (meter(status)) })
            } else {
                ("Expired", html! { b { (span) " ago" } " " small { "at " (time(end)) } })
            }
        }
        _ if status.last_success_at.is_some() => {
            ("Time left", html! { b { "none" } " " small { "no role is attached" } })
        }
        _ => ("Time left", html! { b { "unknown" } " " small { "no credentials have been seen so far" } }),
    }];
    let says_no_role = status.failure.as_ref().is_some_and(|failure| failure.kind.says_no_role());
    figures.push(match &status.role {
        Some(role) => ("Role", html! { b { (role) } }),
        None if says_no_role => ("Role", html! { b { "none" } " " small { "according to IMDS" } }),
        None => ("Role", html! { b { "unknown" } }),
    });
    figures.push(("Last success", status.last_success_at.map_or_else(|| html! { b { "never" } }, ago)));
    figures.extend(status.last_attempt_at.map(|at| ("Last poll", ago(at))));
    figures.extend(status.signed_call.as_ref().map(|call| {
        let word = match &call.failure {
            None => "accepted",
            Some(failure) if failure.refused => "refused",
            Some(_) => "failed",
        };
        let detail = html! {
            @match &call.failure {
                None => { (accepted(call)) @if let Some(role) = &call.role { ", role " (role) } }
                Some(failure) => { code { (failure.reason) } }
            }
            ", " (HumanDuration(call.at.duration_until(status.now))) " ago"
        };
        ("Signed call", html! { b { (word) } " " small { (detail) } })
    }));
    figures.extend(status.clock_skew_seconds.map(|skew| {
        ("Clock skew", html! { b { (format_args!("{skew:+.1} s")) } " " small { "IMDS minus this machine" } })
    }));
    figures
}

/// The part of the credentials' lifetime that is left, as a bar; the figure beside it says the same.
fn meter(status: &Status) -> Markup {
    let share = status.last_updated.zip(status.expiration).and_then(|(from, to)| {
        let lifetime = from.duration_until(to).as_secs_f64();
        (lifetime > 0.0).then(|| (status.now.duration_until(to).as_secs_f64() / lifetime).clamp(0.0, 1.0) * 100.0)
    });
    html! {
        @if let Some(share) = share {
            span.meter aria-hidden="true" { i style={ "width:" (format_args!("{share:.0}")) "%" } {} }
        }
    }
}

fn failure_section(FailureStatus { kind, step, polls, advice, .. }: &FailureStatus) -> Markup {
    let seen = html! {
        "Seen in the " code { (step) } " request, in "
        @if *polls == 1 { "one poll." } @else { (polls) " polls in a row." }
    };
    advice_section("failure", &html! { "What is wrong: " code { (kind) } }, kind.label(), &seen, advice)
}

fn fallback_section(kind: Kind, advice: &Advice) -> Markup {
    let heading = html! { "Why IMDSv2 does not work: " code { (kind) } };
    advice_section("fallback", &heading, kind.label(), &rich(advice.observed), advice)
}

fn call_failure_section(failure: &CallFailureStatus) -> Markup {
    let CallFailureStatus { reason, refused, status, code, since, advice, .. } = failure;
    let heading = html! {
        @if *refused { "AWS refuses the credentials: " } @else { "STS cannot be asked: " } code { (reason) }
    };
    let seen = html! {
        "Seen in a signed call" @if let Some(status) = status { ", in an answer with status " (status) }
        @if let Some(code) = code { " and the code " code { (code) } }
        @if let Some(since) = since { "; failing since " (time(*since)) } "."
    };
    advice_section("signed-call", &heading, reason.anchor(), &seen, advice)
}

/// What is known of a failure, and what to do about it; `anchor` is its section in the runbook.
fn advice_section(id: &str, heading: &Markup, anchor: &str, seen: &Markup, advice: &Advice) -> Markup {
    let Advice { cause, action, confirm, .. } = advice;
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (heading) }
            p { (seen) }
            dl.advice {
                div { dt { "Likely cause" } dd { (rich(cause)) } }
                div.action { dt { "What to do" } dd { (rich(action)) } }
                div { dt { "To confirm" } dd { code { (confirm) } } }
            }
            p { a href={ "runbook#" (anchor) } { "Runbook section for " code { (anchor) } } }
        }
    }
}

fn clients(status: &Status) -> Markup {
    let rows = status.clients.iter().map(|client| {
        let (class, mark, word) = match client.usable {
            Some(true) => ("good", "✓", "usable"),
            Some(false) => ("bad", "✗", "no credentials"),
            None => ("unknown", "–", "unknown"),
        };
        [
            plain(html! { "boto3 client " (client.meaning) }),
            (class, html! { span aria-hidden="true" { (mark) } " " (word) }),
            ("consequence", in_words(&client.text)),
        ]
    });
    html! {
        @if status.chain_shadowed.is_none() && status.imds_through_proxy.is_none() { section aria-labelledby="clients" {
            h2 id="clients" { "Can a client sign requests now?" }
            (table(["A client", "Now", "What that means"], rows))
        } }
    }
}

fn in_words(sentence: &Sentence) -> Markup {
    html! { (sentence.before) @if let Some(at) = sentence.time { (time(at)) } (sentence.after) }
}

fn suspects_section(suspects: &[SuspectProcess], status: &Status) -> Markup {
    let rows = suspects.iter().take(SUSPECTS_SHOWN).map(|suspect| {
        let cells = [
            html! { (suspect.pid) },
            html! { code { (suspect.command) } },
            html! { (time(suspect.started_at)) },
            html! { (suspect.owner.remedy()) },
        ];
        cells.map(plain)
    });
    let more = suspects.len().saturating_sub(SUSPECTS_SHOWN);
    html! {
        section aria-labelledby="suspects" {
            h2 id="suspects" {
                "Suspect processes" @if !suspects.is_empty() { ": " (suspects.len()) }
            }
            @if suspects.is_empty() { p { "None." } }
            @if status.sees_other_processes == Some(false) {
                p.notice {
                    "Only the exporter itself can be seen: share the PID namespace with the workload, and allow the exporter \
                     to see its processes."
                }
            }
            @if let Some(watched) = status.watched_processes { p { "Watched processes: " (watched) "." } }
            p.note {
                "Watched processes that started in an outage that is over, and still run. A suspicion, never a proof: such \
                 a process may have re-created its clients."
            }
            @if !suspects.is_empty() { (table(["Process", "Command", "Started", "Remedy"], rows)) }
            @if more > 0 { p { "And " (more) " more." } }
        }
    }
}

fn outages(status: &Status) -> Markup {
    let row = |start: Timestamp, end: Option<Timestamp>| {
        let lasted = HumanDuration(start.duration_until(end.unwrap_or(status.now)));
        let ended = html! { @match end { Some(end) => { (time(end)) } None => { "not yet" } } };
        [html! { (time(start)) }, ended, html! { (lasted) }].map(plain)
    };
    let open = status.outage_since.map(|start| row(start, None));
    let over = status.outages.iter().rev().map(|window| row(window.start, Some(window.end)));
    let rows: Vec<_> = open.into_iter().chain(over).collect();
    html! {
        section aria-labelledby="outages" {
            h2 id="outages" { "Outages" }
            @if rows.is_empty() {
                p { "None seen." }
            } @else {
                p.note {
                    "From the last success before the outage to the first success after it."
                    @if status.chain_shadowed.is_none() {
                        " boto3 clients that were created in between may hold no credentials until they are re-created."
                    }
                }
                (table(["Began", "Ended", "Lasted"], rows))
            }
        }
    }
}

/// Class and content.
type Cell = (&'static str, Markup);

fn plain(content: Markup) -> Cell {
    ("plain", content)
}

/// A table whose first column is a heading too. Each cell repeats the heading of its column, for narrow screens, on
/// which a row is shown as a list. The roles are for browsers that forget what a table is when it is laid out
/// differently.
fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Markup {
    html! {
        table role="table" {
            thead role="rowgroup" {
                tr role="row" { @for heading in headings { th role="columnheader" scope="col" { (heading) } } }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (index, ((class, content), heading)) in row.iter().zip(headings).enumerate() {
                            @if index == 0 {
                                th role="rowheader" scope="row" { (content) }
                            } @else {
                                td role="cell" class=(class) data-heading=(heading) { (content) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strum::VariantArray;

    use super::*;
    use crate::domain::signed_call::{AccountId, CallFailure, Caller, Reason, SignedCall};
    use crate::domain::state::{State, WorkloadEnvironment};
    use crate::domain::workload::Workload;
    use crate::domain::{Credential, Failure, Kind, Resolution, RoleName, Step};

    /// The largest page that may be served, in bytes.
    const LIMIT: usize = 50_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time in this century")
    }

    fn new_state() -> State {
        let workload = Workload::StartsWithExporter;
        State::new(WorkloadEnvironment { workload, ..WorkloadEnvironment::default() }, at(0))
    }

    fn polled(state: &mut State, outcome: Result<i64, Kind>, second: i64) {
        let credential = |end| Credential {
            role: RoleName::try_from("web".to_owned()).expect("a legal name"),
            last_updated: Some(at(end - 3_600)),
            expiration: at(end),
        };
        let outcome = outcome.map(credential).map_err(|kind| Failure { kind, step: Step::Token });
        let clock_skew = Some(SignedDuration::from_millis(400));
        let resolution = Resolution { clock_skew, ..Resolution::from(outcome) };
        state.record(&resolution, Duration::from_micros(2_345), at(second));
    }

    fn status(state: &State, now: i64) -> Status {
        Status::new(state, None, "http://127.0.0.1:1338", at(now))
    }

    fn called(state: &mut State, outcome: Result<(), Reason>, second: i64) {
        let account = AccountId::parse("123456789012").expect("an account");
        let outcome = outcome.map(|()| Caller { account, role: None }).map_err(CallFailure::from);
        let call = SignedCall { at: at(second), duration: Duration::from_millis(82), outcome };
        state.signed_calls_mut().expect("signed calls are made").finish(call);
    }

    #[test]
    fn what_aws_says_of_the_credentials_is_shown() {
        let mut state = new_state().with_signed_calls(Duration::from_mins(15));
        polled(&mut state, Ok(3_600), 2);
        assert!(!render(&status(&state, 3)).contains("AWS accepts"), "no call has ended");
        called(&mut state, Ok(()), 3);
        assert!(render(&status(&state, 4)).contains("AWS accepts them (82 ms, account 123456789012)"));
        for reason in Reason::VARIANTS {
            called(&mut state, Err(*reason), 5);
            let page = render(&status(&state, 6));
            assert!(page.contains(&format!("href=\"runbook#{}\"", reason.anchor())), "{reason}");
            assert!(!page.contains("AWS accepts them (") && page.len() < LIMIT, "{reason}");
        }
    }

    #[test]
    fn a_client_that_holds_credentials_is_told_until_when() {
        let mut state = new_state();
        polled(&mut state, Ok(3_600), 1);
        polled(&mut state, Err(Kind::Throttled), 2);
        let until = time(at(3_600 - 900)).into_string();
        let until = format!("It can sign until {until}");
        assert!(render(&status(&state, 3)).contains(&until));
        assert!(!render(&status(&state, 3_000)).contains(&until));
    }

    #[test]
    fn unknown_is_not_none() {
        let mut state = new_state();
        let role = |state: &State| {
            let page = render(&status(state, 9));
            let from = page.find("<dt>Role</dt>").expect("the role's place");
            page[from..from + 60].to_owned()
        };
        assert!(role(&state).contains("unknown"));
        polled(&mut state, Err(Kind::ConnectRefused), 1);
        assert!(role(&state).contains("unknown"));
        polled(&mut state, Err(Kind::NoRole), 2);
        assert!(role(&state).contains("none"));
        polled(&mut state, Ok(3_600), 3);
        assert!(role(&state).contains("web"));
    }

    #[test]
    fn it_stays_small_whatever_happens() {
        let mut state = new_state();
        for second in 0..2_000 {
            let kind = Kind::VARIANTS[usize::try_from(second).expect("small") % Kind::VARIANTS.len()];
            polled(&mut state, if second % 2 == 0 { Ok(9_000) } else { Err(kind) }, second * 4);
        }
        let page = render(&status(&state, 8_000));
        assert!(page.len() < LIMIT, "{}", page.len());
    }

    #[test]
    fn what_comes_from_outside_is_no_markup() {
        let hostile = "http://h/<script>alert('1')</script>\"&";
        let page = render(&Status::new(&new_state(), None, hostile, at(1)));
        assert!(!page.contains("<script>alert"));
        assert!(page.contains("&lt;script&gt;alert('1')&lt;/script&gt;&quot;&amp;"));
    }
}
