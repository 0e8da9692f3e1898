//! `roomcast user add`: making an account from a terminal, also while a server runs on the same database.

use std::io::BufRead;

use sqlx::Connection;
use time::OffsetDateTime;

use crate::config::Config;
use crate::password::{MAX_BYTES, MIN_CHARS, Passwords};
use crate::realtime::{User, UserId};
use crate::store::{Db, Store, new_id, users};

/// The longest name of a user, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Adds a user to the database of a configuration.
///
/// # Errors
/// When the name or password is refused, the name is taken, or the database cannot be used.
pub async fn add(
    config: &Config,
    name: &str,
    admin: bool,
    password: String,
) -> anyhow::Result<User> {
    let store = Store::open(&config.database_url, config.durability).await?;
    let mut db = store.writer().await?;
    let user = insert(&mut db, &Passwords::new(), name, admin, password).await?;
    db.close().await?;
    store.close().await;
    Ok(user)
}

/// Adds a user.
pub(crate) async fn insert(
    db: &mut Db,
    passwords: &Passwords,
    name: &str,
    admin: bool,
    password: String,
) -> anyhow::Result<User> {
    check_username(name)
        .map_err(|expected| anyhow::anyhow!("the name {name:?} cannot be used: {expected}"))?;
    check_password(&password)
        .map_err(|expected| anyhow::anyhow!("the password cannot be used: {expected}"))?;
    let hash = passwords.hash(password).await?;
    let user = new_user(name, admin);
    match users::insert(db, &user, &hash, OffsetDateTime::now_utc()).await {
        Ok(()) => Ok(user),
        Err(error) if is_taken(&error) => anyhow::bail!("there is a user {name:?} already"),
        Err(error) => Err(error.into()),
    }
}

/// Reads a password: the first line of what comes.
///
/// # Errors
/// When there is none.
pub fn read_password(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        !password.is_empty(),
        "no password came\n  example   printf %s \"$PASSWORD\" | roomcast user add ada --password-stdin"
    );
    Ok(password.to_owned())
}

/// A user that is not stored yet.
pub(crate) fn new_user(name: &str, admin: bool) -> User {
    let id = UserId::parse(&new_id()).expect("a UUID is fit to be an id");
    User {
        id,
        name: name.into(),
        admin,
    }
}

/// What a name must be like, if this one is not.
pub(crate) fn check_username(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if (1..=MAX_NAME_CHARS).contains(&length)
        && !name.chars().any(|c| is_unseen(c) || c.is_whitespace())
    {
        return Ok(());
    }
    Err(format!(
        "expected 1 to {MAX_NAME_CHARS} characters without white space and control characters"
    ))
}

/// What a password must be like, if this one is not.
pub(crate) fn check_password(password: &str) -> Result<(), String> {
    if password.chars().count() >= MIN_CHARS && password.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(format!(
        "expected at least {MIN_CHARS} characters and at most {MAX_BYTES} bytes"
    ))
}

/// Control characters, and those that are blank, hide, or turn the direction of what stands after them.
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        )
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Whether an insert failed because the name is somebody's.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(database) if database.is_unique_violation())
}
