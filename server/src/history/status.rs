//! How history is, for people.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::STALLED;

/// As `/api/v1/capabilities` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Status {
    pub(crate) state: HistoryState,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<PathBuf>,
    /// What is wrong, and what to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub(crate) remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HistoryState {
    /// Traces are kept.
    Recording,
    /// Nothing is written for now; what was kept is readable.
    Paused,
    /// The file system takes nothing: what is told waits for it, as much as there is room for.
    Stalled,
    /// The directory cannot be used: traces live as long as the server.
    Memory,
    /// Nobody wants it.
    Off,
}

impl HistoryState {
    /// All of them, with their names.
    pub(crate) const ALL: [(Self, &str); 5] = [
        (Self::Recording, "recording"),
        (Self::Paused, "paused"),
        (Self::Stalled, "stalled"),
        (Self::Memory, "memory"),
        (Self::Off, "off"),
    ];
}

impl Status {
    pub(super) fn off() -> Self {
        let (detail, remedy) = ("started with --history off", "start it without --history off");
        Self { state: HistoryState::Off, directory: None, detail: detail.into(), remedy: remedy.into() }
    }

    pub(super) fn memory(detail: String, remedy: String) -> Self {
        Self { state: HistoryState::Memory, directory: None, detail, remedy }
    }

    pub(super) fn recording(directory: &Path) -> Self {
        let directory = Some(directory.to_owned());
        Self { state: HistoryState::Recording, directory, detail: String::new(), remedy: String::new() }
    }

    /// A file was damaged, and another one is written now.
    pub(super) fn began_anew(&mut self, aside: &Path) {
        self.resume();
        self.detail =
            format!("the file of earlier traces was damaged, and is set aside as {}", aside.display());
        self.remedy =
            "look for errors of that file system; when nothing of the file is needed, remove it".into();
    }

    /// Somebody removed the file, and another one is written now.
    pub(super) fn was_removed(&mut self) {
        self.resume();
        self.detail = "the file of earlier traces was removed while it was used".into();
        self.remedy = "if there is a copy, put it back while the server is stopped".into();
    }

    pub(super) fn pause(&mut self, detail: String, remedy: &str) {
        (self.state, self.detail, self.remedy) = (HistoryState::Paused, detail, remedy.into());
    }

    /// The writer waits for the file system, and cannot say so itself.
    pub(super) fn stall(&mut self) {
        if self.state == HistoryState::Recording {
            self.state = HistoryState::Stalled;
            self.detail = format!("for {STALLED:?} or longer the file system has not taken what is written");
            self.remedy =
                "see whether it is frozen or overloaded, and the system's log for errors of its device"
                    .into();
        }
    }

    pub(super) fn resume(&mut self) {
        (self.state, self.detail, self.remedy) = (HistoryState::Recording, String::new(), String::new());
    }
}
