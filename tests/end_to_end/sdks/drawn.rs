//! What an SDK draws at random, as many clients drew it: how long it pauses after a refresh that failed, or for how long it
//! takes a document for valid.

use std::ops::Range;

use imds_exporter::domain::sdk::{FailedRefresh, Refresh, Sdk};
use jiff::{SignedDuration, Timestamp};

use super::comparison::Comparison;
use super::timelines::refresh_seconds;

/// Of so many, some lie near either bound.
const CLIENTS: usize = 60;

/// What was drawn, in seconds: ranges, since clients are asked now and then.
#[derive(Clone, Debug)]
pub(super) struct Drawn(Vec<Range<f64>>);

/// A client that has drawn.
struct Client {
    name: String,
    /// The document that it holds.
    serial: usize,
    /// The call from which on the time counts.
    drew: Range<Timestamp>,
    /// The last call that was signed with that document.
    last: Timestamp,
}

/// The bounds of what the SDK draws at random, by its row.
fn bounds(row: &Sdk) -> Option<[SignedDuration; 2]> {
    match (row.refresh, row.failed_refresh) {
        (_, FailedRefresh::KeepsTheOld { shortest_pause, longest_pause, .. }) => Some([shortest_pause, longest_pause]),
        (Refresh::BeforeStretchedEnd { shortest, longest, .. }, _) => Some([shortest, longest]),
        _ => None,
    }
}

impl Drawn {
    /// Whether these are the bounds that the row has, if it has any: all lie between them, and many near either.
    pub(super) fn fits(&self, row: &Sdk) -> bool {
        let Some(bounds) = bounds(row) else { return true };
        let [shortest, longest] = bounds.map(|bound| bound.as_secs_f64());
        let near = (longest - shortest) * 0.3;
        let Self(seconds) = self;
        seconds.iter().all(|drawn| shortest <= drawn.end && drawn.start <= longest)
            && seconds.iter().any(|drawn| drawn.end < shortest + near)
            && seconds.iter().any(|drawn| drawn.start > longest - near)
    }

    /// Has many clients draw, if the SDK draws at random.
    pub(super) async fn from(comparison: &mut Comparison) -> Option<Self> {
        let row = comparison.row();
        let [shortest, longest] = bounds(row)?.map(|bound| bound.as_secs());
        let pauses = matches!(row.failed_refresh, FailedRefresh::KeepsTheOld { .. });
        let minutes = if pauses { 120 } else { 5 };
        comparison.finish();
        comparison.simulate(&format!("fault = \"none\"\ntokens = \"required\"\nexpires_in = \"{minutes}m\"")).await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let start = comparison.now();
            let name = comparison.create().await.expect("IMDS is well");
            let serial = comparison.sign(&name).await.expect("IMDS is well");
            clients.push(Client { name, serial, drew: start..comparison.now(), last: start });
        }
        if pauses {
            let refresh = refresh_seconds(comparison, minutes);
            comparison.advance(refresh.end).await;
            comparison.simulate("fault = \"no_role\"").await;
            for client in &mut clients {
                client.last = comparison.now();
                assert_eq!(comparison.sign(&client.name).await, Ok(client.serial), "it keeps what it holds");
                client.drew = client.last..comparison.now();
            }
            comparison.simulate("fault = \"none\"\nrotate = true").await;
        } else {
            comparison.simulate("fault = \"no_role\"").await;
        }
        // The validity ends at the call at which the client asks again, and this long after.
        let before_end = match row.refresh {
            Refresh::BeforeStretchedEnd { before_end, .. } if !pauses => before_end.as_secs(),
            _ => 0,
        };
        let step = (longest - shortest) / 20;
        comparison.advance((shortest - before_end) / 2).await;
        let mut drawn = Vec::new();
        for _ in 0..longest * 2 / step {
            let mut left = Vec::new();
            for mut client in clients {
                let start = comparison.now();
                if comparison.sign(&client.name).await == Ok(client.serial) {
                    client.last = start;
                    left.push(client);
                } else {
                    let since = |from: Timestamp, to| from.duration_until(to).as_secs_f64() + before_end as f64;
                    drawn.push(since(client.drew.end, client.last)..since(client.drew.start, comparison.now()));
                }
            }
            clients = left;
            if clients.is_empty() {
                return Some(Self(drawn));
            }
            comparison.advance(step).await;
        }
        panic!("{} clients never asked again", clients.len());
    }
}
