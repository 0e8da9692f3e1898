//! TLS, for whoever has no proxy in front: the certificate, and reading it anew when it has changed.
//!
//! The provider is named here and never installed for the whole process, which belongs to the application.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How often the files are looked at. Certificates change every few weeks, and old and new ones overlap by days.
const LOOK: Duration = Duration::from_secs(10);

/// What HTTP is spoken, the best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The server's certificate and key.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// When the files were last changed, as far as the file system says.
    written: [Option<SystemTime>; 2],
}

impl Certificate {
    /// Reads what the settings name; nothing, where they name none.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it is to be; the message says which, and why.
    pub fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        match (&config.tls_cert, &config.tls_key) {
            (Some(chain), Some(key)) => Self::read(chain, key).map(Some),
            _ => Ok(None),
        }
    }

    fn read(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let written = written(chain, key);
        let config = read(chain, key)?;
        Ok(Self {
            chain: chain.to_path_buf(),
            key: key.to_path_buf(),
            current: Mutex::new(Current { config, written }),
        })
    }

    /// What the next connection is secured with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.lock().unwrap().config)
    }

    /// Reads the files anew. Where they are no good the old certificate stays, and the log says why.
    pub fn reload(&self) {
        let written = written(&self.chain, &self.key);
        let read = read(&self.chain, &self.key);
        let mut current = self.current.lock().unwrap();
        // Also of those that are no good, so that they are complained of once.
        current.written = written;
        match read {
            Ok(config) => {
                current.config = config;
                tracing::info!("the certificate was read anew");
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the new certificate is no good; the old one stays"
            ),
        }
    }

    /// Reads the files anew whenever they have changed.
    pub(crate) async fn follow(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stopping.cancelled() => return,
            }
            let now = written(&self.chain, &self.key);
            let changed = self.current.lock().unwrap().written != now;
            if changed {
                self.reload();
            }
        }
    }
}

fn written(chain: &Path, key: &Path) -> [Option<SystemTime>; 2] {
    [chain, key].map(|path| path.metadata().and_then(|file| file.modified()).ok())
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    const CHAIN: &str =
        "ROOMCAST_TLS_CERT must be a file with a certificate, and those that vouch for it, in PEM";
    const KEY: &str = "ROOMCAST_TLS_KEY must be a file with the certificate's private key, in PEM";
    let named = |what: &str, path: &Path| format!("{}: {what}", path.display());
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .with_context(|| named(CHAIN, chain))?;
    anyhow::ensure!(!certificates.is_empty(), named(CHAIN, chain));
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| named(KEY, key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, secret)
        .with_context(|| named("the key is not that of the certificate", key))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}
