//! What a program did to its files, and what it sent, in order: told by strace, to be played again up to any instant.

use std::collections::BTreeMap;
use std::path::Path;

use super::Dice;

/// The kernel keeps or loses as much at once.
const SECTOR: usize = 512;

/// One thing that the program did.
#[derive(Debug)]
pub(crate) enum Act {
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: String,
        length: usize,
    },
    /// What was written to the file before this is on the disk.
    Sync {
        file: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        file: String,
    },
    /// To a socket.
    Send {
        bytes: Vec<u8>,
    },
}

/// Whether a file is of the database.
fn is_ours(name: &str) -> bool {
    // What is only shared between processes is made anew.
    name.starts_with("test.db") && !name.ends_with("-shm")
}

/// Reads what `strace -f -y -xx` wrote. What began stands where it began, so a sync is never said to have kept more than
/// it did.
pub(crate) fn read(text: &str) -> Vec<Act> {
    text.lines().filter_map(act).collect()
}

fn act(line: &str) -> Option<Act> {
    let (_, call) = line.split_once(' ')?;
    let (name, arguments) = call.trim_start().split_once('(')?;
    if arguments.contains(" = -1 ") {
        return None;
    }
    let arguments = arguments.trim_end_matches(" <unfinished ...>");
    let mut strings = arguments.split('"').skip(1).step_by(2).map(unescape);
    let path = arguments
        .split_once('<')
        .and_then(|(_, path)| path.split_once('>'));
    let path = path.map(|(path, _)| String::from_utf8(unescape(path)).unwrap());
    let file = path.as_deref().map(base).unwrap_or_default();
    // Past the string there are only numbers.
    let mut numbers = arguments
        .rsplit(['"', '>'])
        .next()?
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<usize>().ok());
    match name {
        "pwrite64" if is_ours(&file) => {
            let (bytes, length) = (strings.next()?, numbers.next()?);
            assert_eq!(bytes.len(), length, "strace cut it off");
            let offset = numbers.next()?;
            Some(Act::Write {
                file,
                offset,
                bytes,
            })
        }
        "write" | "writev" | "pwritev" if is_ours(&file) => panic!("{name} of {file}"),
        "ftruncate" if is_ours(&file) => Some(Act::Cut {
            file,
            length: numbers.next()?,
        }),
        "fsync" | "fdatasync" if is_ours(&file) => Some(Act::Sync { file }),
        "rename" => {
            let mut name = || String::from_utf8(strings.next()?).ok();
            let (from, to) = (base(&name()?), base(&name()?));
            is_ours(&from).then_some(Act::Rename { from, to })
        }
        "unlink" => {
            let file = base(&String::from_utf8(strings.next()?).ok()?);
            is_ours(&file).then_some(Act::Remove { file })
        }
        "write" | "writev" | "sendto" if path.as_ref()?.starts_with("socket:") => Some(Act::Send {
            bytes: strings.collect::<Vec<_>>().concat(),
        }),
        _ => None,
    }
}

fn base(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// `\x41\x42`
fn unescape(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).unwrap())
        .collect()
}

/// What a loss of power does with what was written and never synced.
#[derive(Debug, Clone)]
pub(crate) enum Unsynced {
    /// All of it is lost.
    Lost,
    /// Each write is kept, lost, or kept in part.
    Random(Dice),
}

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>, kept: usize) {
        match self {
            Self::Write { offset, bytes } => {
                let bytes = &bytes[..kept.min(bytes.len())];
                if !bytes.is_empty() {
                    let end = offset + bytes.len();
                    content.resize(content.len().max(end), 0);
                    content[*offset..end].copy_from_slice(bytes);
                }
            }
            Self::Cut { length } => content.resize(*length, 0),
        }
    }
}

/// The files of a disk whose power fails.
#[derive(Debug, Default)]
pub(crate) struct Disk(BTreeMap<String, File>);

impl Disk {
    /// After all of this, one by one.
    pub(crate) fn after<'a>(acts: impl IntoIterator<Item = &'a Act>) -> Self {
        let mut disk = Self::default();
        for act in acts {
            disk.takes(act);
        }
        disk
    }

    fn takes(&mut self, act: &Act) {
        match act {
            Act::Write {
                file,
                offset,
                bytes,
            } => self
                .0
                .entry(file.clone())
                .or_default()
                .unsynced
                .push(Change::Write {
                    offset: *offset,
                    bytes: bytes.clone(),
                }),
            Act::Cut { file, length } => {
                let change = Change::Cut { length: *length };
                self.0
                    .entry(file.clone())
                    .or_default()
                    .unsynced
                    .push(change);
            }
            Act::Sync { file } => {
                let file = self.0.entry(file.clone()).or_default();
                for change in std::mem::take(&mut file.unsynced) {
                    change.apply(&mut file.synced, usize::MAX);
                }
            }
            // The program syncs the folder before it relies on one of these.
            Act::Rename { from, to } => {
                if let Some(file) = self.0.remove(from) {
                    self.0.insert(to.clone(), file);
                }
            }
            Act::Remove { file } => drop(self.0.remove(file)),
            Act::Send { .. } => {}
        }
    }

    /// Puts what is left of each file into a folder, over what is there: a file of the same name stays the same file.
    pub(crate) fn fails(mut self, unsynced: &mut Unsynced, folder: &Path) {
        for (name, file) in &mut self.0 {
            for change in &file.unsynced {
                let kept = match unsynced {
                    Unsynced::Lost => 0,
                    Unsynced::Random(dice) => match dice.roll(3) {
                        0 => 0,
                        1 => usize::MAX,
                        _ => dice.roll(10) as usize * SECTOR,
                    },
                };
                if kept > 0 {
                    change.apply(&mut file.synced, kept);
                }
            }
            std::fs::write(folder.join(name), &file.synced).unwrap();
        }
    }
}
