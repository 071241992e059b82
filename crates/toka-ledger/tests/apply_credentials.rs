//! Tokens, roles and the audit: what commands do to them, one by one.

mod apply_support;
#[path = "apply_support/credentials.rs"]
mod credentials;

use std::sync::Arc;

use apply_support::*;
use credentials::*;
use toka_ledger::command::{COORDINATION_LEVEL, CREDENTIALS_LEVEL, Command, CreateToken};
use toka_ledger::core::limits::{ROLES_MAX, TOKENS_MAX};
use toka_ledger::credentials::AUDIT_KIND_PREFIX;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::prepare::{EventDraft, prepare_commit};
use toka_ledger::restore::repeat;
use toka_ledger::seam::{InlineThreads, Threads};
use toka_ledger::verify::verify;
use toka_ledger::{
    EventHeader, Invalid, Ledger, LogMark, Outcome, Reader, Rejection, Selector, Stored,
};

fn one(vault: &mut Vault, command: Command) -> Outcome {
    vault.apply(&[command]).remove(0)
}

fn rejection(vault: &mut Vault, command: Command) -> Rejection {
    refused(one(vault, command))
}

fn headers(reader: &Reader) -> Vec<Arc<EventHeader>> {
    let selectors: Vec<_> = (1..=reader.position().sequence)
        .map(Selector::Sequence)
        .collect();
    let headers = reader.headers(&selectors).expect("readable");
    headers
        .into_iter()
        .map(|header| header.expect("there"))
        .collect()
}

fn audited(reader: &Reader) -> Vec<Arc<EventHeader>> {
    let all = headers(reader).into_iter();
    all.filter(|header| header.kind.as_str().starts_with(AUDIT_KIND_PREFIX))
        .collect()
}

/// What an audit event says.
fn said(reader: &Reader, header: &EventHeader) -> rmpv::Value {
    let Stored::Present(payload) = reader.payload(header).expect("readable") else {
        panic!("nothing was erased")
    };
    rmpv::decode::read_value(&mut &payload[..]).expect("MessagePack")
}

fn text<'v>(said: &'v rmpv::Value, field: &str) -> Option<&'v str> {
    let fields = said.as_map().expect("a map");
    let value = fields.iter().find(|(name, _)| name.as_str() == Some(field));
    value.and_then(|(_, value)| value.as_str())
}

fn assert_intact(reader: &Reader) {
    let report = verify(reader, &mut |_| ()).expect("readable");
    assert!(report.is_intact(), "{:?}", report.problems);
}

#[test]
fn a_token_is_known_to_readers_as_soon_as_it_is_applied() {
    let mut vault = Vault::new();
    let view = vault.ledger.reader().auth_view();
    assert!(view.by_id(id(1)).is_none());
    let created = token(&one(&mut vault, create_token(NOW + 5, 1, "reader")));
    assert_eq!(view.by_id(id(1)).as_ref(), Some(&created));
    assert_eq!((created.created_unix_ms, view.revision()), (NOW + 5, 2));
    assert_eq!(
        view.by_id(id(1)).map(|token| token.verifier),
        Some(verifier(1))
    );
    assert_intact(&vault.ledger.reader());
}

#[test]
fn tokens_and_roles_are_there_after_a_restart_and_in_a_copy() {
    let mut vault = Vault::new();
    vault.apply(&[
        put_role(NOW, "robots", "task."),
        create_token(NOW, 1, "robots"),
    ]);
    let before = vault.ledger.reader().auth_view();
    let engine = Arc::clone(&vault.engine);
    drop(vault);
    let (reader, _) = Ledger::read_only(engine).expect("opens");
    let after = reader.auth_view();
    assert_eq!(after.by_id(id(1)), before.by_id(id(1)));
    assert_eq!(
        after.role("robots").as_deref(),
        Some(&role("robots", "task."))
    );
    assert!(after.role("admin").is_some_and(|role| role.is_admin()));
}

#[test]
fn a_view_follows_a_ledger_that_is_installed() {
    let mut vault = Vault::new();
    let view = vault.ledger.reader().auth_view();
    vault.apply(&[create_token(NOW, 1, "reader")]);
    let mut other = Vault::new();
    other.apply(&[create_token(NOW, 2, "reader")]);
    vault.ledger.install(other.engine).expect("installed");
    assert!(view.by_id(id(1)).is_none());
    assert!(view.by_id(id(2)).is_some());
}

#[test]
fn each_change_is_an_event_whose_parent_is_the_one_before() {
    let mut vault = Vault::new();
    vault.accept_event(event("work", "1"));
    vault.apply(&[
        put_role(NOW, "robots", "task."),
        create_token(NOW, 1, "robots"),
    ]);
    vault.accept_event(event("work", "2"));
    vault.apply(&[rotate_token(NOW, 1, 2, 500)]);
    vault.apply(&[
        revoke_token(NOW, 1),
        revoke_token(NOW, 2),
        delete_role(NOW, "robots"),
        append_audit(NOW, 7, 2),
    ]);
    let reader = vault.ledger.reader();
    let chain = audited(&reader);
    let kinds: Vec<_> = chain
        .iter()
        .map(|header| &header.kind.as_str()[AUDIT_KIND_PREFIX.len()..])
        .collect();
    let expected = [
        "role.put",
        "token.created",
        "token.rotated",
        "token.revoked",
        "token.revoked",
        "role.deleted",
        "denied",
        "denied",
    ];
    assert_eq!(kinds, expected);
    assert!(chain[0].parents.is_empty());
    for pair in chain.windows(2) {
        let parents: Vec<_> = pair[1].parents.iter().map(|parent| parent.id).collect();
        assert_eq!(parents, [pair[0].id]);
    }
    let head = reader.audit_head().expect("readable");
    assert_eq!((head.sequence, head.events), (chain[7].sequence, 8));
    assert_intact(&reader);
}

#[test]
fn an_audit_event_says_who_did_what_and_nothing_of_the_secret() {
    let mut vault = Vault::new();
    one(&mut vault, create_token(NOW, 1, "reader"));
    let reader = vault.ledger.reader();
    let header = audited(&reader).remove(0);
    let said = said(&reader, &header);
    assert_eq!(text(&said, "actor"), Some("alice"));
    assert_eq!(text(&said, "actor_token"), Some(&*id(0xa1).to_string()));
    assert_eq!(text(&said, "token_id"), Some(&*id(1).to_string()));
    assert_eq!(text(&said, "principal"), Some("robot"));
    assert_eq!(header.attributes.source.as_deref(), Some("alice"));
    let payload = format!("{said:?}");
    assert!(
        !payload.contains("hash") && !payload.contains("salt"),
        "{payload}"
    );
}

#[test]
fn what_changes_nothing_leaves_no_event() {
    let mut vault = Vault::new();
    vault.apply(&[
        put_role(NOW, "robots", "task."),
        create_token(NOW, 1, "robots"),
        revoke_token(NOW, 1),
    ]);
    let before = vault.ledger.position().sequence;
    let outcomes = vault.apply(&[put_role(NOW, "robots", "task."), revoke_token(NOW + 9, 1)]);
    assert_eq!(vault.ledger.position().sequence, before);
    assert_eq!(token(&outcomes[1]).revoked_unix_ms, Some(NOW));
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut vault = Vault::new();
    one(&mut vault, create_token(NOW, 1, "reader"));
    let before = contents(&*vault.engine).len();
    let exists = rejection(&mut vault, create_token(NOW, 1, "reader"));
    assert_eq!(exists, Rejection::TokenExists { id: id(1) });
    let name = role_name("nobodys");
    let unknown = rejection(&mut vault, create_token(NOW, 2, "nobodys"));
    assert_eq!(unknown, Rejection::UnknownRole { name: name.clone() });
    let unknown = rejection(&mut vault, delete_role(NOW, "nobodys"));
    assert_eq!(unknown, Rejection::UnknownRole { name });
    for command in [revoke_token(NOW, 9), rotate_token(NOW, 9, 8, 0)] {
        let unknown = rejection(&mut vault, command);
        assert_eq!(unknown, Rejection::UnknownToken { id: id(9) });
    }
    let exists = rejection(&mut vault, rotate_token(NOW, 1, 1, 0));
    assert_eq!(exists, Rejection::TokenExists { id: id(1) });
    let late = CreateToken {
        expires_unix_ms: Some(NOW),
        ..new_token(NOW, 3, "reader")
    };
    let expired = rejection(&mut vault, Command::CreateToken(late));
    let unix_ms = NOW;
    let expires_unix_ms = NOW;
    assert_eq!(
        expired,
        Rejection::TokenExpiry {
            expires_unix_ms,
            unix_ms
        }
    );
    assert_eq!(contents(&*vault.engine).len(), before);
    assert_intact(&vault.ledger.reader());
}

#[test]
fn a_rotated_token_counts_for_its_time_of_grace() {
    let mut vault = Vault::new();
    let first = CreateToken {
        expires_unix_ms: Some(NOW + 10_000),
        ..new_token(NOW, 1, "reader")
    };
    one(&mut vault, Command::CreateToken(first));
    let new = token(&one(&mut vault, rotate_token(NOW + 4_000, 1, 2, 500)));
    // As long as the old one was to live.
    assert_eq!(new.expires_unix_ms, Some(NOW + 14_000));
    assert_eq!((new.verifier, new.replaced_by), (verifier(2), None));
    let old = vault
        .ledger
        .reader()
        .auth_view()
        .by_id(id(1))
        .expect("kept");
    assert_eq!(old.expires_unix_ms, Some(NOW + 4_500));
    assert_eq!((old.verifier, old.replaced_by), (verifier(1), Some(id(2))));
    assert!(old.is_valid_at(NOW + 4_499) && !old.is_valid_at(NOW + 4_500));
    // An answer may have been lost: as long as it counts it can be rotated again, and lives no longer for it.
    one(&mut vault, rotate_token(NOW + 4_400, 1, 3, 60_000));
    let old = vault
        .ledger
        .reader()
        .auth_view()
        .by_id(id(1))
        .expect("kept");
    assert_eq!(old.expires_unix_ms, Some(NOW + 4_500));
    let ended = rejection(&mut vault, rotate_token(NOW + 4_500, 1, 4, 0));
    assert_eq!(ended, Rejection::TokenEnded { id: id(1) });
}

#[test]
fn a_token_that_is_rotated_again_lives_as_long_as_the_last_that_came_of_it() {
    let mut vault = Vault::new();
    vault.apply(&[
        create_token(NOW, 1, "reader"),
        rotate_token(NOW, 1, 2, 60_000),
        rotate_token(NOW, 2, 3, 500),
    ]);
    let again = token(&one(&mut vault, rotate_token(NOW + 100, 1, 4, 0)));
    assert_eq!(again.expires_unix_ms, None);
}

#[test]
fn a_revoked_token_stays_revoked_whatever_comes() {
    let mut vault = Vault::new();
    vault.apply(&[create_token(NOW, 1, "reader"), revoke_token(NOW, 1)]);
    let ended = rejection(&mut vault, rotate_token(NOW, 1, 2, 1_000));
    assert_eq!(ended, Rejection::TokenEnded { id: id(1) });
    let exists = rejection(&mut vault, create_token(NOW, 1, "reader"));
    assert_eq!(exists, Rejection::TokenExists { id: id(1) });
    let kept = vault
        .ledger
        .reader()
        .auth_view()
        .by_id(id(1))
        .expect("kept");
    assert!(!kept.is_valid_at(0));
}

#[test]
fn a_role_is_not_deleted_under_a_valid_token() {
    let mut vault = Vault::new();
    vault.apply(&[
        put_role(NOW, "robots", "task."),
        create_token(NOW, 1, "robots"),
    ]);
    let in_use = rejection(&mut vault, delete_role(NOW, "robots"));
    let name = role_name("robots");
    assert_eq!(in_use, Rejection::RoleInUse { name, tokens: 1 });
    let outcomes = vault.apply(&[revoke_token(NOW, 1), delete_role(NOW, "robots")]);
    assert!(
        matches!(outcomes[1], Outcome::RoleDeleted { .. }),
        "{outcomes:?}"
    );
    assert!(vault.ledger.reader().auth_view().role("robots").is_none());
}

#[test]
fn the_first_token_is_made_only_while_nobody_can_administer_the_vault() {
    let mut vault = Vault::new();
    let first = |number, role| {
        Command::CreateToken(CreateToken {
            if_no_admin: true,
            ..new_token(NOW, number, role)
        })
    };
    one(&mut vault, create_token(NOW, 1, "writer"));
    // Both in one entry, as two leaders might propose it.
    let outcomes = vault.apply(&[first(2, "admin"), first(3, "admin")]);
    assert_eq!(token(&outcomes[0]).id, id(2));
    assert_eq!(refused(outcomes[1].clone()), Rejection::AdminExists);
    one(&mut vault, revoke_token(NOW, 2));
    let exists = rejection(&mut vault, first(2, "admin"));
    assert_eq!(exists, Rejection::TokenExists { id: id(2) });
    assert_eq!(token(&one(&mut vault, first(4, "admin"))).id, id(4));
}

#[test]
fn credentials_need_their_feature_level() {
    let mut vault = Vault::of_level(COORDINATION_LEVEL);
    let needed = CREDENTIALS_LEVEL;
    let level = COORDINATION_LEVEL;
    for command in [
        create_token(NOW, 1, "reader"),
        rotate_token(NOW, 1, 2, 0),
        revoke_token(NOW, 1),
        put_role(NOW, "robots", "task."),
        delete_role(NOW, "robots"),
        append_audit(NOW, 1, 1),
    ] {
        let refused = rejection(&mut vault, command);
        assert_eq!(refused, Rejection::FeatureLevel { needed, level });
    }
    assert_eq!(vault.ledger.position().sequence, 0);
}

#[test]
fn audit_events_are_made_by_the_vault_alone() {
    let drafts = [
        EventDraft::new("work"),
        EventDraft::new("toka.audit.token.created"),
    ];
    let refused = prepare_commit(drafts, Vec::new(), NOW).expect_err("reserved");
    let Invalid::InBatch { event: 1, invalid } = refused else {
        panic!("{refused:?}")
    };
    let kind = "toka.audit.token.created".to_owned();
    assert_eq!(*invalid, Invalid::ReservedKind { kind });
    assert!(EventDraft::new("toka.auditing").prepare().is_ok());
}

#[test]
fn ended_tokens_make_room_and_valid_ones_do_not() {
    let mut vault = Vault::new();
    let wide = |number: usize, expires_unix_ms| {
        let number = u64::try_from(number).expect("small");
        Command::CreateToken(CreateToken {
            id: toka_ledger::credentials::TokenId(number.to_be_bytes()),
            expires_unix_ms,
            ..new_token(NOW, 1, "reader")
        })
    };
    let commands: Vec<_> = (0..TOKENS_MAX)
        .map(|number| wide(number, (number == 7).then_some(NOW + 10)))
        .collect();
    vault.apply(&commands);
    let full = rejection(&mut vault, wide(TOKENS_MAX, None));
    assert_eq!(full, Rejection::TokensFull { max: TOKENS_MAX });
    let later = CreateToken {
        unix_ms: NOW + 10,
        ..new_token(NOW, 0xee, "reader")
    };
    let created = one(&mut vault, Command::CreateToken(later));
    assert_eq!(token(&created).id, id(0xee));
    let all = vault.ledger.reader().auth_view().all();
    assert_eq!(all.tokens(None).count(), TOKENS_MAX);
    assert!(
        all.token(toka_ledger::credentials::TokenId(7_u64.to_be_bytes()))
            .is_none()
    );
    assert_intact(&vault.ledger.reader());
}

#[test]
fn roles_are_bounded() {
    let mut vault = Vault::new();
    let commands: Vec<_> = (0..ROLES_MAX)
        .map(|number| put_role(NOW, &format!("role-{number}"), "task."))
        .collect();
    vault.apply(&commands);
    let full = rejection(&mut vault, put_role(NOW, "one-more", "task."));
    assert_eq!(full, Rejection::RolesFull { max: ROLES_MAX });
    let changed = one(&mut vault, put_role(NOW, "role-0", "note."));
    assert!(matches!(changed, Outcome::RolePut { .. }), "{changed:?}");
}

#[test]
fn a_restore_to_an_earlier_event_brings_no_revoked_token_back() {
    let mut vault = Vault::new();
    vault.apply(&[create_token(NOW, 1, "reader")]);
    vault.accept_event(event("work", "1"));
    let until = vault.ledger.position().sequence;
    vault.apply(&[revoke_token(NOW, 1), create_token(NOW, 2, "reader")]);
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let threads: Arc<dyn Threads> = Arc::new(InlineThreads);
    let source = vault.ledger.reader();
    repeat(&engine, &source, until, &threads, &mut |_| {}).expect("repeated");
    let mut ledger = Ledger::open(engine, threads).expect("opens");
    let reader = ledger.reader();
    assert_intact(&reader);
    let view = reader.auth_view();
    assert!(
        view.by_id(id(1))
            .is_some_and(|token| token.revoked_unix_ms.is_some())
    );
    assert!(view.by_id(id(2)).is_some());
    let head = reader.audit_head().expect("readable");
    assert_eq!((head.sequence, head.events), (1, 1));
    // The audit goes on behind its last event that is left.
    let next = ledger.apply(
        &[revoke_token(NOW, 2)],
        LogMark::default(),
        Durability::Volatile,
    );
    next.expect("applies");
    let chain = audited(&reader);
    assert_eq!(chain[1].parents[0].id, chain[0].id);
    assert_intact(&reader);
}
