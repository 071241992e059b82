use toka_proto::v1;
use toka_proto::v1::verify_response::Part;

use crate::support::*;

/// Enough for several reports of progress.
const EVENTS: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_says_how_far_it_is_and_then_what_it_has_found() {
    let cluster = Cluster::start(1).await;
    let events = (0..EVENTS).map(|n| event("a", &n.to_string()));
    let request = v1::CommitRequest {
        events: events.collect(),
        ..Default::default()
    };
    let committed = within(cluster.vault(0).commit(request)).await;
    committed.expect("committed");
    let verification = within(cluster.status(0).verify(v1::VerifyRequest::default())).await;
    let (parts, end) = drain(verification.expect("begun")).await;
    assert!(end.is_none(), "{end:?}");
    let mut parts: Vec<_> = parts.into_iter().filter_map(|part| part.part).collect();
    let Some(Part::Report(report)) = parts.pop() else {
        panic!("{parts:?}")
    };
    assert_eq!((report.events, report.problems_total), (EVENTS, 0));
    assert!(!parts.is_empty(), "no progress");
    let mut last = 0;
    for part in parts {
        let Part::Progress(at) = part else {
            panic!("{part:?}")
        };
        assert_eq!(at.total, EVENTS);
        assert!(last < at.checked && at.checked <= EVENTS, "{at:?}");
        last = at.checked;
    }
}
