//! PAX extended header records: `<length> <key>=<value>\n`.

use super::TarError;
use super::sparse::SparseRecords;

/// Longest value of one extended attribute: the kernel's XATTR_SIZE_MAX.
const MAX_XATTR: usize = 64 << 10;

/// Most extended attributes of one member; arbitrary, images have one or two.
const MAX_XATTRS: usize = 128;

/// The records that mean something to us, parsed.
#[derive(Debug, Default, Clone)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: SparseRecords,
}

impl Pax {
    pub(super) fn parse(mut body: &[u8]) -> Result<Self, TarError> {
        let mut pax = Self::default();
        while !body.is_empty() {
            let (key, value, rest) = record(body).ok_or(TarError::Field("PAX record"))?;
            body = rest;
            pax.apply(key, value)?;
        }
        Ok(pax)
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), TarError> {
        // An empty value takes a record back; the header's own field counts again.
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link_path = bytes(),
            b"size" => self.size = decimal(value)?,
            b"uid" => self.uid = decimal(value)?,
            b"gid" => self.gid = decimal(value)?,
            b"mtime" => self.mtime = timestamp(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    if value.len() > MAX_XATTR || name.is_empty() || self.xattrs.len() >= MAX_XATTRS {
                        return Err(TarError::Field("extended attribute"));
                    }
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.apply(name, value)?;
                }
            }
        }
        Ok(())
    }

    /// Returns these (global) records with a member's own on top.
    pub(super) fn overlaid_with(&self, local: Self) -> Self {
        let mut xattrs = self.xattrs.clone();
        xattrs.retain(|(name, _)| local.xattrs.iter().all(|(own, _)| own != name));
        xattrs.extend(local.xattrs);
        Self {
            path: local.path.or_else(|| self.path.clone()),
            link_path: local.link_path.or_else(|| self.link_path.clone()),
            size: local.size.or(self.size),
            uid: local.uid.or(self.uid),
            gid: local.gid.or(self.gid),
            mtime: local.mtime.or(self.mtime),
            xattrs,
            sparse: local.sparse,
        }
    }
}

/// Splits the first record off: its key, its value, and what follows.
fn record(body: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = body.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
    let (record, rest) = body.split_at_checked(length)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    // Values may hold any byte; a NUL in a key would make two keys of one for readers written in C.
    (!key.is_empty() && !key.contains(&0)).then_some((key, value, rest))
}

/// Parses a non-negative decimal number; `None` when the record is empty.
pub(super) fn decimal(value: &[u8]) -> Result<Option<u64>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    let digits = value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()).flatten();
    let number = digits.and_then(|text| text.parse().ok()).filter(|&number: &u64| i64::try_from(number).is_ok());
    number.map(Some).ok_or(TarError::Field("PAX number"))
}

/// Parses seconds with an optional sign and fraction; digits beyond nanoseconds are dropped.
fn timestamp(value: &[u8]) -> Result<Option<(i64, u32)>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let text = std::str::from_utf8(value).ok()?;
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !seconds.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let seconds: i64 = seconds.parse().ok()?;
        let nanos: u32 = format!("{fraction:0<9.9}").parse().ok()?;
        Some(match (negative, nanos) {
            (false, _) => (seconds, nanos),
            (true, 0) => (-seconds, 0),
            (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
        })
    };
    parse().map(Some).ok_or(TarError::Field("PAX time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_sign_and_their_nanoseconds() {
        assert_eq!(timestamp(b"1700000000.123456789").unwrap(), Some((1_700_000_000, 123_456_789)));
        assert_eq!(timestamp(b"1.5").unwrap(), Some((1, 500_000_000)));
        assert_eq!(timestamp(b"1.0000000019").unwrap(), Some((1, 1)));
        assert_eq!(timestamp(b"-1.25").unwrap(), Some((-2, 750_000_000)));
        assert_eq!(timestamp(b"-7").unwrap(), Some((-7, 0)));
        assert!(timestamp(b"1.2.3").is_err());
        assert!(timestamp(b"--1").is_err());
    }

    #[test]
    fn broken_records_are_refused() {
        for body in [
            &b"5 a=b"[..],
            b"6 a=bc\n",
            b"99 a=b\n",
            b"a=b\n",
            b" a=b\n",
            b"5 =b\n",
            b"7 a\0=b\n",
            b"-6 a=b\n",
            b"4 ab\n",
        ] {
            assert!(Pax::parse(body).is_err(), "{body:?}");
        }
        assert_eq!(Pax::parse(b"11 path=ab\n11 path=cd\n").unwrap().path.as_deref(), Some(&b"cd"[..]));
        assert_eq!(Pax::parse(b"11 path=ab\n8 path=\n").unwrap().path, None);
    }
}
