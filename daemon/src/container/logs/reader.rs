//! The reader proper: segments to records to chunks for the client. Blocking.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use api_schema::stream as frames;
use bytes::{Bytes, BytesMut};
use pinnace_helper::protocol::log::{self, HEADER_SIZE, Header, Stream};

use super::LogQuery;
use crate::units;

/// Bytes that are read at once, and the size from which a chunk is passed on (measured: more gives nothing).
const READ: usize = 256 * 1024;

/// The longest line that is kept together for its timestamp; a longer one is passed on in parts (Docker: 16 KiB).
const MAX_LINE: usize = 1 << 20;

pub(super) struct Reader {
    directory: PathBuf,
    query: LogQuery,
    segment: Option<Segment>,
    /// The number of the segment to open next; `None` before the first was looked for.
    next: Option<u64>,
    lines: Option<Lines>,
    out: BytesMut,
    done: bool,
}

struct Segment {
    number: u64,
    file: File,
    /// Offset of the first byte of `buffer`, in the file.
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
}

/// Puts records together into lines.
struct Lines {
    partial: [Option<Partial>; 2],
    /// The last lines, when only those are wanted and the log is not read to its present end.
    tail: Option<VecDeque<(Stream, i64, Vec<u8>)>>,
    keep: usize,
}

impl Lines {
    /// Passes a complete line on, or keeps it for the tail.
    fn push(&mut self, query: &LogQuery, out: &mut BytesMut, stream: Stream, line: Partial) {
        match &mut self.tail {
            Some(tail) => {
                tail.push_back((stream, line.time_ns, line.bytes));
                if tail.len() > self.keep {
                    tail.pop_front();
                }
            }
            None => push_line(query, out, stream, line.time_ns, &line.bytes),
        }
    }

    /// Nothing follows: what has no newline is a line, too.
    fn end(&mut self, query: &LogQuery, out: &mut BytesMut) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(line) = self.partial[stream as usize - 1].take() {
                self.push(query, out, stream, line);
            }
        }
    }
}

struct Partial {
    time_ns: i64,
    bytes: Vec<u8>,
}

impl Reader {
    pub(super) fn new(directory: PathBuf, query: LogQuery) -> Self {
        let lines = (query.timestamps || query.tail.is_some()).then(|| Lines {
            partial: [None, None],
            tail: query.tail.map(|_| VecDeque::new()),
            keep: query.tail.unwrap_or(0),
        });
        let out = BytesMut::with_capacity(READ * 2);
        Self { directory, query, segment: None, next: None, lines, out, done: false }
    }

    /// Passes on what there is now. Returns false if nothing that is wanted can follow, or if `emit` did.
    pub(super) fn read_available(&mut self, mut emit: impl FnMut(Bytes) -> bool) -> io::Result<bool> {
        let mut out = std::mem::take(&mut self.out);
        let result = self.read_segments(&mut out, &mut emit);
        if let Some(lines) = &mut self.lines {
            if !self.query.follow {
                lines.end(&self.query, &mut out);
            }
            // The end that a tail is counted from; what follows is passed on as it comes.
            for (stream, time_ns, line) in lines.tail.take().into_iter().flatten() {
                push_line(&self.query, &mut out, stream, time_ns, &line);
            }
        }
        let alive = flush(&mut out, &mut emit);
        self.out = out;
        result?;
        Ok(alive && !self.done)
    }

    fn read_segments(&mut self, out: &mut BytesMut, emit: &mut impl FnMut(Bytes) -> bool) -> io::Result<()> {
        loop {
            if self.done {
                return Ok(());
            }
            if self.segment.is_none() && !self.open_next()? {
                return Ok(());
            }
            // Opened before this one is read to its end: nothing is appended to it once the next exists.
            let following = self.following_segment()?;
            if !self.read_segment(out, emit)? {
                self.done = true;
                return Ok(());
            }
            match following {
                Some(number) => {
                    self.segment = None;
                    self.next = Some(number);
                }
                None => return Ok(()),
            }
        }
    }

    fn open_next(&mut self) -> io::Result<bool> {
        let wanted = match self.next {
            Some(number) => number,
            None => match segments(&self.directory)?.first() {
                Some(first) => *first,
                None => return Ok(false),
            },
        };
        match File::open(self.directory.join(log::segment_name(wanted))) {
            Ok(file) => {
                self.segment = Some(Segment { number: wanted, file, offset: 0, buffer: Vec::new(), start: 0 });
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Rotated away meanwhile: go on with the oldest that there is.
                self.next = segments(&self.directory)?.into_iter().find(|number| *number > wanted);
                if self.next.is_some() { self.open_next() } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }

    fn following_segment(&self) -> io::Result<Option<u64>> {
        let current = self.segment.as_ref().map_or(0, |segment| segment.number);
        Ok(segments(&self.directory)?.into_iter().find(|number| *number > current))
    }

    /// Reads the segment to its present end. Returns false if nothing that is wanted can follow.
    fn read_segment(&mut self, out: &mut BytesMut, emit: &mut impl FnMut(Bytes) -> bool) -> io::Result<bool> {
        let Some(segment) = &mut self.segment else { return Ok(true) };
        loop {
            let more = segment.fill()?;
            while let Some((header, payload)) = segment.record() {
                if let Some(end) = self.query.end
                    && (segment.number, segment.position()) >= (end.segment, end.offset)
                {
                    return Ok(false);
                }
                if self.query.until.is_some_and(|until| header.time_ns > until) {
                    return Ok(false);
                }
                let range = segment.start + HEADER_SIZE..segment.start + HEADER_SIZE + payload;
                let bytes = &segment.buffer[range];
                if header.matches(bytes) {
                    take(&self.query, &mut self.lines, out, &header, bytes);
                }
                segment.start += HEADER_SIZE + payload;
                if out.len() >= READ && !flush(out, emit) {
                    return Ok(false);
                }
            }
            if !more {
                return Ok(true);
            }
        }
    }
}

impl Segment {
    /// Reads more into the buffer; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.offset += self.start as u64;
        self.start = 0;
        let length = self.buffer.len();
        self.buffer.resize(length + READ, 0);
        let read = self.file.read(&mut self.buffer[length..]);
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(length + count);
        Ok(read? > 0)
    }

    /// Returns the next record's header and the size of its payload, if all of it is in the buffer. What is no record
    /// (the zeros that a power cut leaves) ends the segment.
    fn record(&self) -> Option<(Header, usize)> {
        let rest = &self.buffer[self.start..];
        let header = log::decode_header(rest.first_chunk::<HEADER_SIZE>()?)?;
        let payload = header.length as usize;
        (rest.len() >= HEADER_SIZE + payload).then_some((header, payload))
    }

    fn position(&self) -> u64 {
        self.offset + self.start as u64
    }
}

fn take(query: &LogQuery, lines: &mut Option<Lines>, out: &mut BytesMut, header: &Header, bytes: &[u8]) {
    let Some(lines) = lines else {
        if !wanted(query, header.stream, header.time_ns) {
        } else if query.multiplexed {
            // A line a frame, as dockerd sends them: clients take a frame for a line.
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                push(query, out, header.stream, &[line]);
            }
        } else {
            out.extend_from_slice(bytes);
        }
        return;
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let slot = &mut lines.partial[header.stream as usize - 1];
        let partial = slot.get_or_insert_with(|| Partial { time_ns: header.time_ns, bytes: Vec::new() });
        let end = rest.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let room = MAX_LINE.saturating_sub(partial.bytes.len()).max(1);
        let length = end.unwrap_or(rest.len()).min(room);
        let (line, after) = rest.split_at(length);
        partial.bytes.extend_from_slice(line);
        rest = after;
        if line.ends_with(b"\n") || partial.bytes.len() >= MAX_LINE {
            let Some(line) = slot.take() else { return };
            lines.push(query, out, header.stream, line);
        }
    }
}

fn wanted(query: &LogQuery, stream: Stream, time_ns: i64) -> bool {
    let selected = match stream {
        Stream::Stdout => query.stdout,
        Stream::Stderr => query.stderr,
    };
    selected && query.since.is_none_or(|since| time_ns >= since)
}

fn push_line(query: &LogQuery, out: &mut BytesMut, stream: Stream, time_ns: i64, line: &[u8]) {
    if !wanted(query, stream, time_ns) {
        return;
    }
    if query.timestamps {
        push(query, out, stream, &[&units::log_timestamp(time_ns), b" ", line]);
    } else {
        push(query, out, stream, &[line]);
    }
}

fn push(query: &LogQuery, out: &mut BytesMut, stream: Stream, parts: &[&[u8]]) {
    if query.multiplexed {
        let stream = match stream {
            Stream::Stdout => frames::Stream::Stdout,
            Stream::Stderr => frames::Stream::Stderr,
        };
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out.extend_from_slice(&frames::encode_header(stream, length));
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn flush(out: &mut BytesMut, emit: &mut impl FnMut(Bytes) -> bool) -> bool {
    out.is_empty() || emit(out.split().freeze())
}

/// Returns the numbers of the segments, ascending. A container that never ran has none.
fn segments(directory: &std::path::Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers: Vec<u64> =
        entries.flatten().filter_map(|entry| log::parse_segment_name(entry.file_name().to_str()?)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn query() -> LogQuery {
        LogQuery {
            stdout: true,
            stderr: true,
            follow: false,
            since: None,
            until: None,
            timestamps: false,
            tail: None,
            multiplexed: false,
            end: None,
        }
    }

    fn write(directory: &std::path::Path, segment: u64, records: &[(Stream, i64, &str)]) {
        let path = directory.join(log::segment_name(segment));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        for (stream, time, text) in records {
            file.write_all(&log::encode_header(*stream, *time, text.as_bytes())).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    fn read(directory: &std::path::Path, query: LogQuery) -> String {
        let mut reader = Reader::new(directory.to_owned(), query);
        let mut text = Vec::new();
        reader
            .read_available(|chunk| {
                text.extend_from_slice(&chunk);
                true
            })
            .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn records_of_several_segments_come_in_order() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 1, &[(Stream::Stdout, 1, "a"), (Stream::Stderr, 2, "b\n")]);
        write(directory.path(), 2, &[(Stream::Stdout, 3, "c\n")]);
        assert_eq!(read(directory.path(), query()), "ab\nc\n");
        assert_eq!(read(directory.path(), LogQuery { stderr: false, ..query() }), "ac\n");
        assert_eq!(read(directory.path(), LogQuery { since: Some(2), until: Some(2), ..query() }), "b\n");
    }

    #[test]
    fn lines_that_come_in_pieces_have_the_time_of_their_first_byte() {
        let directory = tempfile::tempdir().unwrap();
        write(
            directory.path(),
            1,
            &[(Stream::Stdout, 1, "he"), (Stream::Stderr, 2, "x\n"), (Stream::Stdout, 3, "llo\nlast")],
        );
        assert_eq!(
            read(directory.path(), LogQuery { timestamps: true, ..query() }),
            "1970-01-01T00:00:00.000000002Z x\n1970-01-01T00:00:00.000000001Z hello\n1970-01-01T00:00:00.000000003Z last"
        );
    }

    #[test]
    fn a_tail_is_counted_in_lines() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 1, &[(Stream::Stdout, 1, "1\n2\n3"), (Stream::Stdout, 2, "3\n4\n")]);
        assert_eq!(read(directory.path(), LogQuery { tail: Some(2), ..query() }), "33\n4\n");
        assert_eq!(read(directory.path(), LogQuery { tail: Some(0), ..query() }), "");
        assert_eq!(read(directory.path(), LogQuery { tail: Some(100), ..query() }), "1\n2\n33\n4\n");
    }

    #[test]
    fn zeros_and_a_torn_record_at_the_end_are_not_read() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 1, &[(Stream::Stdout, 1, "good\n")]);
        let path = directory.path().join(log::segment_name(1));
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&log::encode_header(Stream::Stdout, 2, b"torn")[..20]).unwrap();
        file.write_all(&[0; 100]).unwrap();
        write(directory.path(), 2, &[(Stream::Stdout, 3, "after\n")]);
        assert_eq!(read(directory.path(), query()), "good\nafter\n");
    }

    #[test]
    fn an_end_position_cuts_exactly_between_two_records() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 1, &[(Stream::Stdout, 1, "before"), (Stream::Stdout, 2, "after")]);
        let end = log::Position { segment: 1, offset: (HEADER_SIZE + 6) as u64 };
        assert_eq!(read(directory.path(), LogQuery { end: Some(end), ..query() }), "before");
    }

    #[test]
    fn frames_carry_the_stream_and_the_length() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), 1, &[(Stream::Stderr, 1, "e")]);
        let text = read(directory.path(), LogQuery { multiplexed: true, ..query() });
        assert_eq!(text.as_bytes(), frames::encode(frames::Stream::Stderr, b"e"));
    }
}
