use super::super::moment::test::at;
use super::*;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

/// IMDS has a document that expires at this second.
fn up(expiration: i64) -> Creation {
    Creation::Credentials { expiration: at(expiration) }
}

const NOTHING: Creation = Creation::Nothing;

/// What a client holds after these polls, at the first of which it is created.
fn replay(polls: &[(i64, Creation)]) -> BoundCredentials {
    let ((second, first), others) = polls.split_first().expect("there is one");
    let created = BoundCredentials::created(*first, at(*second));
    others.iter().fold(created, |credentials, (second, creation)| credentials.after(*creation, at(*second)))
}

/// Whether it signs at this second, when nothing has changed since the last poll.
fn signs(polls: &[(i64, Creation)], second: i64) -> Option<bool> {
    replay(polls).can_sign(polls.last().expect("there is one").1, at(second))
}

fn prognosis(polls: &[(i64, Creation)], second: i64) -> Prognosis {
    Prognosis::of(&replay(polls), polls.last().expect("there is one").1, at(second))
}

#[test]
fn a_client_that_is_created_without_credentials_is_bound_to_nothing_permanently() {
    let stuck = [(0, NOTHING), (5, up(6 * HOUR)), (6 * HOUR, up(12 * HOUR))];
    for length in 1..=stuck.len() {
        assert_eq!(replay(&stuck[..length]), BoundCredentials::Nothing);
        assert_eq!(signs(&stuck[..length], 6 * HOUR), Some(false));
        assert_eq!(prognosis(&stuck[..length], 6 * HOUR), Prognosis::BoundToNothing);
    }
}

#[test]
fn what_a_creation_that_raises_leaves_is_unknown() {
    for creation in [Creation::Unusable, Creation::Raises, Creation::Unknown] {
        let polls = [(0, creation), (5, up(6 * HOUR))];
        for polls in [&polls[..1], &polls] {
            assert_eq!(replay(polls), BoundCredentials::Unknown, "{creation:?}");
            assert_eq!((signs(polls, 5), prognosis(polls, 5)), (None, Prognosis::Unknown), "{creation:?}");
        }
    }
}

#[test]
fn a_new_client_signs_with_a_document_that_has_not_expired() {
    for (creation, signs, prognosis) in [
        (up(HOUR), Some(true), Prognosis::Signs),
        (up(1), Some(true), Prognosis::Signs),
        (up(0), None, Prognosis::Expired),
        (up(-HOUR), None, Prognosis::Expired),
        (NOTHING, Some(false), Prognosis::BoundToNothing),
        (Creation::Unusable, Some(false), Prognosis::BoundToNothing),
        (Creation::Raises, Some(false), Prognosis::CreationRaises),
        (Creation::Unknown, None, Prognosis::Unknown),
    ] {
        assert_eq!(new_client_can_sign(creation, at(0)), signs, "{creation:?}");
        assert_eq!(Prognosis::of_new_client(creation, at(0)), prognosis, "{creation:?}");
    }
}

#[test]
fn in_an_outage_a_client_signs_until_its_refresh_fails_the_call() {
    let fifteen = 6 * HOUR - 15 * MINUTE;
    let ten = 6 * HOUR - 10 * MINUTE;
    for (creation, fails_from) in [(NOTHING, Some(fifteen)), (Creation::Raises, Some(ten)), (Creation::Unknown, None)] {
        let held = replay(&[(0, up(6 * HOUR))]);
        let signs = |second| held.can_sign(creation, at(second));
        assert_eq!((signs(0), signs(fifteen - 1)), (Some(true), Some(true)), "{creation:?}");
        assert_ne!(signs(fifteen), Some(true), "{creation:?}");
        let until = at(fifteen);
        assert_eq!(Prognosis::of(&held, creation, at(0)), Prognosis::SignsUntil { until }, "{creation:?}");
        match fails_from {
            Some(from) => {
                assert!(from == fifteen || signs(from - 1).is_none(), "{creation:?}");
                assert_eq!(signs(from), Some(false), "{creation:?}");
                assert_eq!(Prognosis::of(&held, creation, at(from)), Prognosis::FailsUntilImdsAnswers, "{creation:?}");
            }
            None => assert_eq!(signs(7 * HOUR), None, "{creation:?}"),
        }
    }
}

#[test]
fn the_first_call_after_an_outage_works() {
    let outage = [(0, up(30 * MINUTE)), (29 * MINUTE, NOTHING), (31 * MINUTE, NOTHING)];
    assert_eq!(signs(&outage, 31 * MINUTE), Some(false));
    let recovered = [&outage[..], &[(32 * MINUTE, up(6 * HOUR))]].concat();
    assert_eq!(signs(&recovered, 32 * MINUTE), Some(true));
    assert_eq!(prognosis(&recovered, 32 * MINUTE), Prognosis::Signs);
}

#[test]
fn a_client_keeps_its_document_until_its_refresh() {
    let refresh = 6 * HOUR - 15 * MINUTE;
    let document = |fetched_at, expiration| {
        BoundCredentials::OneOf(vec![CachedDocument { fetched_at: at(fetched_at), expiration: at(expiration) }])
    };
    let held = |second| replay(&[(0, up(6 * HOUR)), (second, up(9 * HOUR))]);
    assert_eq!(held(refresh - 1), document(0, 6 * HOUR));
    assert_eq!(held(refresh), document(refresh, 9 * HOUR));
    for creation in [NOTHING, Creation::Raises] {
        assert_eq!(replay(&[(0, up(6 * HOUR)), (refresh, creation)]), document(0, 6 * HOUR), "{creation:?}");
    }
    assert_eq!(replay(&[(0, up(6 * HOUR)), (refresh - 1, Creation::Unknown)]), document(0, 6 * HOUR));
    for taken in [Creation::Unknown, Creation::Unusable] {
        assert_eq!(replay(&[(0, up(6 * HOUR)), (refresh, taken)]), BoundCredentials::Unknown, "{taken:?}");
    }
}

/// A document is stretched since boto3 1.22, by 17 to 25 minutes (random): what follows is unknown in between.
#[test]
fn a_document_that_was_fetched_shortly_before_its_end_may_be_refreshed_early() {
    // Fetched with this much left: from when on a failing refresh may fail the call, and from when on it surely does.
    for (left, may_fail, fails) in [
        (26 * MINUTE, 11 * MINUTE, 11 * MINUTE),
        (25 * MINUTE, 10 * MINUTE, 10 * MINUTE),
        (20 * MINUTE, 5 * MINUTE, 10 * MINUTE),
        (16 * MINUTE, MINUTE, 10 * MINUTE),
        (10 * MINUTE, 0, 10 * MINUTE),
    ] {
        let signs_in_an_outage = |second| replay(&[(0, up(left))]).can_sign(NOTHING, at(second));
        assert_ne!(signs_in_an_outage(may_fail), Some(true), "{left}");
        assert!(may_fail == 0 || signs_in_an_outage(may_fail - 1) == Some(true), "{left}");
        assert_eq!(signs_in_an_outage(fails), Some(false), "{left}");
        assert!(may_fail == fails || signs_in_an_outage(fails - 1).is_none(), "{left}");
        assert_eq!(signs(&[(0, up(left)), (may_fail, up(left))], may_fail), Some(true), "{left}: it has not expired");
    }
}

#[test]
fn one_that_may_have_fetched_the_same_document_again_may_keep_it_for_longer() {
    let left = 10 * MINUTE;
    let again = [(0, up(left)), (9 * MINUTE, up(left))];
    // Stretched again at the ninth minute, it asks by the nineteenth.
    let in_an_outage = |second| replay(&again).can_sign(NOTHING, at(second));
    assert_eq!((in_an_outage(19 * MINUTE - 1), in_an_outage(19 * MINUTE)), (None, Some(false)));
    // IMDS has a newer one since the twelfth minute.
    let renewed = |second| [&again[..], &[(12 * MINUTE, up(6 * HOUR)), (second, up(6 * HOUR))]].concat();
    assert_eq!(signs(&renewed(13 * MINUTE), 13 * MINUTE), None, "it may still sign with the expired one");
    assert_eq!(prognosis(&renewed(13 * MINUTE), 13 * MINUTE), Prognosis::Unknown);
    assert_eq!(signs(&renewed(19 * MINUTE), 19 * MINUTE), Some(true), "it has asked since");
    let settled =
        BoundCredentials::OneOf(vec![CachedDocument { fetched_at: at(19 * MINUTE), expiration: at(6 * HOUR) }]);
    assert_eq!(replay(&renewed(19 * MINUTE)), settled);
}

#[test]
fn an_expired_document_that_imds_keeps_is_unknown_and_a_newer_one_is_taken() {
    let expired = [(HOUR, up(HOUR - MINUTE))];
    assert_eq!((signs(&expired, HOUR), prognosis(&expired, HOUR)), (None, Prognosis::Expired));
    let renewed = |second| [expired[0], (second, up(7 * HOUR))];
    assert_eq!(signs(&renewed(HOUR + MINUTE), HOUR + MINUTE), None);
    assert_eq!(signs(&renewed(HOUR + 10 * MINUTE), HOUR + 10 * MINUTE), Some(true));
}

#[test]
fn a_client_signs_to_the_last_second_of_the_newest_document() {
    let held = replay(&[(0, up(HOUR))]);
    for (newest, second, signs) in [
        (HOUR, HOUR - 1, Some(true)),
        (HOUR, HOUR, None),
        (2 * HOUR, 2 * HOUR - 1, Some(true)),
        (2 * HOUR, 2 * HOUR, None),
    ] {
        assert_eq!(held.can_sign(up(newest), at(second)), signs, "{newest} {second}");
    }
    let or_newer = held.clone().or(replay(&[(0, up(2 * HOUR))]));
    assert_eq!([0, HOUR].map(|second| or_newer.can_sign(up(HOUR), at(second))), [Some(true), None]);
}

#[test]
fn one_of_too_many_documents_is_unknown() {
    let each_another: Vec<_> = (0..=8).map(|n| (n * 5, up(MINUTE + n))).collect();
    let BoundCredentials::OneOf(documents) = replay(&each_another[..8]) else { panic!("they are eight") };
    assert_eq!(documents.len(), MOST_DOCUMENTS);
    assert_eq!(replay(&each_another), BoundCredentials::Unknown);
    let one = |second, expiration| replay(&[(second, up(expiration))]);
    let all = (0..8).map(|n| one(0, HOUR + n)).reduce(BoundCredentials::or).expect("there are some");
    assert!(matches!(&all, BoundCredentials::OneOf(documents) if documents.len() == MOST_DOCUMENTS));
    assert_eq!(all.clone().or(one(MINUTE, HOUR)), all, "fetched again");
    assert_eq!(all.or(one(0, 2 * HOUR)), BoundCredentials::Unknown);
    // One that is extended depends on when it was fetched.
    let extended = one(0, MINUTE).or(one(5, MINUTE));
    assert!(matches!(&extended, BoundCredentials::OneOf(documents) if documents.len() == 2));
}

#[test]
fn times_at_the_ends_of_what_a_timestamp_can_be_are_no_trouble() {
    for expiration in [Timestamp::MIN, Timestamp::MAX] {
        for fetched_at in [Timestamp::MIN, at(0), Timestamp::MAX] {
            let held = BoundCredentials::OneOf(vec![CachedDocument { fetched_at, expiration }]);
            for creation in [up(HOUR), NOTHING, Creation::Raises] {
                let after = held.clone().after(creation, Timestamp::MAX);
                let _may_be_either = after.can_sign(creation, Timestamp::MIN);
                let _may_be_any = Prognosis::of(&after, creation, Timestamp::MAX);
            }
        }
    }
}

#[test]
fn every_creation_has_its_label_and_its_words() {
    let labels: Vec<_> = Created::VARIANTS.iter().map(|created| created.label()).collect();
    assert_eq!(labels, ["now", "before_outage", "at_start"]);
    assert!(Created::VARIANTS.iter().all(|created| created.meaning().starts_with("created ")));
}
