//! Passwords: argon2id with OWASP's parameters, on few threads at a time, because each hash takes 19 MiB.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

/// The longest password, in bytes; longer ones are refused before they cost anything.
pub(crate) const MAX_BYTES: usize = 1_024;
/// The shortest password, in characters (ASVS 5.0, 6.2.1).
pub(crate) const MIN_CHARS: usize = 8;

/// How many may wait for a hash.
const MAX_WAITING: usize = 64;

/// Hashes and checks passwords. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    threads: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// What an unknown user's password is checked against, so that it takes as long as a wrong one.
    decoy: Arc<str>,
}

/// Too many logins at once.
#[derive(Debug, thiserror::Error)]
#[error("too many logins at once")]
pub(crate) struct Busy;

fn argon2() -> Argon2<'static> {
    Argon2::new(
        Algorithm::Argon2id,
        Version::V0x13,
        Params::new(19 * 1024, 2, 1, None).unwrap_or_default(),
    )
}

fn hash(password: &str) -> String {
    let hash = argon2().hash_password(password.as_bytes());
    hash.expect("a password within the bounds can be hashed")
        .to_string()
}

fn matches(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

impl Passwords {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let decoy = hash(&uuid::Uuid::new_v4().to_string()).into();
        Self {
            threads: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            decoy,
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Busy> {
        self.compute(move || hash(&password)).await
    }

    /// Whether a password is the one that was hashed; against nothing it never is, and takes as long.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Busy> {
        let (known, decoy) = (hash.is_some(), Arc::clone(&self.decoy));
        self.compute(move || matches(&password, hash.as_deref().unwrap_or(&decoy)) && known)
            .await
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Busy)?;
        let thread = Arc::clone(&self.threads)
            .acquire_owned()
            .await
            .map_err(|_| Busy)?;
        let computed = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            work()
        });
        computed.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_itself_and_nothing_else() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse ☂".into()).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(
            passwords
                .verify("correct horse ☂".into(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("correct horse".into(), Some(hash))
                .await
                .unwrap()
        );
        assert!(!passwords.verify("anything".into(), None).await.unwrap());
    }
}
