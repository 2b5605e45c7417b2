//! The four encodings of sparse files in tar: old GNU, and PAX 0.0, 0.1 and 1.0.

use std::io::Read;

use tar::Header;

use super::pax::decimal;
use super::{BLOCK, Member, TarError, TarReader, unsigned};

/// Most data regions of one file; arbitrary, 6 MiB of memory.
const MAX_REGIONS: usize = 1 << 18;

/// A run of stored data and where in the file it belongs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The `GNU.sparse.*` records of one member.
#[derive(Debug, Default, Clone)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    minor: Option<u64>,
    real_size: Option<u64>,
    /// Offsets and lengths in turn, from the repeated records of 0.0 or the list of 0.1.
    map: Option<Vec<u64>>,
}

impl SparseRecords {
    pub(super) fn apply(&mut self, name: &[u8], value: &[u8]) -> Result<(), TarError> {
        match name {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = decimal(value)?,
            b"minor" => self.minor = decimal(value)?,
            b"size" | b"realsize" => self.real_size = decimal(value)?,
            b"map" => {
                let numbers = value.split(|&byte| byte == b',').filter(|number| !number.is_empty());
                self.map = Some(numbers.map(required).collect::<Result<_, _>>()?);
            }
            b"offset" | b"numbytes" => {
                let map = self.map.get_or_insert_default();
                if map.len().is_multiple_of(2) != (name == b"offset") {
                    return Err(TarError::Field("sparse map"));
                }
                map.push(required(value)?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Finds out whether the member is sparse; if so, sets its true size and its regions.
pub(super) fn locate<R: Read>(
    reader: &mut TarReader<R>,
    header: &Header,
    old_gnu: bool,
    records: &SparseRecords,
    member: &mut Member,
) -> Result<(), TarError> {
    let (numbers, size) = if old_gnu {
        if records.map.is_some() || records.major.is_some() {
            return Err(TarError::Field("two sparse maps"));
        }
        old_gnu_map(reader, header)?
    } else if records.major == Some(1) && records.minor == Some(0) {
        (map_in_data(reader)?, records.real_size.ok_or(TarError::Field("sparse size"))?)
    } else if let Some(map) = &records.map {
        (map.clone(), records.real_size.ok_or(TarError::Field("sparse size"))?)
    } else if records.major.is_some() {
        return Err(TarError::Field("sparse version"));
    } else {
        return Ok(());
    };
    member.regions = Some(regions(&numbers, size, reader.data_left)?);
    member.size = size;
    Ok(())
}

/// Pairs the numbers up and checks that the regions are in order, inside the file, and made of exactly the stored data.
fn regions(numbers: &[u64], size: u64, stored: u64) -> Result<Vec<Region>, TarError> {
    let invalid = TarError::Field("sparse map");
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > MAX_REGIONS || i64::try_from(size).is_err() {
        return Err(invalid);
    }
    let (mut end, mut total) = (0, 0_u64);
    for &[offset, length] in pairs {
        let next = offset.checked_add(length);
        match next {
            Some(next) if offset >= end && next <= size => end = next,
            _ => return Err(invalid),
        }
        total += length;
    }
    if total != stored {
        return Err(invalid);
    }
    Ok(pairs.iter().map(|&[offset, length]| Region { offset, length }).filter(|region| region.length > 0).collect())
}

fn old_gnu_map<R: Read>(reader: &mut TarReader<R>, header: &Header) -> Result<(Vec<u64>, u64), TarError> {
    let gnu = header.as_gnu().ok_or(TarError::Field("sparse map"))?;
    let mut numbers = Vec::new();
    let mut extended = gnu.isextended[0] != 0;
    let mut entries: Vec<u8> = header.as_bytes()[386..386 + 4 * 24].to_vec();
    loop {
        for entry in entries.as_chunks::<24>().0 {
            if entry[0] == 0 && entry[12] == 0 {
                break;
            }
            numbers.push(unsigned(&entry[..12], "sparse map")?);
            numbers.push(unsigned(&entry[12..], "sparse map")?);
        }
        if numbers.len() > 2 * MAX_REGIONS {
            return Err(TarError::Field("sparse map"));
        }
        if !extended {
            return Ok((numbers, unsigned(&gnu.realsize, "sparse size")?));
        }
        let block = reader.block()?.ok_or(TarError::Truncated)?;
        entries = block.as_bytes()[..21 * 24].to_vec();
        extended = block.as_bytes()[504] != 0;
    }
}

/// PAX 1.0 keeps the map in front of the data: a count and then offsets and lengths, one decimal number a line.
fn map_in_data<R: Read>(reader: &mut TarReader<R>) -> Result<Vec<u64>, TarError> {
    let mut numbers = Vec::new();
    let mut line = Vec::new();
    let mut expected = None;
    let mut block = [0; BLOCK];
    loop {
        reader.read_exact(&mut block)?;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > 20 {
                    return Err(TarError::Field("sparse map"));
                }
                continue;
            }
            let number = required(&line)?;
            line.clear();
            match expected {
                None => {
                    let count = usize::try_from(number).ok().filter(|&count| count <= MAX_REGIONS);
                    expected = Some(2 * count.ok_or(TarError::Field("sparse map"))?);
                }
                Some(_) => numbers.push(number),
            }
            if expected == Some(numbers.len()) {
                // The rest of the block is padding.
                return Ok(numbers);
            }
        }
    }
}

fn required(value: &[u8]) -> Result<u64, TarError> {
    decimal(value)?.ok_or(TarError::Field("sparse map"))
}
