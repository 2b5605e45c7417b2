//! The container's log: segments of records, as `protocol::log` describes them.
//!
//! A log that cannot be written (a full disk, mostly) never stops the container: what does not fit is not logged,
//! and the next record is tried again.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use pinnace_helper::protocol::LogSpec;
use pinnace_helper::protocol::log::{self, HEADER_SIZE, Position, Stream};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::launch::now_ns;

/// The log of one run, which is continued where the one before ended.
#[derive(Debug)]
pub(super) struct LogFile {
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
    position: Position,
    max_size: u64,
    max_files: u64,
}

impl LogFile {
    /// Opens the log for appending: in a segment after the newest one, which a crash may have torn.
    pub(super) fn open(spec: &LogSpec) -> Self {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, &spec.directory, flags, Mode::empty()).ok();
        let newest = std::fs::read_dir(&spec.directory)
            .ok()
            .into_iter()
            .flatten()
            .filter_map(|entry| log::parse_segment_name(entry.ok()?.file_name().to_str()?))
            .max();
        let segment = newest.map_or(0, |newest| newest.saturating_add(1));
        let mut log = Self {
            directory,
            file: None,
            position: Position { segment, offset: 0 },
            max_size: spec.max_size,
            max_files: u64::from(spec.max_files.max(1)),
        };
        log.begin_segment();
        log
    }

    /// Returns where the next record begins.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Returns how much may be read for one record, in bytes: a record does not exceed a segment.
    pub(super) fn max_payload(&self) -> usize {
        let room = self.max_size.saturating_sub(HEADER_SIZE as u64).max(MIN_PAYLOAD);
        usize::try_from(room).unwrap_or(log::MAX_PAYLOAD).min(log::MAX_PAYLOAD)
    }

    /// Appends one record.
    pub(super) fn append(&mut self, stream: Stream, payload: &[u8]) {
        let size = (HEADER_SIZE + payload.len()) as u64;
        if self.position.offset > 0 && self.position.offset.saturating_add(size) > self.max_size {
            self.position = Position { segment: self.position.segment.saturating_add(1), offset: 0 };
            self.file = None;
        }
        if self.file.is_none() {
            self.begin_segment();
        }
        let Some(file) = &self.file else { return };
        let header = log::encode_header(stream, now_ns(), payload);
        match rustix::io::writev(file, &[IoSlice::new(&header), IoSlice::new(payload)]) {
            Ok(written) if written as u64 == size => self.position.offset += size,
            // Part of a record would hide every later one: it is cut off again.
            Ok(_) | Err(_) => drop(rustix::fs::ftruncate(file, self.position.offset)),
        }
    }

    fn begin_segment(&mut self) {
        let Some(directory) = &self.directory else { return };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = log::segment_name(self.position.segment);
        let opened = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600));
        self.file = opened.ok();
        if let Some(dropped) = self.position.segment.checked_sub(self.max_files) {
            self.remove_up_to(dropped);
        }
    }

    /// Removes the segments that are too old; those before them are gone, unless the limit was lowered.
    fn remove_up_to(&self, newest: u64) {
        let Some(directory) = &self.directory else { return };
        let mut segment = Some(newest);
        while let Some(number) = segment {
            if rustix::fs::unlinkat(directory, log::segment_name(number), AtFlags::empty()).is_err() {
                return;
            }
            segment = number.checked_sub(1);
        }
    }
}

/// What a record may hold whatever the segments' size, in bytes.
const MIN_PAYLOAD: u64 = 4096;
