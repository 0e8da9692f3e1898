//! Reloading pages in `dev`: where a file changes, whoever is connected hears `reload` in `global`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::notify::event::ModifyKind;
use ::notify::{EventKind, RecursiveMode, Watcher};
use anyhow::Context;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::app::Roomcast;
use crate::realtime::{Channel, Data, Event, EventName};

/// How long it has to be quiet before changes are told: a build writes many files.
const QUIET: Duration = Duration::from_millis(150);
/// How long they are gathered at most.
const LONGEST: Duration = Duration::from_secs(2);
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
    let (changed, mut changes) = mpsc::channel(64);
    let mut watching = ::notify::recommended_watcher(move |event: ::notify::Result<_>| {
        if let Ok(event) = event
            && is_change(&event)
        {
            // While it is full, something is about to be told anyway.
            let _ = changed.try_send(event.paths);
        }
    })?;
    for path in paths {
        let watched = watching.watch(path, RecursiveMode::Recursive);
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
                paths = gathered(&mut changes) => paths,
                () = stopping.cancelled() => return,
            };
            let files = paths.iter().map(|path| below(&roots, path));
            let files: Vec<_> = files.take(MAX_NAMED).collect();
            tracing::info!(files = paths.len(), "files have changed; pages reload");
            registry.publish(&Event {
                channels: [global.clone()].into(),
                name: reload.clone(),
                data: Data::from_value(&json!({ "files": files })),
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

/// That a file is read is told, too: a page that is loaded must not have itself loaded again.
fn is_change(event: &::notify::Event) -> bool {
    match event.kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(kind) => !matches!(kind, ModifyKind::Metadata(_)),
        _ => false,
    }
}

/// What has changed, once it is quiet again. The watcher ends with the server.
async fn gathered(changes: &mut mpsc::Receiver<Vec<PathBuf>>) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    match changes.recv().await {
        Some(first) => paths.extend(first),
        None => std::future::pending().await,
    }
    let mut longest = std::pin::pin!(sleep(LONGEST));
    loop {
        tokio::select! {
            more = timeout(QUIET, changes.recv()) => match more {
                Ok(Some(more)) => paths.extend(more),
                Ok(None) | Err(_) => return paths,
            },
            () = &mut longest => return paths,
        }
    }
}

/// A path as people know it: nobody else is to learn where the folder is.
fn below(roots: &[PathBuf], path: &Path) -> String {
    let inside = roots.iter().find_map(|root| path.strip_prefix(root).ok());
    let inside = inside.filter(|inside| !inside.as_os_str().is_empty());
    let named = inside.or_else(|| path.file_name().map(Path::new));
    named.unwrap_or(path).display().to_string()
}
