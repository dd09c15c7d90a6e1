//! A file in which tasks write down that they ran: one line and one write
//! each, so that no death can take a line along.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::{TempDir, os};

/// Adds a line; for the inside of a task.
pub fn note(path: &str, line: impl std::fmt::Display) {
    os::append(path, &format!("{line}\n"));
}

/// The reader's side.
pub struct Ledger {
    file: PathBuf,
    _dir: TempDir,
}

impl Ledger {
    pub fn new(name: &str) -> Self {
        let dir = TempDir::new(name);
        Ledger { file: dir.0.join("ledger"), _dir: dir }
    }

    pub fn path(&self) -> String {
        self.file.to_str().unwrap().to_owned()
    }

    /// The path of another file in the same directory.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.file.with_file_name(name)
    }

    /// Every line with how often it is there.
    pub fn lines(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for line in std::fs::read_to_string(&self.file).unwrap_or_default().lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        lines
    }

    pub fn count(&self, line: impl ToString) -> usize {
        self.lines().get(&line.to_string()).copied().unwrap_or(0)
    }

    /// Fails if any line is there twice.
    #[track_caller]
    pub fn nothing_ran_twice(&self) {
        let twice: Vec<_> = self.lines().into_iter().filter(|(_, n)| *n > 1).collect();
        assert!(twice.is_empty(), "ran more than once: {twice:?}");
    }
}
