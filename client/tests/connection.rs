//! The library's connection: kept for the next call, replaced when the daemon closed it, left alone while a stream uses
//! it.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it the way the test itself does")]

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use pinnace_client::{Client, Host, api::container::Condition};
use tempfile::TempDir;

/// A daemon that answers every request with `{}`, a number of them on one connection, which it closes without notice.
struct Daemon {
    directory: TempDir,
    connections: Arc<AtomicUsize>,
}

impl Daemon {
    fn start(per_connection: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join("sock")).unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            for socket in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(socket.unwrap(), per_connection));
            }
        });
        Self { directory, connections }
    }

    fn client(&self) -> Client {
        Client::new(Host::unix(self.directory.path().join("sock")))
    }
}

fn serve(mut socket: UnixStream, requests: usize) {
    for _ in 0..requests {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if socket.read(&mut byte).unwrap() == 0 {
                return;
            }
            head.extend(byte);
        }
        if head.starts_with(b"POST /containers/x/wait") {
            // The head of an answer that takes for ever.
            socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            thread::park();
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
    }
}

#[tokio::test]
async fn one_connection_serves_call_after_call() {
    let daemon = Daemon::start(usize::MAX);
    let client = daemon.client();
    for _ in 0..100 {
        client.info().await.unwrap();
    }
    assert_eq!(daemon.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_connection_that_the_daemon_closed_is_replaced_unnoticed() {
    let daemon = Daemon::start(3);
    let client = daemon.client();
    for _ in 0..5 {
        for _ in 0..3 {
            client.info().await.unwrap();
        }
        // Time to notice: a request that crosses with the close may have been carried out, and is never sent twice.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(daemon.connections.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_wait_does_not_hold_other_calls_up() {
    let daemon = Daemon::start(usize::MAX);
    let client = daemon.client();
    client.info().await.unwrap();
    let _waiting = client.wait_container("x", Condition::NextExit).await.unwrap();
    client.info().await.unwrap();
    client.info().await.unwrap();
    assert_eq!(daemon.connections.load(Ordering::SeqCst), 2);
}
