//! Reloading pages in `dev`: where a file changes, whoever is connected hears `reload` in `global`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use notify_debouncer_mini::notify::RecursiveMode;
use notify_debouncer_mini::{DebounceEventResult, new_debouncer};
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use crate::app::Roomcast;
use crate::realtime::{Channel, Data, Event, EventName};

/// How long changes gather: a build writes many files.
const PAUSE: Duration = Duration::from_millis(150);
/// Files that are named in one event.
const MAX_NAMED: usize = 20;

/// Where the pages are that a debug build serves; nothing, where there are none, or they are a part of the program.
pub fn pages() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist");
    (cfg!(debug_assertions) && built.is_dir()).then_some(built)
}

/// Watches folders and files until the server ends.
///
/// # Errors
/// When one of them cannot be watched; the message says which.
pub fn watch(app: &Roomcast, paths: &[PathBuf]) -> anyhow::Result<()> {
    // Told while it is full, a change is lost in many others: pages reload anyway.
    let (changed, mut changes) = mpsc::channel(16);
    let mut watching = new_debouncer(PAUSE, move |changes: DebounceEventResult| {
        let Ok(changes) = changes else { return };
        let paths: Vec<PathBuf> = changes.into_iter().map(|change| change.path).collect();
        let _ = changed.try_send(paths);
    })?;
    for path in paths {
        let watched = watching.watcher().watch(path, RecursiveMode::Recursive);
        watched.with_context(|| format!("{} cannot be watched", path.display()))?;
    }
    let (registry, stopping) = (app.registry().clone(), app.stopping().clone());
    let roots = paths.to_vec();
    let global: Channel = "global".parse()?;
    let reload: EventName = "reload".parse()?;
    app.tasks().spawn(async move {
        let _watching = watching;
        loop {
            let paths = tokio::select! {
                paths = changes.recv() => paths,
                () = stopping.cancelled() => return,
            };
            let Some(paths) = paths else { return };
            let files: Vec<_> = paths.iter().map(|path| below(&roots, path)).collect();
            tracing::info!(files = files.len(), "files have changed; pages reload");
            registry.publish(&Event {
                channels: [global.clone()].into(),
                name: reload.clone(),
                data: Data::from_value(&json!({ "files": &files[..files.len().min(MAX_NAMED)] })),
                origin: None,
                by: None,
                except: [].into(),
                time: OffsetDateTime::now_utc(),
                position: None,
            });
        }
    });
    Ok(())
}

/// A path as people know it: nobody else is to learn where the folder is.
fn below(roots: &[PathBuf], path: &Path) -> String {
    let inside = roots.iter().find_map(|root| path.strip_prefix(root).ok());
    let inside = inside.filter(|inside| !inside.as_os_str().is_empty());
    let named = inside.or_else(|| path.file_name().map(Path::new));
    named.unwrap_or(path).display().to_string()
}
