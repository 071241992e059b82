//! What an agent is.

use std::future::ready;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toka_ledger::intent::IntentId;
use toka_ledger::{Filter, Selector};

use crate::context::{Context, Refusal};
use crate::error::HandlerError;
use crate::event::Event;
use crate::reaction::{Effect, Reaction};

/// Which events an agent wants. All that is given must hold; the default is all events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interests {
    /// Their kinds begin with any of these; empty: with anything.
    pub kinds: Vec<String>,
    /// They are of any of these intents; empty: of any or none. Which events are of an intent is told as of when they are
    /// looked at: a state that must be the same after a fresh start is folded over kinds and attributes.
    pub intents: Vec<IntentId>,
    /// They have all of these attributes.
    pub attributes: Vec<(String, String)>,
    /// They descend from this event, over any number of parents. Not offered by groups.
    pub descendants_of: Option<Selector>,
}

impl Interests {
    /// Events whose kinds begin with any of these.
    pub fn kinds<K: Into<String>>(kinds: impl IntoIterator<Item = K>) -> Self {
        Self {
            kinds: kinds.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// As the vault filters by them.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter {
            kind_prefixes: self.kinds.clone(),
            attributes: self.attributes.clone(),
            intents: self.intents.clone(),
            descendants_of: self.descendants_of,
            ..Filter::default()
        }
    }
}

/// An agent: which events it wants, what it makes of them, and how it reacts.
///
/// It keeps nothing to itself: what it knows is in its state, and that is a fold over the events that it wants. What
/// [`Agent::handle`] depends on beside state and event it asks its [`Context`] for. Then a replay comes to the same again.
pub trait Agent: Send + Sync + 'static {
    /// What it knows. `()` if it needs to know nothing.
    type State: Default + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Goes up with every change of the state's form, of [`Agent::apply`], or of [`Agent::interests`]: snapshots of another
    /// version are not used, and the state is folded anew.
    const STATE_VERSION: u32 = 1;

    /// Which events it wants. Asked once, when it is started.
    fn interests(&self) -> Interests;

    /// Folds an event into the state. Depends on nothing else, and changes nothing else. A panic stops the agent
    /// ([`Error::Apply`](crate::Error::Apply)): what the state is without the event is not known.
    fn apply(state: &mut Self::State, event: &Event);

    /// Reacts to an event, which is in the state already.
    ///
    /// It may run again for the same event: after a failure, after a crash, and in a replay. What it answers is committed
    /// once, whatever it answers the other times.
    fn handle(
        &self,
        state: &Self::State,
        event: &Event,
        context: &mut Context,
    ) -> impl Future<Output = Result<Reaction, HandlerError>> + Send;

    /// Reacts to an event whose reaction was refused, since a claim was somebody else's, or something else that the
    /// reaction required did not hold. By default not at all: the event is done with.
    fn refused(
        &self,
        _state: &Self::State,
        _event: &Event,
        _refusal: &Refusal,
        _context: &mut Context,
    ) -> impl Future<Output = Result<Reaction, HandlerError>> + Send {
        ready(Ok(Reaction::none()))
    }

    /// Carries an effect out, and returns what is to be recorded of it, at most 1 MiB less 1 KiB: a larger reply is recorded
    /// as a failure. May be called again for the same effect after a crash, and where another instance of the agent starts,
    /// or answers the same, while it is carried out. An agent whose reactions have effects has this.
    fn perform(&self, effect: &Effect) -> impl Future<Output = Result<Bytes, HandlerError>> + Send {
        let message = format!("the agent does not carry out {:?}", effect.name);
        ready(Err(HandlerError::permanent(message)))
    }
}
