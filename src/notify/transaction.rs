//! The request's transaction: taken on first use, given back when the handler is done with it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use ::http::request::Parts;
use axum::extract::FromRequestParts;

use crate::caller::{Caller, ENDED};
use crate::error::Error;
use crate::log::{Log, Turn};
use crate::realtime::cursor::Position;

/// Where a request's turn is while no handler has it.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    log: Log,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Untouched,
    Taken,
    Returned(Turn),
}

/// What became of a request's transaction when its handler has answered.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The handler wanted none.
    Unused,
    /// It is there, to be kept or rolled back.
    Returned(Turn),
    /// Something that outlives the handler still has it.
    Taken,
}

impl Slot {
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            state: Arc::default(),
        }
    }

    /// For a handler: with the turn of a `Tx` that it had before, or none yet.
    fn claim(self) -> Result<Tx, Error> {
        let state = std::mem::replace(&mut *self.state.lock().unwrap(), State::Taken);
        let turn = match state {
            State::Untouched => None,
            State::Returned(turn) => Some(turn),
            State::Taken => return Err(anyhow::anyhow!("a request has one Tx at a time").into()),
        };
        Ok(Tx { turn, slot: self })
    }

    /// The turn, once the handler has answered.
    pub(super) fn take(&self) -> Outcome {
        match std::mem::replace(&mut *self.state.lock().unwrap(), State::Taken) {
            State::Returned(turn) => Outcome::Returned(turn),
            State::Untouched => Outcome::Unused,
            State::Taken => Outcome::Taken,
        }
    }
}

/// The transaction of a request, as an argument of its handler. Rows are changed with [`Turn::db`]; whether they stay
/// changed is decided by the answer's status.
///
/// Everybody else who writes waits meanwhile: a handler that has something slow to do first takes a [`Begin`] instead.
/// It ends with the handler: what is moved into a task or a body that goes on is not kept, and answered with 500.
#[derive(Debug)]
pub struct Tx {
    /// Nothing only until it has come.
    turn: Option<Turn>,
    slot: Slot,
}

/// The transaction of a request before it has begun, as an argument of its handler.
#[derive(Debug)]
pub struct Begin {
    slot: Slot,
    caller: Option<Caller>,
}

impl Begin {
    /// Waits for a place in the log alone. For back ends: nobody is looked up again.
    ///
    /// # Errors
    /// When it does not come in time, or the request has a transaction.
    pub(crate) async fn place(self) -> Result<Place, Error> {
        let mut tx = self.slot.claim()?;
        if tx.turn.is_some() {
            return Err(anyhow::anyhow!("a request with a Tx has a place in the log").into());
        }
        tx.turn = Some(tx.slot.log.begin_appending().await?);
        Ok(Place(tx))
    }

    /// Waits for the transaction, and looks the caller up again in it, unless nobody's login or rank can have changed:
    /// while a body came in and others had their turns, one may have ended, and the other been lost. A name may be that
    /// of a moment ago.
    ///
    /// # Errors
    /// When it does not come in time, the request has one already, or the caller is no longer who it was.
    pub async fn begin(self) -> Result<Tx, Error> {
        let Self { slot, caller } = self;
        let mut tx = slot.claim()?;
        if tx.turn.is_none() {
            tx.turn = Some(tx.slot.log.begin().await?);
        }
        let moves = tx.moves_before();
        if let Some(caller) = caller.filter(|caller| moves.is_none() || caller.moves != moves) {
            let now = caller.again(tx.db_to_read()).await?;
            let now = now.ok_or(Error::Unauthorized(ENDED))?;
            if now.user != caller.user {
                return Err(Error::forbidden(
                    "You have been changed meanwhile; ask again.",
                ));
            }
        }
        Ok(tx)
    }
}

/// A place in the log for events, and for nothing else. For a handler that has to know it before it answers.
#[derive(Debug)]
pub(crate) struct Place(Tx);

impl Place {
    /// The position that the first event will have.
    pub(crate) fn position(&mut self) -> Position {
        self.0.position()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Begin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let slot = parts.extensions.get::<Slot>().cloned();
        let outside =
            || anyhow::anyhow!("a handler with a Tx is not inside the notification layer");
        let caller = parts.extensions.get::<Caller>().cloned();
        Ok(Self {
            slot: slot.ok_or_else(outside)?,
            caller,
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Tx {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Begin::from_request_parts(parts, state).await?.begin().await
    }
}

impl Deref for Tx {
    type Target = Turn;

    fn deref(&self) -> &Turn {
        self.turn
            .as_ref()
            .expect("a Tx has its turn until it is dropped")
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Turn {
        self.turn
            .as_mut()
            .expect("a Tx has its turn until it is dropped")
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let state = self.turn.take().map_or(State::Untouched, State::Returned);
        *self.slot.state.lock().unwrap() = state;
    }
}
