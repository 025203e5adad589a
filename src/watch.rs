//! Watching the configuration's files: their directories, for a ConfigMap swaps links and editors replace files.
//!
//! A thread of its own follows every symbolic link on the way to a file and watches each directory where a step could change.
//! Whatever happens there, the files' contents decide: only a content that differs counts as a change, so that a busy
//! directory, an editor's temporary files or a touch reload nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::gateway::Gateway;

/// Links followed on the way to one file, as the kernel does.
const MAX_LINKS: usize = 40;
/// Within a directory that never falls quiet, a change waits at most this many times the debounce.
const MOST_DEBOUNCES: u32 = 10;

/// What each file holds, as a digest; `None` when it cannot be read.
pub type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Reads what `files` hold. What is no file, such as a pipe, is left alone: it may be read once only, or hang.
#[must_use]
pub fn contents<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Contents {
    let digest = |file: &PathBuf| {
        file.is_file().then(|| std::fs::read(file).ok()).flatten().map(|bytes| Sha256::digest(bytes).into())
    };
    files.into_iter().map(|file| (file.clone(), digest(file))).collect()
}

enum Word {
    /// Something happened in a watched directory, or the settings name other files now.
    Look,
    /// Nobody watches any more.
    Stop,
}

/// A watch over the files of a gateway's settings; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    words: Sender<Word>,
    changed: Arc<Notify>,
}

impl Watch {
    /// Begins to watch; `held` is what the files held when they were read.
    ///
    /// # Errors
    /// The system gives no watcher, or no thread.
    pub fn begin(
        gateway: Arc<Gateway>,
        held: Contents,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (words, heard) = channel();
        let changed = Arc::new(Notify::new());
        let events = words.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading of the files is an event too.
            if event.map_or(true, |event| tells_of_change(event.kind)) && events.send(Word::Look).is_err() {
                tracing::debug!("the watch has ended");
            }
        })?;
        let eye = Eye { gateway, watcher, changed: changed.clone(), directories: BTreeSet::new() };
        std::thread::Builder::new()
            .name("headgate-watch".to_owned())
            .spawn(move || eye.watch(held, &heard))?;
        Ok(Self { words, changed })
    }

    /// Waits until a file holds something else than before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The settings may name other files now.
    pub fn look_again(&self) {
        self.say(Word::Look);
    }

    fn say(&self, word: Word) {
        if self.words.send(word).is_err() {
            tracing::debug!("the watch has ended");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.say(Word::Stop);
    }
}

fn tells_of_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// The watching thread's own.
struct Eye {
    gateway: Arc<Gateway>,
    watcher: RecommendedWatcher,
    changed: Arc<Notify>,
    directories: BTreeSet<PathBuf>,
}

impl Eye {
    fn watch(mut self, mut known: Contents, heard: &Receiver<Word>) {
        loop {
            let files = self.files();
            self.place(&files);
            let now = contents(&files);
            // A file that is watched only now was read a moment ago.
            if now.iter().any(|(file, holds)| known.get(file).is_some_and(|held| held != holds)) {
                self.changed.notify_one();
            }
            known = now;
            if !self.wait(heard) {
                return;
            }
        }
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let settings = self.gateway.settings();
        settings.files.iter().chain(&settings.referenced).cloned().collect()
    }

    /// Places every watch anew: a directory may have been replaced by another of its name.
    fn place(&mut self, files: &BTreeSet<PathBuf>) {
        for directory in &self.directories {
            if let Err(error) = self.watcher.unwatch(directory) {
                tracing::debug!(directory = %directory.display(), %error, "was no longer watched");
            }
        }
        let mut directories = BTreeSet::new();
        for file in files {
            steps(file, &mut directories);
        }
        for directory in &directories {
            if let Err(error) = self.watcher.watch(directory, RecursiveMode::NonRecursive)
                && !self.directories.contains(directory)
            {
                tracing::warn!(directory = %directory.display(), %error, "changes here will not be seen");
            }
        }
        self.directories = directories;
    }

    /// Waits for a word, then for quiet. False when it is over.
    fn wait(&self, heard: &Receiver<Word>) -> bool {
        let Ok(Word::Look) = heard.recv() else { return false };
        let quiet = self.gateway.settings().server.reload_debounce;
        let clock = self.gateway.clock;
        let latest = clock.now() + quiet.saturating_mul(MOST_DEBOUNCES);
        loop {
            let left = latest.since(clock.now()).min(quiet);
            match heard.recv_timeout(left.max(Duration::from_millis(1))) {
                Ok(Word::Stop) => return false,
                Ok(Word::Look) if clock.now() < latest => {}
                Ok(Word::Look) | Err(_) => return true,
            }
        }
    }
}

/// The directories in which a step on the way to `file` could change.
fn steps(file: &Path, into: &mut BTreeSet<PathBuf>) {
    let Ok(mut path) = std::path::absolute(file) else { return };
    for _ in 0..MAX_LINKS {
        let Some((link, rest)) = first_link(&path) else { break };
        let Some(directory) = link.parent().map(Path::to_owned) else { break };
        let Ok(target) = std::fs::read_link(&link) else { break };
        path = plain(&directory.join(target).join(rest));
        into.insert(directory);
    }
    // What does not exist yet will appear in the nearest directory that does.
    into.extend(path.ancestors().skip(1).find(|above| above.is_dir()).map(Path::to_owned));
}

/// The first symbolic link on the way, and what of the path comes after it.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut way = PathBuf::new();
    let mut rest = path.components();
    while let Some(step) = rest.next() {
        way.push(step);
        if way.is_symlink() {
            return Some((way, rest.as_path().to_owned()));
        }
    }
    None
}

/// The path without `.` and `..`; right as long as no link stands before a `..`, which [`steps`] sees to.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for step in path.components() {
        match step {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => out.push(step),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_directory_on_the_way_through_links_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mount = root.join("mount");
        std::fs::create_dir_all(mount.join("..1")).unwrap();
        std::fs::write(mount.join("..1/a.yaml"), "").unwrap();
        symlink("..1", mount.join("..data")).unwrap();
        symlink("..data/a.yaml", mount.join("a.yaml")).unwrap();
        symlink("mount", root.join("current")).unwrap();
        let mut found = BTreeSet::new();
        steps(&root.join("current/a.yaml"), &mut found);
        assert_eq!(found, BTreeSet::from([root.clone(), mount.clone(), mount.join("..1")]));
        let mut absent = BTreeSet::new();
        steps(&root.join("later/on/a.yaml"), &mut absent);
        assert_eq!(absent, BTreeSet::from([root]));
    }
}
