//! Tokens, roles and the audit against a naive model: whatever is done, what counts is what the model says, and the
//! audit is one chain. The commands are applied again in other ways, to the same rows.

mod apply_support;
#[path = "apply_support/credentials.rs"]
mod credentials;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apply_support::*;
use credentials::*;
use proptest::prelude::*;
use toka_ledger::command::{Command, CreateToken};
use toka_ledger::credentials::AUDIT_KIND_PREFIX;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Durability, Engine};
use toka_ledger::restore::repeat;
use toka_ledger::seam::{InlineThreads, Threads};
use toka_ledger::verify::verify;
use toka_ledger::{Ledger, LogMark, Outcome, Reader, Selector};

const ROLES: [&str; 3] = ["reader", "robots", "tasks"];

#[derive(Clone, Debug)]
enum Step {
    /// A token with one of the roles, which lives for so long.
    Create(u8, usize, Option<u64>),
    Rotate(u8, u8, u32),
    Revoke(u8),
    Put(usize, u8),
    Delete(usize),
    Audit(usize),
    Commit(u8),
    /// Milliseconds go by.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..12_u8;
    prop_oneof![
        6 => (id(), 0..3_usize, prop::option::of(1..400_u64))
            .prop_map(|(id, role, life)| Step::Create(id, role, life)),
        3 => (id(), id(), 0..300_u32).prop_map(|(old, new, grace)| Step::Rotate(old, new, grace)),
        2 => id().prop_map(Step::Revoke),
        4 => (1..3_usize, 0..3_u8).prop_map(|(role, prefix)| Step::Put(role, prefix)),
        2 => (1..3_usize).prop_map(Step::Delete),
        1 => (1..4_usize).prop_map(Step::Audit),
        2 => any::<u8>().prop_map(Step::Commit),
        4 => (1..200_u64).prop_map(Step::Wait),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    role: &'static str,
    created: u64,
    ends: Option<u64>,
    is_revoked: bool,
    replaced_by: Option<u8>,
}

#[derive(Default)]
struct Model {
    now: u64,
    tokens: BTreeMap<u8, Token>,
    roles: BTreeMap<&'static str, u8>,
    /// Audit events that there must be.
    audited: u64,
}

impl Model {
    fn counts(&self, id: u8) -> bool {
        let token = self.tokens.get(&id);
        token
            .is_some_and(|token| !token.is_revoked && token.ends.is_none_or(|ends| self.now < ends))
    }

    fn has_role(&self, role: &str) -> bool {
        role == "reader" || self.roles.contains_key(role)
    }

    /// The command of a step; absent: none. Says in `self` what it must do.
    fn command(&mut self, step: &Step) -> Option<Command> {
        Some(match *step {
            Step::Create(id, role, life) => {
                let (role, ends) = (ROLES[role], life.map(|life| self.now + life));
                if !self.tokens.contains_key(&id) && self.has_role(role) {
                    let token = Token {
                        role,
                        created: self.now,
                        ends,
                        is_revoked: false,
                        replaced_by: None,
                    };
                    self.tokens.insert(id, token);
                    self.audited += 1;
                }
                Command::CreateToken(CreateToken {
                    expires_unix_ms: ends,
                    ..new_token(self.now, id, role)
                })
            }
            Step::Rotate(old, new, grace) => {
                self.rotate(old, new, grace);
                rotate_token(self.now, old, new, grace)
            }
            Step::Revoke(id) => {
                if let Some(token) = self.tokens.get_mut(&id)
                    && !token.is_revoked
                {
                    token.is_revoked = true;
                    self.audited += 1;
                }
                revoke_token(self.now, id)
            }
            Step::Put(role, prefix) => {
                if self.roles.insert(ROLES[role], prefix) != Some(prefix) {
                    self.audited += 1;
                }
                put_role(self.now, ROLES[role], &format!("p{prefix}."))
            }
            Step::Delete(role) => {
                let role = ROLES[role];
                let mut tokens = self.tokens.iter();
                let is_held = tokens.any(|(id, token)| token.role == role && self.counts(*id));
                if !is_held && self.roles.remove(role).is_some() {
                    self.audited += 1;
                }
                delete_role(self.now, role)
            }
            Step::Audit(records) => {
                self.audited += records as u64;
                append_audit(self.now, 1, records)
            }
            Step::Commit(payload) => {
                let event = event("work", &payload.to_string());
                Command::Commit(toka_ledger::command::Commit {
                    unix_ms: self.now,
                    ..commit([event])
                })
            }
            Step::Wait(ms) => {
                self.now += ms;
                return None;
            }
        })
    }

    fn rotate(&mut self, old: u8, new: u8, grace: u32) {
        if !self.counts(old) || self.tokens.contains_key(&new) {
            return;
        }
        let now = self.now;
        let Some(token) = self.tokens.get(&old) else {
            return;
        };
        let mut like = token;
        while let Some(next) = like.replaced_by.and_then(|id| self.tokens.get(&id)) {
            like = next;
        }
        let life = like.ends.map(|ends| ends - like.created);
        // One that was never to live any longer than this moment cannot be made.
        if life == Some(0) {
            return;
        }
        let replaced = Token {
            created: now,
            ends: life.map(|life| now + life),
            replaced_by: None,
            ..token.clone()
        };
        let grace_end = now + u64::from(grace);
        let Some(token) = self.tokens.get_mut(&old) else {
            return;
        };
        token.replaced_by = Some(new);
        token.ends = Some(token.ends.map_or(grace_end, |ends| ends.min(grace_end)));
        self.tokens.insert(new, replaced);
        self.audited += 1;
    }

    fn assert_is(&self, reader: &Reader) {
        let all = reader.auth_view().all();
        let ids: BTreeSet<u8> = all.tokens(None).map(|token| token.id.0[0]).collect();
        assert_eq!(ids, self.tokens.keys().copied().collect());
        for (number, token) in &self.tokens {
            let stored = all.token(id(*number)).expect("there");
            assert_eq!(
                stored.is_valid_at(self.now),
                self.counts(*number),
                "{number}"
            );
            assert_eq!(stored.roles, [role_name(token.role)]);
            assert_eq!(stored.created_unix_ms, token.created);
        }
        for (name, prefix) in &self.roles {
            let stored = all.role(name).expect("there");
            assert_eq!(**stored, role(name, &format!("p{prefix}.")));
        }
        assert_eq!(all.roles().count(), self.roles.len() + 3);
    }

    fn assert_chain(&self, reader: &Reader) {
        let head = reader.audit_head().expect("readable");
        assert_eq!(head.events, self.audited);
        let (mut at, mut length) = (head.sequence, 0);
        while at > 0 {
            let header = reader.header(&Selector::Sequence(at)).expect("readable");
            let header = header.expect("there");
            assert!(header.kind.as_str().starts_with(AUDIT_KIND_PREFIX));
            assert!(header.parents.len() <= 1);
            at = header
                .parents
                .first()
                .map_or(0, |parent| parent.id.sequence());
            length += 1;
        }
        assert_eq!(length, self.audited);
    }
}

/// A history, and what was applied of it.
struct Run {
    vault: Vault,
    model: Model,
    commands: Vec<Command>,
    outcomes: Vec<Outcome>,
}

impl Run {
    fn new(steps: &[Step]) -> Self {
        let mut run = Self {
            vault: Vault::new(),
            model: Model {
                now: NOW,
                ..Model::default()
            },
            commands: vec![create()],
            outcomes: vec![Outcome::Created { revision: 1 }],
        };
        for step in steps {
            if let Some(command) = run.model.command(step) {
                run.outcomes
                    .extend(run.vault.apply(std::slice::from_ref(&command)));
                run.commands.push(command);
                run.model.assert_is(&run.vault.ledger.reader());
            }
        }
        run.model.assert_chain(&run.vault.ledger.reader());
        run
    }
}

fn threads() -> Arc<dyn Threads> {
    Arc::new(InlineThreads)
}

/// The commands in entries of that length, with a restart after each.
fn replayed(run: &Run, length: usize) -> Arc<dyn Engine> {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let mut outcomes = Vec::new();
    for entry in run.commands.chunks(length) {
        let mut ledger = Ledger::open(Arc::clone(&engine), threads()).expect("opens");
        let applied = ledger.apply(entry, LogMark::default(), Durability::Volatile);
        outcomes.extend(applied.expect("applies"));
    }
    assert_eq!(outcomes, run.outcomes);
    engine
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.div_ceil(4)))]
    #[test]
    fn tokens_and_roles_are_what_the_model_says(
        steps in prop::collection::vec(step(), 1..60), length in 1..9_usize,
    ) {
        let run = Run::new(&steps);
        let report = verify(&run.vault.ledger.reader(), &mut |_| ()).expect("readable");
        prop_assert!(report.is_intact(), "{:?}", report.problems);
        let expected = contents(&*run.vault.engine);
        prop_assert_eq!(&contents(&*replayed(&run, length)), &expected);
        prop_assert_eq!(&contents(&*replayed(&run, usize::MAX)), &expected);
    }

    #[test]
    fn a_restore_to_any_event_has_the_tokens_of_now_and_a_whole_chain(
        steps in prop::collection::vec(step(), 1..40), until: prop::sample::Index,
    ) {
        let run = Run::new(&steps);
        let source = run.vault.ledger.reader();
        let last = usize::try_from(source.position().sequence).expect("small");
        let until = until.index(last + 1) as u64;
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        repeat(&engine, &source, until, &threads(), &mut |_| {}).expect("repeated");
        let (restored, _) = Ledger::read_only(engine).expect("opens");
        let report = verify(&restored, &mut |_| ()).expect("readable");
        prop_assert!(report.is_intact(), "{:?}", report.problems);
        run.model.assert_is(&restored);
        let head = restored.audit_head().expect("readable");
        prop_assert!(head.sequence <= until);
        let is_audit = |sequence: &u64| {
            let header = source.header(&Selector::Sequence(*sequence)).expect("readable");
            header.is_some_and(|header| header.kind.as_str().starts_with(AUDIT_KIND_PREFIX))
        };
        prop_assert_eq!(head.events, (1..=until).filter(is_audit).count() as u64);
    }
}
