//! The access log: Common Log Format, one line a request, with the bytes of body that went out.
//!
//! A line is written when the body has ended or was given up, so that a download that was broken
//! off counts for what it took. Bytes count when they are handed to the connection, whose buffer
//! the server keeps small.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use time::{OffsetDateTime, format_description::FormatItem, macros::format_description};
use warp::http::{Request, StatusCode};

use crate::address::Visitor;

const WHEN: &[FormatItem<'_>] = format_description!(
    "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
);

/// A file that lines are added to.
#[derive(Debug)]
pub struct AccessLog {
    file: Mutex<File>,
}

impl AccessLog {
    /// Goes on at the end of the file if there is one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self {
            file: Mutex::new(file),
        })
    }

    fn write(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!("access log: {error}");
        }
    }
}

/// A request whose line is not written yet.
#[derive(Debug)]
pub struct Line {
    log: Arc<AccessLog>,
    head: String,
    status: Option<StatusCode>,
    bytes: u64,
}

impl Line {
    /// Notes who asks for what, and when.
    pub fn begin<B>(log: Arc<AccessLog>, visitor: Visitor, request: &Request<B>) -> Self {
        let when = OffsetDateTime::now_utc().format(WHEN).unwrap_or_default();
        let uri = request.uri();
        let target = match uri.path() {
            // Its query is a secret.
            path @ "/fugitive/signal" => path,
            _ => uri.path_and_query().map_or("*", |target| target.as_str()),
        };
        let mut head = format!("{visitor} - - [{when}] \"{} ", request.method());
        for c in target.chars() {
            // What would end the field, or the line, for whoever reads the log.
            if c == '"' || c == '\\' || c.is_control() {
                let _ = write!(head, "\\x{:02x}", c as u32);
            } else {
                head.push(c);
            }
        }
        let _ = write!(head, " {:?}\"", request.version());
        Self {
            log,
            head,
            status: None,
            bytes: 0,
        }
    }

    /// The answer began.
    pub fn answered(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // 499 is nginx's number for a client that left before there was an answer.
        let status = self.status.map_or(499, |status| status.as_u16());
        let bytes = self.bytes;
        self.log.write(&format!("{} {status} {bytes}\n", self.head));
    }
}

/// A body whose bytes are counted; the line, if there is one, is written when it ends.
#[derive(Debug)]
pub struct Counted<B> {
    body: B,
    line: Option<Line>,
    sent: Counter,
}

impl<B> Counted<B> {
    /// Its bytes are added to `sent`.
    pub fn new(body: B, line: Option<Line>, sent: Counter) -> Self {
        Self { body, line, sent }
    }
}

impl<B: Body<Data = bytes::Bytes> + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.sent.inc_by(len);
                if let Some(line) = &mut self.line {
                    line.bytes += len;
                }
            }
            Poll::Ready(_) => self.line = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
