//! `/exec`: further programs in a running container.

use api_schema::exec::{ExecCreateBody, ExecInspect, ExecStartBody, IdResponse};
use hyper::Method;

use crate::{
    Client, Error,
    stream::{self, Receiver, Sender, Size},
};

impl Client {
    /// Prepares an exec and returns its id.
    ///
    /// # Errors
    /// As for every call.
    pub async fn create_exec(&self, container: &str, body: &ExecCreateBody) -> Result<String, Error> {
        let call = self.call(Method::POST, &["containers", container, "exec"]).json(body)?;
        Ok(call.fetch::<IdResponse>().await?.id)
    }

    /// Starts an exec that nobody listens to.
    ///
    /// # Errors
    /// As for every call.
    pub async fn start_exec_detached(&self, id: &str) -> Result<(), Error> {
        let body = ExecStartBody { detach: true, ..ExecStartBody::default() };
        self.call(Method::POST, &["exec", id, "start"]).json(&body)?.done().await
    }

    /// Starts an exec and streams it.
    ///
    /// # Errors
    /// As for every call, and when the daemon is not Pinnace's.
    pub async fn start_exec(&self, id: &str, size: Option<Size>) -> Result<(Receiver, Sender), Error> {
        let mut call = self.call(Method::GET, &["exec", id, "ws"]);
        if let Some(Size { width, height }) = size {
            call = call.query("h", &height.to_string()).query("w", &width.to_string());
        }
        stream::open(call).await
    }

    /// Returns how an exec stands.
    ///
    /// # Errors
    /// As for every call.
    pub async fn inspect_exec(&self, id: &str) -> Result<ExecInspect, Error> {
        self.call(Method::GET, &["exec", id, "json"]).fetch().await
    }
}
