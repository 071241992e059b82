//! The agents of the example, over the beginning of the corpus.

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/pipeline/agents.rs"]
mod agents;
#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/pipeline/corpus.rs"]
mod corpus;

use std::sync::Arc;

use agents::{ANSWER, REVIEW, Review, Reviewed, TICKET, Triage, Work};
use anyhow::Result;
use corpus::{UTTERANCE, Utterance};
use toka_agents::{Agent, Runner, Settings, Store};
use toka_ledger::VaultBus;
use tokio_util::sync::CancellationToken;

/// Utterances before triage has learned anything, and as many after that.
const SOME: usize = 200;

async fn run<A: Agent>(vault: &VaultBus, agent: A, name: &str) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(vault.clone());
    let runner = Runner::new(agent, store, Settings::new(name)?)?;
    let head = vault.position().sequence;
    runner.run_until(head, &CancellationToken::new()).await?;
    Ok(())
}

/// Commits utterances, and has each agent do its part. Returns how many triage has got right so far.
async fn go_through(vault: &VaultBus, all: &[Utterance], some: &[Utterance]) -> Result<usize> {
    for one in some {
        vault.event(UTTERANCE).payload(&one.text).commit().await?;
    }
    run(vault, Triage, "triage").await?;
    run(vault, Work, "work").await?;
    run(vault, Review::new(all), "review").await?;
    // It learns.
    run(vault, Triage, "triage").await?;
    let mut right = 0;
    for header in vault.range(1..) {
        let header = header?;
        if header.kind == REVIEW {
            right += usize::from(vault.payload::<Reviewed>(&header)?.is_right);
        }
    }
    Ok(right)
}

#[tokio::test]
async fn each_utterance_goes_through_all_three_and_triage_learns() -> Result<()> {
    let vault = VaultBus::builder().open_in_memory()?;
    let all = corpus::read(2 * SOME)?;
    let (first, second) = all.split_at(all.len() / 2);
    let before = go_through(&vault, &all, first).await?;
    assert_eq!(before, 0, "nobody has said yet what there is");
    let after = go_through(&vault, &all, second).await?;
    // A fifth is far more than guessing among 18 scenarios would get.
    assert!(after > second.len() / 5, "{after} of {}", second.len());
    for kind in [UTTERANCE, TICKET, ANSWER, REVIEW] {
        let mut events = 0;
        for header in vault.range(1..) {
            events += usize::from(header?.kind == kind);
        }
        assert_eq!(events, all.len(), "{kind}");
    }
    Ok(())
}
