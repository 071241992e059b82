//! Errors as statuses, and back.

use super::*;

fn violation() -> impl Strategy<Value = Violation> {
    let cursor = CursorName::new("worker").expect("valid");
    prop_oneof![
        (event_id(), kind(), event_id()).prop_map(|(parent, kind, child)| Violation::HasChild {
            parent,
            kind,
            child
        }),
        (kind(), any::<u64>(), any::<u64>()).prop_map(|(kind, expected, actual)| {
            Violation::KindSequence {
                kind,
                expected,
                actual,
            }
        }),
        any::<(u64, u64)>().prop_map(|(expected, actual)| Violation::TooEarly { expected, actual }),
        any::<(u64, u64)>().prop_map(move |(expected, actual)| Violation::Cursor {
            name: cursor.clone(),
            expected,
            actual,
        }),
        ("[a-z.]{1,9}", any::<u64>())
            .prop_map(|(prefix, max)| Violation::PrefixTooWide { prefix, max }),
        (0..64_usize, stored_parent()).prop_map(|(precondition, parent)| {
            Violation::UnknownEvent {
                precondition,
                parent,
            }
        }),
        ("[a-z.]{1,9}", any::<(u64, u64)>()).prop_map(|(prefix, (expected, actual))| {
            Violation::KindPrefixSequence {
                prefix,
                expected,
                actual,
            }
        }),
        (group_name(), any::<(u64, u32)>(), option::of(any::<u32>())).prop_map(
            |(group, (sequence, delivery), actual)| Violation::Delivery {
                group,
                sequence,
                delivery,
                actual,
            }
        ),
    ]
}

fn rejection() -> impl Strategy<Value = Rejection> {
    let parent = || prop_oneof![stored_parent(), any::<u16>().prop_map(ParentName::Batch)];
    prop_oneof![
        (0..1_000_usize, parent())
            .prop_map(|(event, parent)| Rejection::UnknownParent { event, parent }),
        (0..64_usize, parent()).prop_map(|(precondition, parent)| {
            Rejection::UnknownPreconditionParent {
                precondition,
                parent,
            }
        }),
        vec(violation(), 1..5).prop_map(|violations| Rejection::Preconditions { violations }),
        group_name().prop_map(|name| Rejection::UnknownGroup { name }),
        (group_name(), option::of("[a-z]{1,20}"))
            .prop_map(|(name, reason)| Rejection::GroupExists { name, reason }),
        "[a-z]{1,9}".prop_map(|name| Rejection::UnknownCursor {
            name: CursorName::new(&name).expect("valid")
        }),
    ]
}

proptest! {
    #[test]
    fn rejection_round_trips_through_a_status(rejection in rejection()) {
        let failure = status::parse(&status::rejection(&rejection));
        prop_assert_eq!(failure.message, rejection.to_string());
        prop_assert_eq!(failure.detail, Some(Detail::Rejected(rejection)));
    }

    #[test]
    fn any_bytes_as_details_are_read_without_a_panic(details in vec(any::<u8>(), 0..200)) {
        let status = Status::with_details(Code::Aborted, "", details.into());
        prop_assert_eq!(status::parse(&status).code, Code::Aborted);
    }
}

#[test]
fn every_status_is_read_back() {
    let leader = Leader {
        node_id: 3,
        endpoint: "c:7311".to_owned(),
    };
    let retry = Some(Duration::from_millis(20));
    let cases = [
        (
            status::not_leader(Some(&leader)),
            Code::FailedPrecondition,
            Detail::NotLeader {
                leader: Some(leader.clone()),
            },
            None,
        ),
        (
            status::not_leader(None),
            Code::FailedPrecondition,
            Detail::NotLeader { leader: None },
            None,
        ),
        (
            status::history_changed(1, 2),
            Code::FailedPrecondition,
            Detail::HistoryChanged {
                expected: 1,
                actual: 2,
            },
            None,
        ),
        (
            status::other_cluster(1, 2),
            Code::FailedPrecondition,
            Detail::OtherCluster {
                expected: 1,
                actual: 2,
            },
            None,
        ),
        (
            status::position_out_of_range(9, 7),
            Code::OutOfRange,
            Detail::PositionOutOfRange {
                sequence: 9,
                first: 1,
                last: 7,
            },
            None,
        ),
        (
            status::overloaded(Duration::from_millis(20)),
            Code::ResourceExhausted,
            Detail::Overloaded,
            retry,
        ),
        (
            status::limit_reached("subscriptions", "too many"),
            Code::ResourceExhausted,
            Detail::LimitReached {
                subject: "subscriptions".to_owned(),
            },
            None,
        ),
        (
            status::error(&toka_ledger::Error::LineageLimit {
                limit: "visited_events",
                max: 5,
            }),
            Code::ResourceExhausted,
            Detail::LimitReached {
                subject: "visited_events".to_owned(),
            },
            None,
        ),
        (
            status::error(&toka_ledger::Error::DescendantsLimit { bytes_max: 5 }),
            Code::ResourceExhausted,
            Detail::LimitReached {
                subject: "filter.descendants_of".to_owned(),
            },
            None,
        ),
        (
            status::no_leader("nobody leads"),
            Code::Unavailable,
            Detail::NoLeader,
            Some(Duration::from_millis(100)),
        ),
        (
            status::node_behind(4, 3, 9),
            Code::Unavailable,
            Detail::NodeBehind {
                revision: 4,
                sequence: 3,
                wanted_revision: 9,
            },
            None,
        ),
        (
            status::stopping(),
            Code::Unavailable,
            Detail::Stopping,
            None,
        ),
        (
            status::node_not_found(9),
            Code::NotFound,
            Detail::NodeNotFound { node_id: 9 },
            None,
        ),
        (
            status::change_in_progress("node 4 is added"),
            Code::Aborted,
            Detail::ChangeInProgress,
            Some(Duration::from_millis(100)),
        ),
        (
            status::membership_refused("node 3", "the last voter"),
            Code::FailedPrecondition,
            Detail::MembershipRefused {
                subject: "node 3".to_owned(),
            },
            None,
        ),
        (
            status::event_not_found("17"),
            Code::NotFound,
            Detail::EventNotFound {
                name: "17".to_owned(),
            },
            None,
        ),
        (
            status::error(&toka_ledger::Error::Closed),
            Code::Unavailable,
            Detail::Stopping,
            None,
        ),
    ];
    for (status, code, detail, retry_after) in cases {
        let failure = status::parse(&status);
        assert_eq!(
            (failure.code, failure.detail, failure.retry_after),
            (code, Some(detail), retry_after)
        );
        let again = status::from_commit_error(sent(&status::to_commit_error(&status)));
        assert_eq!(status::parse(&again), status::parse(&status));
    }
}

#[test]
fn leader_is_carried_in_the_metadata_of_an_error() {
    let leader = Leader {
        node_id: 3,
        endpoint: "c:7311".to_owned(),
    };
    let status = status::not_leader(Some(&leader));
    assert_eq!(
        crate::convert::metadata::leader(status.metadata()),
        Some(leader)
    );
}
