//! Who a process runs as: `user[:group]` looked up in the container's own `/etc/passwd` and `/etc/group`.
//!
//! Digits are always an id and never a name. The files belong to the image: they are opened inside its root, must be
//! regular, and are read up to a bound.

use std::fs::File;
use std::io::Read;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::tree::Tree;
use crate::fault::{Call, Fault};

/// What is read of either file, in bytes; what is beyond is ignored.
const MAX_FILE: u64 = 1 << 20;
/// How many lines are looked at, and how long one may be.
const MAX_LINES: usize = 10_000;
const MAX_LINE: usize = 32 * 1024;
/// The largest id that the kernel and the C libraries agree on.
const MAX_ID: u32 = i32::MAX as u32;

/// The identity of a process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The primary group, then the supplementary ones.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Looks a user up in a container's tree.
pub(crate) fn look_up(tree: &Tree, user: &str, additional_groups: &[String]) -> Result<User, Fault> {
    let passwd = read(tree, "/etc/passwd")?;
    let group = read(tree, "/etc/group")?;
    resolve(&passwd, &group, user, additional_groups)
}

fn read(tree: &Tree, path: &str) -> Result<String, Fault> {
    let opened = match tree.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        other => other.call(|| format!("openat2(root, {path:?})"))?,
    };
    let about = rustix::fs::fstat(&opened).call(|| format!("fstat({path:?})"))?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(Fault::rule(format!("{path} is not a regular file")));
    }
    let size = u64::try_from(about.st_size).unwrap_or(0).min(MAX_FILE);
    // One more than there is, so that the end is seen by the read that gets everything.
    let mut bytes = Vec::with_capacity(size as usize + 1);
    File::from(opened).take(MAX_FILE).read_to_end(&mut bytes).call(|| format!("read({path:?})"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The fields of each line that has any.
fn records(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines()
        .take(MAX_LINES)
        .filter(|line| line.len() <= MAX_LINE)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split(':').collect())
}

/// What a name or a number in a specification says.
enum Wanted<'a> {
    Id(u32),
    Name(&'a str),
}

fn wanted(text: &str) -> Result<Wanted<'_>, Fault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Wanted::Name(text));
    }
    match text.parse::<u32>() {
        Ok(id) if id <= MAX_ID => Ok(Wanted::Id(id)),
        _ => Err(Fault::rule("parse(user)").about("uids and gids must be in range 0-2147483647")),
    }
}

fn resolve(passwd: &str, group: &str, user: &str, additional_groups: &[String]) -> Result<User, Fault> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    let wanted_user = if user_part.is_empty() { Wanted::Id(0) } else { wanted(user_part)? };
    let entry = records(passwd).find_map(|fields| {
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
        let uid = uid.parse::<u32>().ok()?;
        let matches = match wanted_user {
            Wanted::Id(id) => uid == id,
            Wanted::Name(wanted) => *name == wanted,
        };
        matches.then(|| ((*name).to_owned(), uid, gid.parse::<u32>().unwrap_or(0), rest.get(1).copied().unwrap_or("")))
    });
    let (name, uid, mut gid, home) = match (entry, &wanted_user) {
        (Some((name, uid, gid, home)), _) => (Some(name), uid, gid, home),
        (None, Wanted::Id(id)) => (None, *id, 0, ""),
        (None, Wanted::Name(name)) => {
            return Err(Fault::rule("look up the user")
                .about(format!("unable to find user {name}: no matching entries in passwd file")));
        }
    };
    if uid > MAX_ID || gid > MAX_ID {
        return Err(Fault::rule("look up the user").about("uids and gids must be in range 0-2147483647"));
    }
    let mut groups = Vec::new();
    if group_part.is_empty() {
        if let Some(name) = &name {
            groups.extend(memberships(group, name));
        }
    } else {
        gid = group_id(group, group_part)?;
    }
    groups.insert(0, gid);
    for additional in additional_groups {
        groups.push(group_id(group, additional)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|group| seen.insert(*group));
    Ok(User { uid, gid, groups, home: if home.is_empty() { "/".to_owned() } else { home.to_owned() } })
}

/// The groups whose list of members names this user.
fn memberships(group: &str, user: &str) -> Vec<u32> {
    records(group)
        .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|member| member == user)))
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .filter(|gid| *gid <= MAX_ID)
        .collect()
}

fn group_id(group: &str, text: &str) -> Result<u32, Fault> {
    let name = match wanted(text)? {
        Wanted::Id(id) => return Ok(id),
        Wanted::Name(name) => name,
    };
    records(group)
        .find(|fields| fields.first() == Some(&name))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .filter(|gid| *gid <= MAX_ID)
        .ok_or_else(|| {
            Fault::rule("look up the group")
                .about(format!("unable to find group {name}: no matching entries in group file"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nweb:x:1000:1001::/srv:/bin/sh\n77:x:5:5::/x:\nbad\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\nmedia:x:44:web,root\n";

    fn of(user: &str) -> User {
        resolve(PASSWD, GROUP, user, &[]).expect(user)
    }

    #[test]
    fn a_user_has_its_group_its_memberships_and_its_home() {
        let web = User { uid: 1000, gid: 1001, groups: vec![1001, 44], home: "/srv".into() };
        assert_eq!(of("web"), web);
        assert_eq!(of("1000"), web);
        assert_eq!(of("").home, "/root");
    }

    #[test]
    fn an_explicit_group_replaces_the_memberships() {
        assert_eq!(of("web:media").groups, [44]);
        assert_eq!((of("web:7").gid, of(":7").uid), (7, 0));
    }

    #[test]
    fn digits_are_an_id_even_if_a_user_has_that_name() {
        assert_eq!((of("77").uid, of("77").gid), (77, 0));
        assert_eq!(of("77").home, "/");
    }

    #[test]
    fn what_is_not_found_is_said_as_docker_says_it() {
        let subject = |user: &str, more: &[String]| resolve(PASSWD, GROUP, user, more).expect_err(user).subject;
        assert_eq!(
            subject("nobody", &[]).as_deref(),
            Some("unable to find user nobody: no matching entries in passwd file")
        );
        let missing = Some("unable to find group none: no matching entries in group file");
        assert_eq!(subject("web:none", &[]).as_deref(), missing);
        assert_eq!(subject("", &["none".into()]).as_deref(), missing);
    }

    #[test]
    fn ids_out_of_range_are_refused() {
        for user in ["2147483648", "-1", "0:4294967296", "99999999999999999999"] {
            assert!(resolve(PASSWD, GROUP, user, &[]).is_err(), "{user}");
        }
    }
}
