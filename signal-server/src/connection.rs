//! One connection, from its first byte to its last: TLS, requests, how long it may idle, and what is
//! counted of it. Not for what requests mean.

use std::{convert::Infallible, net::SocketAddr, pin::Pin, time::Duration};

use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_io_timeout::TimeoutStream;
use warp::http::Request;

use crate::{
    Server, Shared,
    access_log::{Counted, Line},
    address::Visitor,
    metrics,
};

/// What a connection, or a stream of one, may have taken from a body without having sent it, in bytes.
/// Small, so that the access log tells what went out, and many connections take little memory.
const CONNECTION_BUFFER: usize = 64 << 10;
/// A client that acknowledges nothing for so long is gone.
const LOST: Duration = Duration::from_secs(60);
/// What a request comes on.
pub(crate) type Served<S> = Pin<Box<TimeoutStream<S>>>;

pub(crate) struct Timeouts {
    /// A client may take so long to send the head of a request.
    pub(crate) head: Duration,
    /// … and so long to take anything of what is sent to it.
    pub(crate) stalled: Duration,
}

impl Server {
    /// Serves one connection to its end, with TLS where there is a certificate.
    pub async fn connection<S>(self, stream: S, remote: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = &self.shared.tls else {
            return self.requests(stream, remote).await;
        };
        let shaken = tokio::time::timeout(self.shared.timeouts.head, tls.accept(stream));
        match shaken.await {
            Ok(Ok(stream)) => self.requests(stream, remote).await,
            Ok(Err(error)) => tracing::debug!("tls: {}: {error}", Visitor(remote.ip())),
            Err(_) => tracing::debug!("tls: {}: too slow", Visitor(remote.ip())),
        }
    }

    async fn requests<S>(self, stream: S, remote: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Shared {
            routes,
            access,
            access_log,
            timeouts,
            metrics,
            end,
            connections,
            ..
        } = &*self.shared;
        let warp = TowerToHyperService::new(warp::service(routes.clone()));
        let service = service_fn(|mut request: Request<hyper::body::Incoming>| {
            let visitor = access.load().visitor(remote.ip(), request.headers());
            request.extensions_mut().insert(visitor);
            let line = access_log
                .clone()
                .map(|log| Line::begin(log, visitor, &request));
            let answer = warp.call(request);
            let metrics = metrics.clone();
            async move {
                let response = answer.await?;
                let status = response.status();
                let class = match status.as_u16() / 100 {
                    1 => "1xx",
                    2 => "2xx",
                    3 => "3xx",
                    4 => "4xx",
                    _ => "5xx",
                };
                metrics::count(&metrics.requests, "status", class);
                let line = line.map(|line| line.answered(status));
                let sent = metrics.sent.clone();
                Ok::<_, Infallible>(response.map(|body| Counted::new(body, line, sent)))
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(timeouts.head)
            .max_buf_size(CONNECTION_BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_send_buf_size(CONNECTION_BUFFER)
            .keep_alive_interval(timeouts.stalled / 2)
            .keep_alive_timeout(timeouts.stalled / 2);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(timeouts.stalled));
        let stream: Served<S> = Box::pin(stream);
        let stream = TokioIo::new(stream);
        let connection = builder.serve_connection_with_upgrades(stream, service);
        let serving = async {
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = end.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!("connection of {}: {error}", Visitor(remote.ip()));
            }
        };
        connections.track_future(serving).await;
    }
}

/// What cannot be set is not worth losing a connection for.
pub(crate) fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // Else the kernel takes megabytes that the client never gets if it breaks off, the access log
    // counts them, and what is sent next waits behind them.
    #[cfg(target_os = "linux")]
    {
        let socket = socket2::SockRef::from(stream);
        let _ = socket.set_tcp_notsent_lowat(CONNECTION_BUFFER as u32);
        // Finds the other end gone without a word.
        let _ = socket.set_tcp_user_timeout(Some(LOST));
        let _ = socket.set_tcp_keepalive(
            &socket2::TcpKeepalive::new()
                .with_time(LOST)
                .with_interval(LOST / 3),
        );
    }
}
