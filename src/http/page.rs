//! The status page, for people: whoever was paged must see within seconds what is wrong and what to do.
//!
//! One document without any external asset: it must work where the internet does not, on a phone, on paper, without
//! JavaScript and by ear. Owns the words and their order; must not know state, only [`Status`].

mod text;
mod timeline;

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};

use crate::client::SDKS;
use crate::outage::Window;
use crate::process::Suspect;
use crate::status::{ClientStatus, FailureStatus, Status};
use text::{Instant, Rich, Span, Text};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// How often a reader without JavaScript gets a new page, in seconds.
const RELOAD_SECONDS: u32 = 30;

/// What the page says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Starting,
    Fine,
    Failing,
    Stuck,
    Expired,
}

impl Verdict {
    fn of(status: &Status) -> Self {
        match status.up {
            None => Self::Starting,
            Some(false) => Self::Failing,
            Some(true) if status.clients_stuck => Self::Stuck,
            Some(true) if status.remaining_seconds.is_some_and(|left| left <= 0) => Self::Expired,
            Some(true) => Self::Fine,
        }
    }

    /// The class of the banner: what colour it has.
    const fn class(self) -> &'static str {
        match self {
            Self::Starting => "unknown",
            Self::Fine => "good",
            Self::Failing | Self::Stuck | Self::Expired => "bad",
        }
    }

    /// For the browser's tab: the shape tells as well as the colour.
    const fn icon(self) -> &'static str {
        match self {
            Self::Starting => "<circle cx='8' cy='8' r='6' fill='none' stroke='%23667' stroke-width='3'/>",
            Self::Fine => "<circle cx='8' cy='8' r='8' fill='%230072b2'/>",
            Self::Failing | Self::Stuck | Self::Expired => "<path d='M8 0l8 15H0z' fill='%23d55e00'/>",
        }
    }

    fn headline(self, status: &Status) -> String {
        match self {
            Self::Starting => "Starting".to_owned(),
            Self::Fine => "Fine".to_owned(),
            Self::Stuck => "Clients are stuck".to_owned(),
            Self::Expired => "Expired".to_owned(),
            Self::Failing => {
                let since = status.outage_since.unwrap_or(status.started_at);
                format!("Failing for {}", Span(since.duration_until(status.now)))
            }
        }
    }

    fn lead(self, status: &Status) -> String {
        match self {
            Self::Starting => "The first poll has not ended yet.".to_owned(),
            Self::Fine => "IMDS hands out credentials.".to_owned(),
            Self::Expired => {
                "IMDS answers, but what it hands out has already ended. AWS may refuse calls until IMDS renews it."
                    .to_owned()
            }
            Self::Failing => {
                let seen = status.failure.as_ref().map_or("", |failure| failure.when);
                format!("Credentials cannot be fetched. {} {}", Rich(seen), held(status))
            }
            Self::Stuck => {
                let sdk =
                    status.clients.iter().find(|client| client.usable == Some(false)).map_or("", |stuck| stuck.sdk);
                let when = window_of_start(status).map_or_else(
                    || "when the exporter started".to_owned(),
                    |window| format!("between {} and {}", Instant(window.start), Instant(window.end)),
                );
                format!(
                    "IMDS is fine, but {sdk} clients that were created {when} hold no credentials, and never will: \
                     they fail every call until they are <strong>created again</strong>. Restart the workload."
                )
            }
        }
    }
}

/// What becomes of clients that hold credentials.
fn held(status: &Status) -> String {
    match status.remaining_seconds {
        None if status.last_success_at.is_some() => String::new(),
        None => "None were seen so far.".to_owned(),
        Some(left) if left > 0 => {
            format!("Those handed out before are good for another {}.", Span(SignedDuration::from_secs(left)))
        }
        Some(left) => format!("Those handed out before ended {} ago.", Span(SignedDuration::from_secs(-left))),
    }
}

/// The outage in which the exporter started, and the clients with it.
fn window_of_start(status: &Status) -> Option<&Window> {
    let holds = |window: &&Window| window.start <= status.started_at && status.started_at <= window.end;
    status.outages.iter().find(holds)
}

/// The page as a whole document.
pub(super) fn render(status: &Status) -> String {
    let verdict = Verdict::of(status);
    let (class, icon, headline) = (verdict.class(), verdict.icon(), verdict.headline(status));
    let mut page = String::with_capacity(16_384);
    let sections = [
        banner(verdict, status),
        status.failure.as_ref().map(failure).unwrap_or_default(),
        clients(status),
        status.suspects.as_deref().map(suspects).unwrap_or_default(),
        timeline::section(&status.recent, status.now),
        outages(status),
    ]
    .concat();
    let _infallible = write!(
        page,
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<meta name=\"robots\" content=\"noindex\">
<noscript><meta http-equiv=\"refresh\" content=\"{RELOAD_SECONDS}\"></noscript>
<title>{headline} · imds-exporter</title>
<link rel=\"icon\" href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{icon}</svg>\">
<style>{STYLE}</style>
</head>
<body class=\"{class}\">
<header>
<h1>imds-exporter</h1>
<p>watches <code>{endpoint}</code> <span class=\"written\">· as of {now}</span></p>
<label hidden><input type=\"checkbox\" id=\"auto\" checked> keep up to date</label>
</header>
<p id=\"lost\" hidden>The exporter does not answer. What stands below is as old as it says.</p>
<p id=\"news\" role=\"status\" class=\"by-ear\"></p>
<main>
{sections}</main>
<footer>
<nav aria-label=\"More\">
<a href=\"/runbook\">Runbook</a>
<a href=\"/api/v1/status\">Status as JSON</a>
<a href=\"/metrics\">Metrics</a>
</nav>
<p>Version {version}, running since {started}</p>
</footer>
<script>{SCRIPT}</script>
</body>
</html>
",
        endpoint = Text(&status.endpoint),
        now = Instant(status.now),
        version = Text(status.version),
        started = Instant(status.started_at),
    );
    page
}

fn banner(verdict: Verdict, status: &Status) -> String {
    let lead = verdict.lead(status);
    let headline = verdict.headline(status);
    let mut facts = String::new();
    let mut fact = |name: &str, value: &dyn std::fmt::Display| {
        let _infallible = write!(facts, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    match (status.remaining_seconds, status.expiration) {
        (Some(left), Some(end)) => {
            let span = Span(SignedDuration::from_secs(left.abs()));
            if left > 0 {
                let rest = format_args!("<b>{span}</b> <small>until {}</small>{}", Instant(end), meter(status));
                fact("Time left", &rest);
            } else {
                fact("Expired", &format_args!("<b>{span} ago</b> <small>at {}</small>", Instant(end)));
            }
        }
        _ if status.last_success_at.is_some() => fact("Time left", &"<b>none</b> <small>no role is attached</small>"),
        _ => fact("Time left", &"<b>unknown</b> <small>no credentials were seen so far</small>"),
    }
    let says_none = status.failure.as_ref().is_some_and(|failure| failure.kind.says_no_role());
    match &status.role {
        Some(role) => fact("Role", &format_args!("<b>{}</b>", Text(role))),
        None if says_none => fact("Role", &"<b>none</b> <small>so says IMDS</small>"),
        None => fact("Role", &"<b>unknown</b>"),
    }
    match status.last_success_at {
        Some(at) => fact("Last success", &format_args!("<b>{} ago</b>", Span(at.duration_until(status.now)))),
        None => fact("Last success", &"<b>never</b>"),
    }
    if let Some(at) = status.last_attempt_at {
        fact("Last poll", &format_args!("<b>{} ago</b>", Span(at.duration_until(status.now))));
    }
    if let Some(skew) = status.clock_skew_seconds {
        fact("Clock skew", &format_args!("<b>{skew:+.1} s</b> <small>IMDS minus here</small>"));
    }
    format!(
        "<section class=\"banner\" aria-labelledby=\"verdict\">
<h2 id=\"verdict\">{headline}</h2>
<p>{lead}</p>
</section>
<section aria-labelledby=\"facts\">
<h2 id=\"facts\" class=\"by-ear\">Figures</h2>
<dl class=\"figures\">
{facts}
</dl>
</section>
"
    )
}

/// How much of the credentials' life is left, as a bar; the figure beside it says the same.
fn meter(status: &Status) -> String {
    let (Some(from), Some(to)) = (status.last_updated, status.expiration) else { return String::new() };
    let life = from.duration_until(to).as_secs_f64();
    let left = status.now.duration_until(to).as_secs_f64();
    if life <= 0.0 {
        return String::new();
    }
    let share = (left / life).clamp(0.0, 1.0) * 100.0;
    format!("<span class=\"meter\" aria-hidden=\"true\"><i style=\"width:{share:.0}%\"></i></span>")
}

fn failure(failure: &FailureStatus) -> String {
    let FailureStatus { kind, step, polls, .. } = failure;
    let times = if *polls == 1 { "one poll" } else { "polls in a row" };
    let count = if *polls == 1 { String::new() } else { format!("{polls} ") };
    format!(
        "<section aria-labelledby=\"failure\">
<h2 id=\"failure\">What is wrong: <code>{kind}</code></h2>
<p>Seen in the <code>{step}</code> request, in {count}{times}.</p>
<dl class=\"advice\">
<div><dt>Likely cause</dt><dd>{}</dd></div>
<div class=\"action\"><dt>What to do</dt><dd>{}</dd></div>
<div><dt>To confirm</dt><dd><code>{}</code></dd></div>
</dl>
<p><a href=\"/runbook#{kind}\">The runbook on <code>{kind}</code></a></p>
</section>
",
        Rich(failure.cause),
        Rich(failure.action),
        Text(kind.confirm()),
    )
}

fn clients(status: &Status) -> String {
    let rows = status.clients.iter().map(|client| {
        let (class, mark, word) = match client.usable {
            Some(true) => ("good", "✓", "usable"),
            Some(false) => ("bad", "✗", "no credentials"),
            None => ("unknown", "–", "not known yet"),
        };
        let answer = format!("<span aria-hidden=\"true\">{mark}</span> {word}");
        [
            format!("{} client {}", Text(client.sdk), Text(client.meaning)).into(),
            Cell { class, html: answer },
            Cell { class: "told", html: consequence(client, status) },
        ]
    });
    format!(
        "<section aria-labelledby=\"clients\">
<h2 id=\"clients\">Would a client have credentials now?</h2>
{}</section>
",
        table(["A client", "Now", "What that means"], rows)
    )
}

/// What an operator may conclude.
fn consequence(client: &ClientStatus, status: &Status) -> String {
    let text = match (client.created, client.usable, status.up) {
        (_, None, _) => "The first poll has not ended yet.",
        (_, Some(true), Some(true)) if Verdict::of(status) == Verdict::Expired => {
            "It can sign, but AWS may refuse: what it holds has ended."
        }
        (_, Some(true), Some(true)) => "It works.",
        ("before_outage", Some(true), _) => {
            let renews = SDKS.iter().find(|sdk| sdk.label == client.sdk).map(|sdk| sdk.refreshes_before_expiry);
            if let (Some(end), Some(renews)) = (status.expiration, renews) {
                return format!(
                    "It works until {}, then it fails every call while IMDS is away.",
                    Instant(end - renews)
                );
            }
            "It works with what it holds."
        }
        (_, Some(true), _) => "It works with what it holds, until it has to renew that.",
        ("now", Some(false), _) => "It would be bound to no credentials for good: start no workload now.",
        ("at_start", Some(false), Some(true)) => "Stuck: it fails every call until it is created again.",
        (_, Some(false), _) => "It fails every call.",
    };
    text.to_owned()
}

fn suspects(suspects: &[Suspect]) -> String {
    const NOTE: &str = "Watched processes that started in an outage that is over, and still run. \
                        A suspicion, never a proof: such a process may have created its clients again.";
    if suspects.is_empty() {
        return format!(
            "<section aria-labelledby=\"suspects\">\n<h2 id=\"suspects\">Suspect processes</h2>\n<p>None.</p>\n\
             <p class=\"note\">{NOTE}</p>\n</section>\n"
        );
    }
    let rows = suspects.iter().take(SUSPECTS_SHOWN).map(|suspect| {
        let command = format!("<code>{}</code>", Text(&suspect.command));
        [suspect.pid.into(), command.into(), Instant(suspect.started_at).into()]
    });
    let more = suspects.len().saturating_sub(SUSPECTS_SHOWN);
    let more = if more == 0 { String::new() } else { format!("<p>And {more} more.</p>\n") };
    format!(
        "<section aria-labelledby=\"suspects\">
<h2 id=\"suspects\">Suspect processes: {}</h2>
<p class=\"note\">{NOTE}</p>
{}{more}</section>
",
        suspects.len(),
        table(["Process", "Command", "Started"], rows)
    )
}

/// A table: its headings, and rows of cells, of which each first one is a heading as well. Each cell repeats its
/// column's heading for screens on which a row is a list. The roles are there for browsers that forget a table's
/// meaning when it is laid out otherwise.
fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> String {
    let mut html = "<table role=\"table\">\n<thead role=\"rowgroup\"><tr role=\"row\">".to_owned();
    for heading in headings {
        let _infallible = write!(html, "<th role=\"columnheader\" scope=\"col\">{heading}</th>");
    }
    html += "</tr></thead>\n<tbody role=\"rowgroup\">\n";
    for row in rows {
        html += "<tr role=\"row\">";
        for (index, (Cell { class, html: inner }, heading)) in row.iter().zip(headings).enumerate() {
            let _infallible = if index == 0 {
                write!(html, "<th role=\"rowheader\" scope=\"row\">{inner}</th>")
            } else {
                write!(html, "<td role=\"cell\" class=\"{class}\" data-of=\"{heading}\">{inner}</td>")
            };
        }
        html += "</tr>\n";
    }
    html + "</tbody>\n</table>\n"
}

/// One cell: its class, and what is in it, as HTML.
struct Cell {
    class: &'static str,
    html: String,
}

impl<T: std::fmt::Display> From<T> for Cell {
    fn from(html: T) -> Self {
        Self { class: "plain", html: html.to_string() }
    }
}

/// Suspects that get a row: the page stays small however many there are.
const SUSPECTS_SHOWN: usize = 50;

fn outages(status: &Status) -> String {
    let row = |start: Timestamp, end: Option<Timestamp>| {
        let over = end.map_or_else(|| "not yet".to_owned(), |end| Instant(end).to_string());
        let lasted = Span(start.duration_until(end.unwrap_or(status.now)));
        [Instant(start).into(), over.into(), lasted.into()]
    };
    let open = status.outage_since.map(|start| row(start, None));
    let over = status.outages.iter().rev().map(|window| row(window.start, Some(window.end)));
    let rows: Vec<_> = open.into_iter().chain(over).collect();
    let body = if rows.is_empty() {
        "<p>None seen.</p>\n".to_owned()
    } else {
        let note = "<p class=\"note\">From the last success before to the first one after. boto3 clients that were \
                    created in between may hold no credentials until they are created again.</p>\n";
        note.to_owned() + &table(["Began", "Ended", "Lasted"], rows)
    };
    format!("<section aria-labelledby=\"outages\">\n<h2 id=\"outages\">Outages</h2>\n{body}</section>\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Credential, Failure, Kind, Resolution, RoleName, Step};
    use crate::state::State;

    /// The largest page that may be served.
    const LIMIT: usize = 50_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time in this century")
    }

    fn polled(state: &mut State, outcome: Result<i64, Kind>, second: i64) {
        let credential = |end| Credential {
            role: RoleName::try_from("web".to_owned()).expect("a legal name"),
            last_updated: Some(at(end - 3_600)),
            expiration: at(end),
        };
        let outcome = outcome.map(credential).map_err(|kind| Failure { kind, step: Step::Token });
        let clock_skew = Some(SignedDuration::from_millis(400));
        let resolution = Resolution { outcome, exchanges: Vec::new(), clock_skew, tokens_obtained: 0, cause: None };
        state.record(&resolution, Duration::from_micros(2_345), at(second));
    }

    fn status(state: &State, now: i64) -> Status {
        Status::new(state, None, "http://127.0.0.1:1338", at(now))
    }

    fn verdict(state: &State, now: i64) -> Verdict {
        Verdict::of(&status(state, now))
    }

    #[test]
    fn the_verdict_follows_from_the_state() {
        let mut state = State::new(at(0));
        assert_eq!(verdict(&state, 1), Verdict::Starting);
        polled(&mut state, Ok(3_600), 2);
        assert_eq!(verdict(&state, 3), Verdict::Fine);
        assert_eq!(verdict(&state, 3_600), Verdict::Expired);
        polled(&mut state, Err(Kind::Throttled), 4);
        assert_eq!(verdict(&state, 5), Verdict::Failing);
        assert_eq!(verdict(&state, 3_700), Verdict::Failing);

        let mut state = State::new(at(0));
        polled(&mut state, Err(Kind::Throttled), 1);
        polled(&mut state, Ok(3_600), 2);
        assert_eq!(verdict(&state, 3), Verdict::Stuck);
    }

    #[test]
    fn a_client_that_holds_credentials_is_told_until_when() {
        let mut state = State::new(at(0));
        polled(&mut state, Ok(3_600), 1);
        polled(&mut state, Err(Kind::Throttled), 2);
        let until = Instant(at(3_600 - 900)).to_string();
        assert!(render(&status(&state, 3)).contains(&format!("It works until {until}")));
        assert!(!render(&status(&state, 3_000)).contains("It works until"));
    }

    #[test]
    fn unknown_is_not_none() {
        let mut state = State::new(at(0));
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
        let mut state = State::new(at(0));
        for second in 0..2_000 {
            let kind = Kind::ALL[usize::try_from(second).expect("small") % Kind::ALL.len()];
            polled(&mut state, if second % 2 == 0 { Ok(9_000) } else { Err(kind) }, second * 4);
        }
        let page = render(&status(&state, 8_000));
        assert!(page.len() < LIMIT, "{}", page.len());
    }

    #[test]
    fn what_comes_from_outside_is_no_markup() {
        let hostile = "http://h/<script>alert('1')</script>\"&";
        let page = render(&Status::new(&State::new(at(0)), None, hostile, at(1)));
        assert!(!page.contains("<script>alert"));
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"));
    }
}
