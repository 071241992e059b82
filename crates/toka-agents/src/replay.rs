//! What a handler answers when it is told again what it was told then.

use crate::agent::Agent;
use crate::batch::Batch;
use crate::context::{Context, Input};
use crate::error::HandlerError;
use crate::event::Event;

/// What a handler has answered in a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// What would be committed: with the same digests as then where it is the same. Without a snapshot, which depends on
    /// more than the event.
    pub batch: Batch,
    /// What was recorded and not asked for: more than none is a divergence.
    pub inputs_left: usize,
}

/// Has an agent react to an event with recorded inputs ([`record::inputs_of`](crate::record::inputs_of)). Touches nothing:
/// no vault, no clock, and nothing outside.
///
/// # Errors
/// What the handler fails with: [`HandlerError::Diverged`] if it asks for something else than was recorded.
pub async fn replay<A: Agent>(
    agent: &A,
    name: &str,
    state: &A::State,
    event: &Event,
    inputs: Vec<Input>,
) -> Result<Replayed, HandlerError> {
    let mut context = Context::replaying(inputs);
    let mut reaction = agent.handle(state, event, &mut context).await?;
    // Then it was refused, and the handler has answered something else.
    while let Some(refusal) = context.recorded_refusal() {
        context.refused(refusal.clone())?;
        reaction = agent.refused(state, event, &refusal, &mut context).await?;
    }
    let inputs_left = context.left();
    let batch = Batch::of(name, &event.header, reaction, context.into_inputs())?;
    Ok(Replayed { batch, inputs_left })
}
