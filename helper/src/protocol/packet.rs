//! The packet codec: one packet is one JSON message with its descriptors, in blocking and non-blocking form.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest packet, in bytes. Specs travel in memfds, so that messages stay far below it (arbitrary).
pub const MAX_PACKET: usize = 64 * 1024;

/// The most descriptors in one packet. The kernel allows 253 (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 64;

/// Sends one message with descriptors beside it.
///
/// On a non-blocking socket the error is [`io::ErrorKind::WouldBlock`] when the peer does not read.
pub fn send<T: Serialize>(socket: impl AsFd, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    send_bytes(socket, &bytes, fds)
}

/// Sends one encoded message.
pub fn send_bytes(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > MAX_PACKET || fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a packet of {} bytes and {} descriptors is over the limit", bytes.len(), fds.len()),
        ));
    }
    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("no room for the descriptors"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message and its descriptors, all of them close-on-exec. `None` is the end of the conversation.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_PACKET];
    let Some((length, fds)) = receive_bytes(socket, &mut buffer)? else {
        return Ok(None);
    };
    let message = serde_json::from_slice(&buffer[..length])
        .map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))?;
    Ok(Some((message, fds)))
}

/// Receives one packet into `buffer` and returns its length. `None` is the end of the conversation.
pub fn receive_bytes(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet was over the limit"));
    }
    // No message is empty, so that zero bytes are the end of file of a SOCK_SEQPACKET socket.
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((received.bytes, fds)))
}

/// Writes a value as JSON into a new memfd and seals it against every change.
pub fn sealed_json<T: Serialize>(name: &str, value: &T) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_before_6_3| rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING))?;
    let bytes = serde_json::to_vec(value)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&fd, rest)?;
        rest = &rest[written..];
    }
    rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(fd)
}

/// Reads a value that [`sealed_json`] wrote.
pub fn read_json<T: DeserializeOwned>(fd: impl AsFd) -> io::Result<T> {
    let fd = fd.as_fd();
    let size = usize::try_from(rustix::fs::fstat(fd)?.st_size).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let count = rustix::io::pread(fd, &mut bytes[filled..], filled as u64)?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("descriptor {} is shorter than its size", fd.as_raw_fd()),
            ));
        }
        filled += count;
    }
    serde_json::from_slice(&bytes).map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Report, Request, Target};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    fn pair() -> (OwnedFd, OwnedFd) {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("socketpair")
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (left, right) = pair();
        let request = Request::Signal { seq: 7, target: Target::Exec("e".into()), signal: 15 };
        send(&left, &request, &[left.as_fd(), right.as_fd()]).expect("send");
        let (received, fds) = receive::<Request>(&right).expect("receive").expect("a message");
        assert_eq!(received, request);
        assert_eq!(fds.len(), 2);
    }

    #[test]
    fn end_of_file_is_none() {
        let (left, right) = pair();
        drop(left);
        assert!(receive::<Report>(&right).expect("receive").is_none());
    }

    #[test]
    fn an_oversized_message_is_refused_by_the_sender() {
        let (left, _right) = pair();
        let error = send(&left, &"x".repeat(MAX_PACKET), &[]).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_sealed_value_reads_back_and_cannot_be_written() {
        let fd = sealed_json("test", &vec![1, 2, 3]).expect("memfd");
        assert_eq!(read_json::<Vec<i32>>(&fd).expect("read"), [1, 2, 3]);
        assert!(rustix::io::write(&fd, b"x").is_err());
    }
}
