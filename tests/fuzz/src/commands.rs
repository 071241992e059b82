//! Entries of commands as bytes: decoded or refused; what is decoded passes validation, encodes to the same command,
//! and is applied to a result, twice to the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use toka_ledger::command::{
    AppendAudit, Batch, Command, Commit, Create, CreateGroup, CreateToken, DeleteCursor,
    DeleteGroup, DeleteRole, Deliver, FEATURE_LEVEL, Label, MoveParked, ParentName, ParkedAction,
    Precondition, PutRole, RevokeToken, RotateToken, SaveCursor, SetFeatureLevel, Settle,
    Settlement, UpdateGroup, Verdict, decode_batch, encode,
};
use toka_ledger::credentials::{
    Action, Actor, AuditRecord, Grant, Limits, Role, TokenId, Verifier,
};
use toka_ledger::group;
use toka_ledger::intent::{IntentId, Parameters};
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::{
    ConsumerName, CursorName, Digest, EventId, GroupName, IntentLabel, Kind, PrincipalName,
    RoleName,
};

use crate::apply::Replica;
use crate::{Seed, of_kind};

/// See above.
pub fn run(data: &[u8]) {
    let Some((first, entry)) = data.split_first() else {
        return;
    };
    let Ok(commands) = decode_batch(Bytes::copy_from_slice(entry)) else {
        return;
    };
    for command in &commands {
        command.check().expect("decoding checks no less");
        let mut batch = Batch::default();
        batch.push(&encode(command));
        let again = decode_batch(batch.finish()).expect("as it was decoded");
        assert_eq!(again, [command.clone()]);
    }
    let apply = || {
        let mut replica = Replica::new();
        if first % 8 > 0 {
            replica.apply(&[Command::Create(create())]);
        }
        let outcomes = replica.apply(&commands);
        (outcomes, replica)
    };
    let ((outcomes, one), (again, other)) = (apply(), apply());
    assert_eq!(outcomes, again);
    if outcomes.is_some() {
        one.assert_equals(&other);
    }
}

fn create() -> Create {
    Create {
        cluster_id: 1,
        history_id: 2,
        feature_level: FEATURE_LEVEL,
        dimension: None,
        model: None,
        intents: Parameters {
            save_events: 2,
            background_events: 2,
            ..Parameters::default()
        },
        unix_ms: 3,
    }
}

fn commit(drafts: Vec<EventDraft>, preconditions: Vec<Precondition>) -> Commit {
    prepare_commit(drafts, preconditions, 1_700_000_000_000).expect("valid")
}

fn kind() -> Kind {
    Kind::new("auth.login").expect("valid")
}

fn commits() -> Vec<(&'static str, Commit)> {
    let draft = || EventDraft::new("auth.login").payload_bytes(&b"alice"[..]);
    let embedded = draft()
        .embedding(&[0.6, -0.8, 0.1])
        .model("hashed-v1/3")
        .salt(b"salt")
        .source("web")
        .content_type("text/plain")
        .attribute("user", "alice");
    let preconditions = vec![
        Precondition::KindSequence {
            kind: kind(),
            sequence: 0,
        },
        Precondition::TimePassed { unix_ms: 5 },
        Precondition::KindPrefixSequence {
            prefix: "task.".to_owned(),
            sequence: 0,
        },
        Precondition::CursorMove {
            name: CursorName::new("reader").expect("valid"),
            from: 0,
            to: 1,
        },
    ];
    let claim = Precondition::NoChild {
        parent: ParentName::Digest(Digest([7; 32])),
        kind: kind(),
    };
    let parents = draft()
        .parents_by_id([EventId::from_bytes([9; 16])])
        .parents_by_digest([Digest([8; 32])]);
    vec![
        ("event", commit(vec![draft()], vec![])),
        (
            "batch",
            commit(vec![embedded, draft().parent_in_batch(0)], vec![]),
        ),
        ("preconditions", commit(vec![draft()], preconditions)),
        ("claim", commit(vec![draft().salt(b"x")], vec![claim])),
        ("parents", commit(vec![parents], vec![])),
    ]
}

/// Every kind of command.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let label = |label: Option<&str>| {
        Command::Label(Label {
            unix_ms: 4,
            intent: IntentId(1),
            label: label.map(|label| IntentLabel::new(label).expect("valid")),
        })
    };
    let mut commands = vec![
        ("create", Command::Create(create())),
        ("label", label(Some("logins"))),
        ("no-label", label(None)),
        (
            "level",
            Command::SetFeatureLevel(SetFeatureLevel {
                unix_ms: 5,
                level: FEATURE_LEVEL,
            }),
        ),
    ];
    let commits = commits().into_iter();
    commands.extend(commits.map(|(name, commit)| (name, Command::Commit(commit))));
    commands.extend(coordination());
    commands.extend(credentials());
    let mut all = Batch::default();
    let mut seeds = Vec::new();
    for (name, command) in commands {
        let bytes = encode(&command);
        all.push(&bytes);
        let mut batch = Batch::default();
        batch.push(&bytes);
        seeds.push((name.to_owned(), of_kind(1, batch.finish())));
    }
    seeds.push(("all".to_owned(), of_kind(0, all.finish())));
    seeds
}

/// Of tokens, roles and the audit, in an order in which something comes of each; a token and a role are there at the end.
fn credentials() -> Vec<(&'static str, Command)> {
    const UNIX_MS: u64 = 1_700_000_000_200;
    let actor = || Actor {
        principal: PrincipalName::new("alice").expect("valid"),
        token: Some(TokenId([9; 8])),
    };
    let role = || RoleName::new("robots").expect("valid");
    let verifier = |byte| Verifier {
        salt: [byte; 16],
        hash: [byte; 32],
    };
    let put = |name| {
        let grants = vec![Grant {
            action: Action::Write,
            kind_prefixes: vec!["task.".to_owned()],
        }];
        Command::PutRole(PutRole {
            unix_ms: UNIX_MS,
            actor: actor(),
            role: Role { name, grants },
        })
    };
    let other = || RoleName::new("others").expect("valid");
    vec![
        ("put-role", put(role())),
        (
            "create-token",
            Command::CreateToken(CreateToken {
                unix_ms: UNIX_MS,
                actor: actor(),
                id: TokenId([1; 8]),
                verifier: verifier(1),
                principal: PrincipalName::new("robot").expect("valid"),
                roles: vec![role()],
                grants: vec![Grant::of_all(Action::Read)],
                limits: Limits {
                    requests_per_second: 10,
                    bytes_per_second: 1 << 20,
                    subscriptions: 2,
                },
                expires_unix_ms: Some(UNIX_MS + 1_000),
                if_no_admin: true,
            }),
        ),
        (
            "rotate-token",
            Command::RotateToken(RotateToken {
                unix_ms: UNIX_MS,
                actor: actor(),
                id: TokenId([1; 8]),
                new_id: TokenId([2; 8]),
                verifier: verifier(2),
                grace_ms: 500,
                expires_unix_ms: None,
            }),
        ),
        (
            "revoke-token",
            Command::RevokeToken(RevokeToken {
                unix_ms: UNIX_MS,
                actor: actor(),
                id: TokenId([1; 8]),
            }),
        ),
        ("put-another-role", put(other())),
        (
            "delete-role",
            Command::DeleteRole(DeleteRole {
                unix_ms: UNIX_MS,
                actor: actor(),
                name: other(),
            }),
        ),
        (
            "append-audit",
            Command::AppendAudit(AppendAudit {
                unix_ms: UNIX_MS,
                records: vec![AuditRecord {
                    action: "denied".to_owned(),
                    actor: actor(),
                    count: 3,
                    fields: BTreeMap::from([("rpc".to_owned(), "Commit".to_owned())]),
                }],
            }),
        ),
    ]
}

/// Of cursors and groups, in an order in which something comes of each; a group is there at the end.
fn coordination() -> Vec<(&'static str, Command)> {
    const UNIX_MS: u64 = 1_700_000_000_100;
    /// The revision of the first group, behind the four commands and the commits before it, and the two of cursors.
    const INCARNATION: u64 = 12;
    let cursor = || CursorName::new("saved").expect("valid");
    let group = || GroupName::new("g").expect("valid");
    let create = |name| {
        Command::CreateGroup(CreateGroup {
            unix_ms: UNIX_MS,
            name: GroupName::new(name).expect("valid"),
            settings: group::Settings::default(),
            position: 0,
        })
    };
    let settlement = |sequence, verdict| Settlement {
        sequence,
        delivery: 1,
        verdict,
    };
    let reason = || "no water".to_owned();
    let reject = Verdict::Reject {
        delay_ms: 10,
        reason: reason(),
    };
    vec![
        (
            "save-cursor",
            Command::SaveCursor(SaveCursor {
                unix_ms: UNIX_MS,
                name: cursor(),
                from: Some(0),
                to: 1,
            }),
        ),
        (
            "delete-cursor",
            Command::DeleteCursor(DeleteCursor {
                unix_ms: UNIX_MS,
                name: cursor(),
                from: None,
            }),
        ),
        ("create-group", create("g")),
        (
            "deliver",
            Command::Deliver(Deliver {
                unix_ms: UNIX_MS,
                group: group(),
                incarnation: INCARNATION,
                consumer: ConsumerName::new("robot").expect("valid"),
                from: 0,
                to: 3,
                sequences: vec![1, 2, 3],
            }),
        ),
        (
            "settle",
            Command::Settle(Settle {
                unix_ms: UNIX_MS,
                group: group(),
                incarnation: INCARNATION,
                settlements: vec![
                    settlement(1, reject),
                    settlement(2, Verdict::Extend),
                    settlement(3, Verdict::Park { reason: reason() }),
                    settlement(4, Verdict::Acknowledge),
                    settlement(5, Verdict::Release),
                ],
            }),
        ),
        (
            "move-parked",
            Command::MoveParked(MoveParked {
                unix_ms: UNIX_MS,
                group: group(),
                incarnation: INCARNATION,
                sequences: vec![4],
                action: ParkedAction::Discard,
            }),
        ),
        ("create-group-again", create("h")),
        (
            "delete-group",
            Command::DeleteGroup(DeleteGroup {
                unix_ms: UNIX_MS,
                name: GroupName::new("h").expect("valid"),
                // Behind the first group's, and what is done to that.
                incarnation: INCARNATION + 4,
            }),
        ),
        (
            "update-group",
            Command::UpdateGroup(UpdateGroup {
                unix_ms: UNIX_MS,
                name: group(),
                incarnation: INCARNATION,
                changes: group::Changes {
                    deliveries_max: Some(7),
                    ..group::Changes::default()
                },
            }),
        ),
    ]
}
