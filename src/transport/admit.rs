//! Whether somebody may join a channel: what the database and the rules say, and where they say so, the application.
//!
//! In two steps, because the application may take its time: first what is known is looked up ([`Decided::of`]), then
//! the connection to the database is given back, and what is open is asked ([`Roomcast::settle`]).

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::app::Roomcast;
use crate::ask::Unanswered;
use crate::caller::Caller;
use crate::error::Error;
use crate::policy::{self, Decision};
use crate::realtime::registry::Access;
use crate::realtime::{Channel, User};
use crate::rules::Rules;
use crate::store::{Db, access};

/// Questions about the channels of one connection that are asked at once.
const AT_ONCE: usize = 4;

/// What is known of somebody's wish to join, before the application is asked.
#[derive(Debug)]
pub(crate) struct Decided {
    channel: Channel,
    decision: Decision,
    /// The application took them out before: if they may come in, they come back.
    returns: bool,
}

impl Decided {
    /// Looks up what can be known without asking.
    pub(crate) async fn of(
        db: &mut Db,
        rules: &Rules,
        caller: Option<&Caller>,
        channel: &Channel,
    ) -> sqlx::Result<Self> {
        Ok(Self {
            decision: policy::access(db, rules, caller, channel).await?,
            returns: policy::is_withdrawn(db, rules, caller, channel).await?,
            channel: channel.clone(),
        })
    }

    /// Whether there is nothing left to ask.
    pub(crate) fn is_refused(&self) -> bool {
        self.decision == Decision::Settled(None)
    }
}

impl Roomcast {
    /// What somebody may do in a channel, from any door: over WebSocket, over SSE, or in a request. The application is
    /// asked where the rules say so; nobody waits for it with a turn or a connection to the database in hand.
    pub(crate) async fn admits(
        &self,
        caller: Option<&Caller>,
        channel: &Channel,
    ) -> Result<Option<Access>, Error> {
        let forgotten = self.forgotten(caller);
        let mut db = self.store().read().await?;
        let decided = Decided::of(&mut db, self.rules(), caller, channel).await?;
        drop(db);
        self.settle_one(caller, forgotten, &decided).await
    }

    /// To be read before anything is looked up, and handed to [`Roomcast::settle`].
    pub(crate) fn forgotten(&self, caller: Option<&Caller>) -> u64 {
        caller.map_or(0, |caller| self.asking().forgotten(&caller.user.id))
    }

    /// What somebody may do in several channels, a few of them asked at once, in the order they came in.
    pub(crate) async fn settle(
        &self,
        caller: Option<&Caller>,
        forgotten: u64,
        decided: Vec<Decided>,
    ) -> Result<Vec<(Channel, Option<Access>)>, Error> {
        let questions = decided.into_iter().map(|one| {
            let (app, caller) = (self.clone(), caller.cloned());
            async move {
                let access = app.settle_one(caller.as_ref(), forgotten, &one).await?;
                Ok::<_, Error>((one.channel, access))
            }
        });
        stream::iter(questions)
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn settle_one(
        &self,
        caller: Option<&Caller>,
        forgotten: u64,
        decided: &Decided,
    ) -> Result<Option<Access>, Error> {
        let Some(caller) = caller else {
            return Ok(match decided.decision {
                Decision::Settled(access) => access,
                Decision::Ask(_) => None,
            });
        };
        let access = match &decided.decision {
            Decision::Settled(access) => *access,
            Decision::Ask(question) => {
                let said = self.asking().ask(&caller.user, &question.channel).await;
                let said = said.map_err(|Unanswered| Error::Unavailable {
                    detail: "The application cannot say now who may join.",
                    retry_after: 2,
                })?;
                said.map(|access| access.min(question.most))
            }
        };
        if access.is_some() && decided.returns {
            self.returns(&caller.user, &decided.channel, forgotten)
                .await?;
        }
        Ok(access)
    }

    /// Notes where in the log somebody may join again whom the application took out: what was said meanwhile stays
    /// closed, and what comes from here on is theirs.
    async fn returns(&self, user: &User, channel: &Channel, forgotten: u64) -> Result<(), Error> {
        let mut turn = self.log().begin().await?;
        // What was looked up and answered was from before they were taken out once more.
        if self.asking().forgotten(&user.id) != forgotten {
            return Err(Error::Unavailable {
                detail: "Rights change too fast.",
                retry_after: 1,
            });
        }
        let last = turn.position() - 1;
        access::returned_to_channel(turn.db(), last, channel, &user.id).await?;
        turn.commit(Vec::new()).await?;
        Ok(())
    }
}
