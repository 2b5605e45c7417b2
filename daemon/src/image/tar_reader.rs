//! Reads tar streams that nobody vouches for: ustar, old GNU, star and PAX, with bounds on everything that is kept in
//! memory.
//!
//! Only the header layout comes from the `tar` crate. Its iterator is not used because it reads PAX records and long
//! names of any length into memory and does not know PAX sparse files. Where readers in the wild disagree about what
//! a header means (and so about where the next one begins), the archive is refused rather than interpreted.

mod pax;
mod sparse;

use std::io::{self, ErrorKind, Read};

use tar::Header;

use self::pax::Pax;
pub(crate) use self::sparse::Region;

const BLOCK: usize = 512;

/// Longest PAX record set or GNU long name, in bytes; GNU tar and Go write a few hundred.
const MAX_EXTENSION: u64 = 1 << 20;

/// Most extension headers (`x`, `g`, `L`, `K`) in front of one member; writers need at most one of each.
const MAX_EXTENSIONS_PER_MEMBER: usize = 8;

/// Why a stream is not a tar archive that can be read. Texts contain the words of Go's `archive/tar`.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("archive/tar: invalid tar header")]
    Header,
    #[error("archive/tar: invalid tar header: {0}")]
    Field(&'static str),
    #[error("archive/tar: header field too long")]
    TooLong,
    #[error("unhandled tar header type {0}")]
    Type(char),
    #[error(transparent)]
    Read(io::Error),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Read(error) }
    }
}

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    HardLink,
    Character,
    Block,
    Fifo,
}

/// A member's header, with all extensions applied.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: (i64, u32),
    /// Length of the file in bytes, with its holes.
    pub(crate) size: u64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the stored data belongs, when the file is sparse.
    pub(crate) regions: Option<Vec<Region>>,
}

/// Iterates over the members of a stream; reading from it reads the stored data of the current member.
#[derive(Debug)]
pub(crate) struct TarReader<R> {
    input: R,
    data_left: u64,
    padding: u64,
    global: Pax,
    saw_end: bool,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, data_left: 0, padding: 0, global: Pax::default(), saw_end: false }
    }

    /// Whether the two zero blocks that end an archive were there; without them the stream may have been cut off.
    pub(crate) fn saw_end(&self) -> bool {
        self.saw_end
    }

    /// Returns the stream behind the archive.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// Returns the next member, or `None` at the end of the archive. Skips what was not read of the one before.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        self.skip(self.data_left + self.padding)?;
        (self.data_left, self.padding) = (0, 0);
        if self.saw_end {
            return Ok(None);
        }
        let mut local: Option<Pax> = None;
        let (mut long_path, mut long_link) = (None, None);
        for _ in 0..=MAX_EXTENSIONS_PER_MEMBER {
            let Some(header) = self.header()? else {
                let dangling = local.is_some() || long_path.is_some() || long_link.is_some();
                return if dangling { Err(TarError::Truncated) } else { Ok(None) };
            };
            match header.as_old().linkflag[0] {
                b'g' => self.global = Pax::parse(&self.extension(&header)?)?,
                b'x' if local.is_none() => local = Some(Pax::parse(&self.extension(&header)?)?),
                b'L' if long_path.is_none() => long_path = Some(until_nul(&self.extension(&header)?).to_vec()),
                b'K' if long_link.is_none() => long_link = Some(until_nul(&self.extension(&header)?).to_vec()),
                b'x' | b'L' | b'K' => return Err(TarError::Field("repeated extension")),
                _ => {
                    let pax = self.global.overlaid_with(local.unwrap_or_default());
                    return self.member(&header, pax, long_path, long_link).map(Some);
                }
            }
        }
        Err(TarError::Field("too many extensions"))
    }

    fn member(
        &mut self,
        header: &Header,
        mut pax: Pax,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Member, TarError> {
        let old = header.as_old();
        // Readers differ in which of the two wins, so that one archive would unpack to two trees.
        if (long_path.is_some() && pax.path.is_some()) || (long_link.is_some() && pax.link_path.is_some()) {
            return Err(TarError::Field("both a GNU and a PAX name"));
        }
        let path = match pax.sparse.name.take().or(pax.path.take()).or(long_path) {
            Some(path) => path,
            None => ustar_path(header),
        };
        let link = pax.link_path.take().or(long_link).unwrap_or_else(|| until_nul(&old.linkname).to_vec());
        if path.contains(&0) || link.contains(&0) {
            return Err(TarError::Field("NUL in a name"));
        }
        let stored = match pax.size {
            Some(size) => size,
            None => unsigned(&old.size, "size")?,
        };
        let flag = old.linkflag[0];
        let kind = match flag {
            0 if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(TarError::Type(char::from(other))),
        };
        match kind {
            Kind::File => {}
            // The one such type for which GNU tar, Go and Python agree that there is no data whatever the header says.
            Kind::HardLink => {}
            _ if stored != 0 => return Err(TarError::Field("data where there can be none")),
            _ => {}
        }
        let device = match (kind, header.as_ustar(), header.as_gnu()) {
            (Kind::Character | Kind::Block, Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
            (Kind::Character | Kind::Block, None, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
            (Kind::Character | Kind::Block, None, None) => return Err(TarError::Field("device number")),
            _ => (&[0; 8], &[0; 8]),
        };
        let device = (narrow(unsigned(device.0, "device number")?)?, narrow(unsigned(device.1, "device number")?)?);
        let mut member = Member {
            path,
            kind,
            // Some writers put the file type there as well.
            mode: u32::try_from(unsigned(&old.mode, "mode")? & 0o7777).map_err(|_masked| TarError::Header)?,
            uid: narrow(pax.uid.map_or_else(|| unsigned(&old.uid, "uid"), Ok)?)?,
            gid: narrow(pax.gid.map_or_else(|| unsigned(&old.gid, "gid"), Ok)?)?,
            mtime: pax.mtime.map_or_else(|| Ok((number(&old.mtime, "mtime")?, 0)), Ok::<_, TarError>)?,
            size: stored,
            link,
            device,
            xattrs: pax.xattrs,
            regions: None,
        };
        if kind == Kind::File {
            self.data_left = stored;
            self.padding = stored.next_multiple_of(BLOCK as u64) - stored;
            sparse::locate(self, header, flag == b'S', &pax.sparse, &mut member)?;
        }
        Ok(member)
    }

    /// Reads one header block; `None` at the end of the archive or, between members, of the stream.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let Some(header) = self.block()? else { return Ok(None) };
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            // Some writers leave out the second one.
            return match self.block()? {
                Some(second) if second.as_bytes().iter().any(|&byte| byte != 0) => Err(TarError::Header),
                _ => {
                    self.saw_end = true;
                    Ok(None)
                }
            };
        }
        let expected = unsigned(&header.as_old().cksum, "checksum")?;
        let blank = 148..156;
        let bytes = || header.as_bytes().iter().enumerate();
        let at = |index: usize, byte: u8| if blank.contains(&index) { b' ' } else { byte };
        let plain: u64 = bytes().map(|(index, &byte)| u64::from(at(index, byte))).sum();
        // Historic writers summed signed characters.
        let signed: i64 = bytes().map(|(index, &byte)| i64::from(at(index, byte).cast_signed())).sum();
        if plain == expected || i64::try_from(expected).is_ok_and(|expected| expected == signed) {
            Ok(Some(header))
        } else {
            Err(TarError::Header)
        }
    }

    fn block(&mut self) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut header.as_mut_bytes()[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(header))
    }

    /// Reads the body of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = unsigned(&header.as_old().size, "size")?;
        if size > MAX_EXTENSION {
            return Err(TarError::TooLong);
        }
        let mut body = Vec::new();
        let read = self.input.by_ref().take(size).read_to_end(&mut body)?;
        if read as u64 != size {
            return Err(TarError::Truncated);
        }
        self.skip(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(body)
    }

    fn skip(&mut self, count: u64) -> Result<(), TarError> {
        if io::copy(&mut self.input.by_ref().take(count), &mut io::sink())? == count {
            Ok(())
        } else {
            Err(TarError::Truncated)
        }
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads stored data of the current member; a stream that ends inside it is an error, not an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.data_left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.data_left -= count as u64;
        Ok(count)
    }
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn ustar_path(header: &Header) -> Vec<u8> {
    let name = until_nul(&header.as_old().name);
    let Some(ustar) = header.as_ustar() else { return name.to_vec() };
    // star keeps times in the last bytes of what is all prefix elsewhere.
    let is_star = header.as_bytes()[508..] == *b"tar\0";
    let prefix = until_nul(if is_star { &ustar.prefix[..131] } else { &ustar.prefix });
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn narrow(value: u64) -> Result<u32, TarError> {
    u32::try_from(value).map_err(|_too_large| TarError::Field("number out of range"))
}

fn unsigned(field: &[u8], name: &'static str) -> Result<u64, TarError> {
    u64::try_from(number(field, name)?).map_err(|_negative| TarError::Field(name))
}

/// Decodes a numeric field: octal text, or big-endian two's complement when its first bit is set.
fn number(field: &[u8], name: &'static str) -> Result<i64, TarError> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0]) - 0x100 } else { i128::from(field[0] & 0x7f) };
        let value = field[1..].iter().fold(first, |value, &byte| (value << 8) | i128::from(byte));
        return i64::try_from(value).map_err(|_too_large| TarError::Field(name));
    }
    let text = until_nul(field).trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| i64::from_str_radix(text, 8).ok())
        .ok_or(TarError::Field(name))
}
