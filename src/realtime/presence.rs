//! Presence: who is in a room, by user. Three tabs are one member; a reload within the grace period is no coming and going.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::ops::Bound;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::connection::ConnectionId;
use super::data::Data;
use super::protocol::server::timestamp;
use super::user::{User, UserId};

/// Members up to which each one's coming and going is told, and everybody is listed.
pub(super) const MAX_LISTED: usize = 2_000;
/// Bytes of a list up to which that holds: it is made under the registry's lock, and waits in an outbox.
const MAX_LIST_BYTES: usize = 768 * 1024;
/// Members at which a room that was over [`MAX_LISTED`] is told of one by one again.
const CALM: usize = 1_000;
/// Members in the list of a room that is over [`MAX_LISTED`].
const MAX_CROWD_LISTED: usize = 100;

/// Who is in one room.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// By their ids, so that a page of however many costs no more than what is on it.
    members: BTreeMap<UserId, Member>,
    /// In the order in which they came.
    order: BTreeMap<u64, UserId>,
    next: u64,
    /// Whose `meta` has changed since the others were told.
    changed: HashMap<UserId, Untold>,
    /// What a list of all of them takes.
    bytes: usize,
    /// Over [`MAX_LISTED`] or [`MAX_LIST_BYTES`]: only the number is told.
    crowded: bool,
    /// Changes of `meta` are told again from then on.
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    /// As the others see it: the item of a list, and the data of what is told.
    json: Data,
    /// `{"user":{…}`: what of it stays the same.
    user: Box<str>,
    since: OffsetDateTime,
    /// Where in the order it stands.
    number: u64,
    connections: usize,
    /// Until when somebody without a connection may come back.
    until: Option<Instant>,
}

/// A change that others are still to be told.
#[derive(Debug)]
struct Untold {
    /// What they know.
    before: Data,
    /// The connection that made the change, and knows it.
    by: ConnectionId,
    /// Others made changes before it, and know those: it is told even where it is back at what was before.
    by_several: bool,
}

/// Who is there, as it is said to somebody who comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// A JSON array, those who came first before others.
    pub list: Data,
    /// How many there are, where the list does not have them all.
    pub count: Option<usize>,
}

/// What has happened to a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that others see.
    None,
    /// It is new.
    Joined(Data),
    /// It will be told with others' that change at the same time.
    Updated,
    /// It is a member no more.
    Left(Data),
}

impl Presence {
    /// One more connection of a user.
    pub(super) fn enter(
        &mut self,
        user: &User,
        meta: Option<Data>,
        by: ConnectionId,
        now: OffsetDateTime,
    ) -> Change {
        if let Some(member) = self.members.get_mut(&user.id) {
            member.connections += 1;
            member.until = None;
            return self.update(&user.id, meta, by);
        }
        let about = serde_json::json!({ "id": user.id, "name": user.name });
        let head: Box<str> = format!(r#"{{"user":{about}"#).into();
        let meta = meta.unwrap_or_else(|| Data::stored("{}".into()));
        let member = Member {
            json: said(&head, &meta, now),
            user: head,
            since: now,
            number: self.next,
            connections: 1,
            until: None,
        };
        let json = member.json.clone();
        self.order.insert(self.next, user.id.clone());
        self.next += 1;
        self.members.insert(user.id.clone(), member);
        self.bytes += json.as_str().len() + 1;
        self.crowd();
        Change::Joined(json)
    }

    /// Another `meta` of somebody who is there.
    pub(super) fn update(&mut self, user: &UserId, meta: Option<Data>, by: ConnectionId) -> Change {
        let (Some(meta), Some(member)) = (meta, self.members.get_mut(user)) else {
            return Change::None;
        };
        let json = said(&member.user, &meta, member.since);
        if json == member.json {
            return Change::None;
        }
        self.bytes += json.as_str().len();
        let before = std::mem::replace(&mut member.json, json);
        self.bytes -= before.as_str().len();
        self.crowd();
        if self.crowded {
            // Nobody will be told, so there is nothing that lists have to wait for.
            return Change::Updated;
        }
        let untold = self.changed.entry(user.clone()).or_insert(Untold {
            before,
            by,
            by_several: false,
        });
        untold.by_several |= untold.by != by;
        untold.by = by;
        Change::Updated
    }

    /// One connection less, because it left: nobody waits for it to come back.
    pub(super) fn leave(&mut self, user: &UserId) -> Change {
        match self.members.get_mut(user) {
            Some(member) if member.connections > 1 => {
                member.connections -= 1;
                Change::None
            }
            Some(_) => self.remove(user),
            None => Change::None,
        }
    }

    /// One connection less, because it broke off; true if it was the last, and has until `until` to come back.
    pub(super) fn drop_out(&mut self, user: &UserId, until: Instant) -> bool {
        let Some(member) = self.members.get_mut(user) else {
            return false;
        };
        member.connections = member.connections.saturating_sub(1);
        let last = member.connections == 0;
        member.until = last.then_some(until);
        last
    }

    /// Somebody who has not come back in time is out; whoever has, or dropped out again since, stays.
    pub(super) fn expire(&mut self, user: &UserId, now: Instant) -> Change {
        let until = self.members.get(user).and_then(|member| member.until);
        if until.is_some_and(|until| until <= now) {
            self.remove(user)
        } else {
            Change::None
        }
    }

    /// A user is out, whatever connections it has.
    pub(super) fn remove(&mut self, user: &UserId) -> Change {
        self.changed.remove(user);
        let Some(member) = self.members.remove(user) else {
            return Change::None;
        };
        self.order.remove(&member.number);
        self.bytes -= member.json.as_str().len() + 1;
        Change::Left(member.json)
    }

    /// The members whose `meta` has changed since this was last asked, each with the connection that knows it.
    pub(super) fn take_changed(&mut self) -> Vec<(ConnectionId, Data)> {
        let changed = std::mem::take(&mut self.changed);
        let told = |(user, untold): (UserId, Untold)| {
            let now = &self.members.get(&user)?.json;
            let is_news = untold.by_several || untold.before != *now;
            is_news.then(|| (untold.by, now.clone()))
        };
        changed.into_iter().filter_map(told).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether only the number of members is told.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded
    }

    fn crowd(&mut self) {
        self.crowded |= self.members.len() > MAX_LISTED || self.bytes > MAX_LIST_BYTES;
    }

    /// Whether it is too soon to tell changes of `meta`, because telling the last ones was so much.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// Notes that changes were told in so many messages: in a room where many change at once, they are told as often as
    /// makes a million messages a second.
    pub(super) fn told(&mut self, messages: usize, now: Instant) {
        let rest = Duration::from_micros(u64::try_from(messages).unwrap_or(u64::MAX));
        self.rests_until = Some(now + rest);
    }

    /// Ends the crowd where few enough are left; true if it just ended.
    pub(super) fn calm_down(&mut self) -> bool {
        let few = self.members.len() <= CALM && self.bytes <= MAX_LIST_BYTES / 2;
        let calm = self.crowded && few;
        self.crowded &= !calm;
        calm
    }

    /// The list as one connection is to see it, of a crowd only its beginning. What has not been told of others yet is
    /// not in it either: it will be.
    pub(super) fn members(&self, to: ConnectionId) -> Members {
        let most = if self.crowded {
            MAX_CROWD_LISTED
        } else {
            self.order.len()
        };
        let said = |user: &UserId| {
            let untold = self.changed.get(user).filter(|untold| untold.by != to);
            let now = || Some(&self.members.get(user)?.json);
            untold.map(|untold| &untold.before).or_else(now)
        };
        Members {
            list: list(self.order.values().filter_map(said).take(most)),
            count: self.crowded.then_some(self.members.len()),
        }
    }

    /// Members with ids after the given one, in order of their ids.
    pub(super) fn page(&self, after: &str, limit: usize) -> Vec<(UserId, Data)> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let page = self.members.range::<str, _>(behind).take(limit);
        page.map(|(user, member)| (user.clone(), member.json.clone()))
            .collect()
    }
}

impl Members {
    /// Nobody.
    pub(super) fn none() -> Self {
        Self {
            list: Data::stored("[]".into()),
            count: None,
        }
    }
}

fn list<'a>(items: impl Iterator<Item = &'a Data>) -> Data {
    // One pass to find out how long it will be, so that it is not moved about while others wait for the lock.
    let items: Vec<&Data> = items.collect();
    let length: usize = items.iter().map(|item| item.as_str().len() + 1).sum();
    let mut json = String::with_capacity(length + 2);
    json.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        json.push_str(item.as_str());
    }
    json.push(']');
    Data::stored(json)
}

fn said(user: &str, meta: &Data, since: OffsetDateTime) -> Data {
    let mut json = String::with_capacity(user.len() + meta.as_str().len() + 48);
    json.push_str(user);
    let _ = write!(
        json,
        r#","meta":{},"since":"{}"}}"#,
        meta.as_str(),
        timestamp(since)
    );
    Data::stored(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TAB: ConnectionId = ConnectionId(1);
    const OTHER: ConnectionId = ConnectionId(2);

    fn user(id: &str) -> User {
        User {
            id: UserId::parse(id).unwrap(),
            name: id.into(),
            admin: false,
        }
    }

    fn meta(text: &str) -> Option<Data> {
        Some(Data::parse(text).unwrap())
    }

    #[test]
    fn a_user_with_three_tabs_is_one_member() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        let ada = user("ada");
        assert!(matches!(
            presence.enter(&ada, None, TAB, now),
            Change::Joined(_)
        ));
        assert_eq!(presence.enter(&ada, None, TAB, now), Change::None);
        assert_eq!(presence.leave(&ada.id), Change::None);
        let expected =
            r#"[{"user":{"id":"ada","name":"ada"},"meta":{},"since":"1970-01-01T00:00:00.000Z"}]"#;
        assert_eq!(presence.members(OTHER).list.as_str(), expected);
        assert!(matches!(presence.leave(&ada.id), Change::Left(_)));
        assert!(presence.is_empty());
    }

    #[test]
    fn who_comes_back_in_time_was_never_away() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        let (ada, begin) = (user("ada"), Instant::now());
        let until = begin + Duration::from_secs(10);
        presence.enter(&ada, None, TAB, now);
        assert!(presence.drop_out(&ada.id, until));
        assert_eq!(presence.expire(&ada.id, begin), Change::None);
        assert_eq!(presence.enter(&ada, None, TAB, now), Change::None);
        assert_eq!(presence.expire(&ada.id, until), Change::None);
        presence.drop_out(&ada.id, until);
        assert!(matches!(presence.expire(&ada.id, until), Change::Left(_)));
    }

    #[test]
    fn only_another_meta_is_a_change() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        let ada = user("ada");
        presence.enter(&ada, meta(r#"{"busy":true}"#), TAB, now);
        assert_eq!(
            presence.update(&ada.id, meta(r#"{"busy": true}"#), TAB),
            Change::None
        );
        assert_eq!(presence.update(&ada.id, meta("{}"), TAB), Change::Updated);
        assert_eq!(presence.enter(&ada, meta("7"), TAB, now), Change::Updated);
        let changed = presence.take_changed();
        assert!(changed.len() == 1 && changed[0].1.as_str().contains(r#""meta":7,"#));
        assert!(presence.take_changed().is_empty());
    }

    #[test]
    fn a_list_says_of_others_what_they_will_not_be_told_again() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        let ada = user("ada");
        presence.enter(&ada, meta("1"), TAB, now);
        presence.update(&ada.id, meta("2"), TAB);
        let seen = |presence: &Presence, by| {
            let list = presence.members(by).list;
            ["1", "2"].map(|meta| list.as_str().contains(&format!(r#""meta":{meta},"#)))
        };
        assert_eq!(seen(&presence, TAB), [false, true]);
        assert_eq!(seen(&presence, OTHER), [true, false]);
        presence.take_changed();
        assert_eq!(seen(&presence, OTHER), [false, true]);
    }

    #[test]
    fn a_change_that_another_tab_takes_back_is_told() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        let ada = user("ada");
        presence.enter(&ada, meta("1"), TAB, now);
        presence.enter(&ada, None, OTHER, now);
        presence.update(&ada.id, meta("2"), TAB);
        presence.update(&ada.id, meta("1"), OTHER);
        // The first tab was answered with what it said.
        let told = presence.take_changed();
        assert!(told.len() == 1 && told[0].0 == OTHER, "{told:?}");
        // Alone, it has taken back what nobody else was told.
        presence.update(&ada.id, meta("2"), TAB);
        presence.update(&ada.id, meta("1"), TAB);
        assert!(presence.take_changed().is_empty());
    }

    #[test]
    fn much_that_is_said_of_few_is_a_crowd_too() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        let much = meta(&format!("\"{}\"", "x".repeat(2_000)));
        let users: Vec<User> = (0..500).map(|n| user(&format!("u{n}"))).collect();
        for user in &users {
            presence.enter(user, much.clone(), TAB, now);
        }
        assert!(presence.is_crowded());
        assert!(presence.members(OTHER).list.as_str().len() < MAX_LIST_BYTES);
        for user in &users {
            presence.update(&user.id, meta("1"), TAB);
        }
        assert!(presence.calm_down());
        let list = presence.members(OTHER).list;
        assert_eq!(list.as_str().matches("\"meta\":1,").count(), 500);
        for user in &users {
            presence.remove(&user.id);
        }
        assert_eq!(presence.bytes, 0);
    }

    #[test]
    fn where_much_changes_at_once_it_is_told_less_often() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        presence.told(40, now);
        assert!(!presence.rests(now + Duration::from_millis(100)));
        presence.told(2_000 * 2_000, now);
        assert!(presence.rests(now + Duration::from_secs(3)));
        assert!(!presence.rests(now + Duration::from_secs(4)));
    }

    #[test]
    fn of_a_crowd_a_few_are_listed_and_all_are_counted() {
        let (mut presence, now) = (Presence::default(), OffsetDateTime::UNIX_EPOCH);
        for n in 0..=MAX_LISTED {
            assert!(!presence.is_crowded());
            presence.enter(&user(&format!("u{n}")), None, TAB, now);
        }
        assert!(presence.is_crowded());
        assert_eq!(presence.members(OTHER).count, Some(MAX_LISTED + 1));
        // Nobody will be told of a change, so a list says how it is.
        presence.update(&user("u0").id, meta("7"), TAB);
        let list = presence.members(OTHER).list;
        assert!(list.as_str().contains(r#""meta":7,"#), "{list:?}");
        for n in CALM..=MAX_LISTED {
            assert!(!presence.calm_down());
            presence.leave(&user(&format!("u{n}")).id);
        }
        assert!(presence.calm_down() && !presence.calm_down());
        assert_eq!(presence.members(OTHER).count, None);
    }
}
